"""What a piece of LaTeX prints, as text: enough of the language for the cells of tables.

No TeX is run: commands that only change how something looks are passed over with their settings, the others
give what they are given.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

DASHES = "\N{MINUS SIGN}\N{EN DASH}\N{EM DASH}"
"""What is printed for a minus or a dash, beside "-"."""

_SYMBOLS = {
    "pm": "±",
    "textpm": "±",
    "times": "\N{MULTIPLICATION SIGN}",
    "textbackslash": "\\",
    "textasciitilde": "~",
    "textasciicircum": "^",
    "textasciigrave": "`",
    "textbar": "|",
    "textless": "<",
    "textgreater": ">",
    "textunderscore": "_",
    "textendash": "-",
    "textemdash": "-",
    "ldots": "…",
    "dots": "…",
    "quad": " ",
    "qquad": " ",
    "newline": " ",
    "par": " ",
    "linebreak": " ",
    "percent": "%",
    "ss": "ß",
    **{letter: letter for letter in "ijoOlL"},
    **{name: name for name in ("alpha", "beta", "gamma", "delta", "epsilon", "kappa", "lambda", "mu", "tau")},
}
_DROPPED = {
    **dict.fromkeys(("cite", "citep", "citet", "citealp", "label", "footnote", "footnotemark", "tnote"), 1),
    **dict.fromkeys(("cellcolor", "rowcolor", "columncolor", "color", "arrayrulecolor", "noalign"), 1),
    **dict.fromkeys(("vspace", "hspace", "phantom", "hphantom", "vphantom", "cmidrule", "cline"), 1),
    **dict.fromkeys(("begin", "end", "textsuperscript", "parnote", "sisetup"), 1),
    **dict.fromkeys(("rule", "fontsize", "setlength", "addtolength"), 2),
    "specialrule": 3,
}
"""Commands that print nothing of what they are given -> how many arguments they take."""
_LAST = {
    **dict.fromkeys(("textcolor", "colorbox", "rotatebox", "scalebox", "parbox", "raisebox", "href"), 2),
    **dict.fromkeys(
        ("makebox", "mbox", "fbox", "framebox", "makecell", "thead", "shortstack", "tablenum"), 1
    ),
    **dict.fromkeys(("multicolumn", "multirow", "resizebox", "fcolorbox"), 3),
}
"""Commands that print their last argument -> how many they take."""
_SWITCHES = ("bfseries", "itshape", "scshape", "ttfamily", "scriptsize", "footnotesize", "small", "tiny")
_ACCENTS = {
    "'": "\u0301",
    "`": "\u0300",
    "^": "\u0302",
    '"': "\u0308",
    "~": "\u0303",
    "=": "\u0304",
    ".": "\u0307",
    "u": "\u0306",
    "v": "\u030c",
    "H": "\u030b",
    "c": "\u0327",
    "k": "\u0328",
    "r": "\u030a",
}
_TABULARS = ("tabular", "tabular*", "tabularx", "array")
_DEEPEST = 40  # braces within braces, and macros within macros
_MOST = 1000  # macros that one piece has; forty that each name the one before twice would be a trillion

Macros = Mapping[str, str]
"""Commands without arguments that a file defines -> what they stand for."""

_DEFINED = re.compile(
    r"\\(?:(?:new|renew|provide)command\*?\s*\{?\s*\\([A-Za-z]+)\s*\}?\s*|def\s*\\([A-Za-z]+)\s*)(?=\{)"
)


def macros_of(source: str) -> dict[str, str]:
    """The commands without arguments that a file defines."""
    found = {}
    for match in _DEFINED.finditer(source):
        body, _ = group(source, match.end())
        found[match[1] or match[2]] = body
    return found


def plain(source: str, macros: Macros | None = None) -> str:
    """What a piece of LaTeX prints, on one line."""
    text = _Reader(macros or {}).read(source, 0)
    return " ".join(unicodedata.normalize("NFC", text).split())


def group(source: str, start: int) -> tuple[str, int]:
    """The argument that begins at or after `start`, and where it ends: what is in braces, a command, or one
    character."""
    while start < len(source) and source[start].isspace():
        start += 1
    if start >= len(source):
        return "", start
    if source[start] == "\\":
        end = start + len(_command(source, start)) + 1
        return source[start:end], end
    if source[start] != "{":
        return source[start], start + 1
    return _enclosed(source, start, "{", "}")


def option(source: str, start: int) -> tuple[str, int]:
    """The optional argument in brackets at `start`, and where it ends; "" and `start` without one."""
    if start < len(source) and source[start] == "[":
        return _enclosed(source, start, "[", "]")
    return "", start


def _enclosed(source: str, start: int, opening: str, closing: str) -> tuple[str, int]:
    depth, at, braces = 0, start, 0
    while at < len(source):
        character = source[at]
        if character == "\\":
            at += 2
            continue
        if opening != "{":
            braces += (character == "{") - (character == "}")
        if character == opening and braces == 0:
            depth += 1
        elif character == closing and braces == 0:
            depth -= 1
            if depth == 0:
                return source[start + 1 : at], at + 1
        at += 1
    return source[start + 1 :], len(source)


def _command(source: str, start: int) -> str:
    """The name of the command at `start`: letters, or one other character."""
    match = re.compile(r"[A-Za-z]+|.", re.DOTALL).match(source, start + 1)
    return match[0] if match else ""


class _Reader:
    """Reads LaTeX into text, with the commands that its file defines."""

    def __init__(self, macros: Macros) -> None:
        self._macros = macros
        self._left = _MOST

    def read(self, source: str, depth: int) -> str:
        if depth > _DEEPEST:
            return ""
        at, told = 0, []
        while at < len(source):
            text, at = self._next(source, at, depth)
            told.append(text)
        return "".join(told)

    def _next(self, source: str, at: int, depth: int) -> tuple[str, int]:
        character = source[at]
        if character == "\\":
            return self._run(source, at, depth)
        if character == "{":
            inner, end = group(source, at)
            return self.read(inner, depth + 1), end
        if character == "-":
            return "-", at + len(re.compile("-{1,3}").match(source, at)[0])  # type: ignore[index]
        if source.startswith(("``", "''"), at):
            return '"', at + 2
        if character == "^":
            return "", group(source, at + 1)[1]  # a mark of a footnote, mostly
        if character == "_":
            inner, end = group(source, at + 1)
            return self._subscript(self.read(inner, depth + 1).strip()), end
        if character in DASHES:
            return "-", at + 1
        return {"$": "", "}": "", "~": " "}.get(character, character), at + 1

    @staticmethod
    def _subscript(text: str) -> str:
        """What is written small beside a number is its deviation, with or without its sign."""
        return f" ± {text}" if re.fullmatch(r"\d*\.?\d+", text) else f" {text}"

    def _run(self, source: str, at: int, depth: int) -> tuple[str, int]:
        name = _command(source, at)
        end = at + 1 + len(name)
        if name in self._macros:
            after = end + (2 if source.startswith("{}", end) else 0)
            self._left -= 1
            return self.read(self._macros[name], depth + 1) if self._left >= 0 else "", after
        if name in _ACCENTS and ((len(name) == 1 and not name.isalpha()) or source[end : end + 1] in "{ "):
            inner, end = group(source, end)
            letter = self.read(inner, depth + 1)
            return (letter + _ACCENTS[name] if letter else ""), end
        if name.isalpha():
            return self._named(name, source, end, depth)
        return {",": " ", ";": " ", ":": " ", " ": " ", "\n": " ", "\\": " ", "!": "", "/": ""}.get(
            name, name if name in "&%$#_{}" else ""
        ), end

    def _named(self, name: str, source: str, end: int, depth: int) -> tuple[str, int]:
        if name in _SYMBOLS:
            return _SYMBOLS[name], end + (2 if source.startswith("{}", end) else 0)
        if name in ("num", "SI", "qty", "ang"):
            return self._number(name, source, end, depth)
        if name in ("cmidrule", "addlinespace") and source.startswith("(", end):
            end = _enclosed(source, end, "(", ")")[1]
        if name not in _SWITCHES:
            end = option(source, end)[1]
        if name in _DROPPED:
            arguments, end = self._arguments(source, end, _DROPPED[name])
            if name == "begin" and arguments[0] in _TABULARS:
                end = option(source, end)[1]
                end = group(source, end)[1]
            return "", end
        if name in _LAST:
            arguments, end = self._arguments(source, end, _LAST[name])
            return self.read(arguments[-1], depth + 1), end
        if end < len(source) and source[end].isspace():
            end += 1  # the space that ends a command is not printed
        return "", end

    def _number(self, name: str, source: str, end: int, depth: int) -> tuple[str, int]:
        r"""Of siunitx: \num{0.812 +- 0.012}, \SI{81.2}{\percent}."""
        end = option(source, end)[1]
        arguments, end = self._arguments(source, end, 1 if name == "num" else 2)
        number = self.read(arguments[0].replace("+-", "±"), depth + 1)
        unit = "%" if "percent" in arguments[-1] or r"\%" in arguments[-1] else ""
        return number + (unit if len(arguments) > 1 else ""), end

    @staticmethod
    def _arguments(source: str, end: int, count: int) -> tuple[list[str], int]:
        arguments: list[str] = []
        for _ in range(count):
            end = option(source, end)[1] if arguments else end
            inner, end = group(source, end)
            arguments.append(inner)
        return arguments, end
