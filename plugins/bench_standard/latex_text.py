"""Texts that LaTeX prints as they are: special characters, long words, and what a font may lack."""

from __future__ import annotations

import re
import unicodedata

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "`": r"\textasciigrave{}",
    '"': "{''}",  # babel's German makes umlauts of a plain one
    "±": r"$\pm$",
    "…": r"\ldots{}",
    "[": r"{[}",  # after a line's end it would be an option of \\
    "]": r"{]}",
} | {character: f"\\{character}" for character in "&%$#_{}"}
_LONG = re.compile(r"\S{21,}")  # words that a narrow line may have to break
_PIECE = re.compile(r"[^\W_]{1,16}|[\W_]")
# Commands of letters that LaTeX defines and that pdflatex lacks in OT1, the encoding it begins with.
_NOT_IN_OT1 = {
    "«": r"\guillemetleft",
    "»": r"\guillemetright",
    "Đ": r"\DJ",
    "đ": r"\dj",
    "Ð": r"\DH",
    "ð": r"\dh",
    "Þ": r"\TH",
    "þ": r"\th",
    "Ŋ": r"\NG",
    "ŋ": r"\ng",
}
_OGONEK = "\N{COMBINING OGONEK}"


def escape(text: str) -> str:
    """A text that LaTeX prints as it is, in normal form C. Long words may break after signs and every 16
    letters."""
    parts, end = [], 0
    text = unicodedata.normalize("NFC", text)
    for word in _LONG.finditer(text):
        parts += [_plain(text[end : word.start()]), r"\allowbreak{}".join(map(_plain, _pieces(word[0])))]
        end = word.end()
    return "".join([*parts, _plain(text[end:])])


def _pieces(word: str) -> list[str]:
    """Letters with the sign that ends them."""
    pieces: list[str] = []
    for piece in _PIECE.findall(word):
        if pieces and not piece.isalnum():
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def _plain(text: str) -> str:
    escaped = "".join(_ESCAPED.get(character, character) for character in text)
    escaped = re.sub(r"-(?=-)", "-{}", escaped)  # two are no dash: --set is an option
    return re.sub(r"(?<=\d) \\%", r"\\,\\%", escaped)


def fallbacks(text: str) -> list[str]:
    """Lines that keep pdflatex from stopping at characters of `text` that it may not know: it prints their
    numbers in small boxes instead. What it knows stays as it is, and so does all for xelatex and lualatex."""
    lines = []
    for character in sorted({c for c in text if not c.isascii()}):
        box = rf"{{\fbox{{\tiny {ord(character):04X}}}}}"
        if _OGONEK in unicodedata.normalize("NFD", character):
            lines.append(r"\expandafter\providecommand\csname ?\string\k\endcsname[1]{#1}")
        elif character in _NOT_IN_OT1:
            command = _NOT_IN_OT1[character]
            lines.append(rf"\expandafter\providecommand\csname ?\string{command}\endcsname{box}")
        else:
            lines.append(rf"\expandafter\providecommand\csname u8:\detokenize{{{character}}}\endcsname{box}")
    return list(dict.fromkeys(lines))
