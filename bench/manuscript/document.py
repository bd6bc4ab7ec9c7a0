"""A text with citations, names and gaps, and its renderings: plain text, Markdown (of pandoc), LaTeX."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.errors import ConfigError
from bench.manuscript.bibtex import escaped
from bench.text import one_line

WIDTH = 100
FORMATS = {".txt": "text", ".md": "markdown", ".tex": "latex"}
"""Suffix of a file -> format."""


class Cite(NamedTuple):
    """Works that are cited here; nothing if there are none."""

    keys: tuple[str, ...]


class Code(NamedTuple):
    """Text that is shown as it is: a hash, a command, a file."""

    text: str


class Gap(NamedTuple):
    """What the records do not say and the author has to."""

    text: str


Part = str | Cite | Code | Gap
Sentence = tuple[Part, ...]


@dataclass(frozen=True)
class Section:
    """A heading and its sentences, which make one paragraph."""

    heading: str
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True)
class Chapter:
    """What is said of one comparable set of units."""

    title: str
    sections: tuple[Section, ...]


def choose_format(name: str, output: Path | None, suffixes: Mapping[str, str]) -> str:
    """The format called `name`; without one that of the suffix of `output`, else plain text.

    `suffixes` has a format for each suffix. Raises ConfigError for another format, or one that the suffix is
    not for.
    """
    suffix = output.suffix.lower() if output else ""
    by_suffix = suffixes.get(suffix, "")
    if not name:
        return by_suffix or next(iter(suffixes.values()))
    if name not in suffixes.values():
        raise ConfigError(
            f"--format {name!r}: not a format of this text; known: {', '.join(suffixes.values())}"
        )
    if by_suffix and by_suffix != name:
        raise ConfigError(
            f"--output {output}: {suffix} is for {by_suffix}, not for --format {name}; change one of them"
        )
    return name


def render(chapters: Sequence[Chapter], form: str) -> str:
    """The chapters in one of the FORMATS."""
    return _RENDERINGS[form](chapters)


def listed(texts: Iterable[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    *first, last = list(texts) or [""]
    return f"{', '.join(first)} and {last}" if first else last


# --- plain text --------------------------------------------------------------------------------------


def _text(chapters: Sequence[Chapter]) -> str:
    blocks = []
    for chapter in chapters:
        title = one_line(chapter.title)
        blocks.append(f"{title}\n{'=' * len(title)}")
        blocks += [_filled(f"{s.heading}. {_joined(s, _part_as_text)}") for s in chapter.sections]
    return "\n\n".join(blocks) + "\n"


def text_sentence(sentence: Sentence) -> str:
    """A sentence as plain text."""
    return "".join(map(_part_as_text, sentence))


def _part_as_text(part: Part) -> str:
    if isinstance(part, Cite):
        return f" [{', '.join(part.keys)}]" if part.keys else ""
    if isinstance(part, Gap):
        return f"[for you to write: {one_line(part.text)}]"
    return one_line(part.text if isinstance(part, Code) else part)


# --- Markdown ----------------------------------------------------------------------------------------


def _markdown(chapters: Sequence[Chapter]) -> str:
    blocks = []
    for chapter in chapters:
        blocks.append(f"## {markdown_text(chapter.title)}")
        blocks += [_filled(f"**{s.heading}.** {_joined(s, _part_as_markdown)}") for s in chapter.sections]
    return "\n\n".join(blocks) + "\n"


def markdown_sentence(sentence: Sentence) -> str:
    """A sentence as Markdown."""
    return "".join(map(_part_as_markdown, sentence))


def _part_as_markdown(part: Part) -> str:
    if isinstance(part, Cite):
        return f" [{'; '.join(f'@{key}' for key in part.keys)}]" if part.keys else ""
    if isinstance(part, Gap):
        return f"**\\[for you to write: {markdown_text(part.text)}\\]**"
    return markdown_code(part.text) if isinstance(part, Code) else markdown_text(part)


def markdown_text(text: str) -> str:
    """`text` on one line, none of whose characters is markup."""
    return re.sub(r"([\\`*_<>\[\]|#~])", r"\\\1", one_line(text))


def markdown_code(text: str) -> str:
    """`text` as code, whatever backticks it has."""
    text = one_line(text)
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    space = " " * ("`" in text)
    return f"{fence}{space}{text}{space}{fence}"


# --- LaTeX -------------------------------------------------------------------------------------------

_SYMBOLS = {
    "\u00d7": r"$\times$",
    "±": r"$\pm$",
    "β": r"$\beta$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def _latex(chapters: Sequence[Chapter]) -> str:
    blocks = []
    for chapter in chapters:
        blocks.append(rf"\subsection*{{Methods: {latex_text(chapter.title)}}}")
        blocks += [
            _filled(rf"\paragraph{{{latex_text(s.heading)}.}} {_joined(s, _part_as_latex)}")
            for s in chapter.sections
        ]
    return "\n\n".join(blocks) + "\n"


def _part_as_latex(part: Part) -> str:
    if isinstance(part, Cite):
        return rf"~\cite{{{','.join(part.keys)}}}" if part.keys else ""
    if isinstance(part, Gap):
        return rf"\textbf{{[for you to write: {latex_text(part.text)}]}}"
    return rf"\texttt{{{latex_text(part.text)}}}" if isinstance(part, Code) else latex_text(part)


def latex_text(text: str) -> str:
    """`text` on one line, with what LaTeX needs to show each of its characters."""
    shown = escaped(one_line(text))
    return "".join(_SYMBOLS.get(c, c) for c in shown)


# --- all ---------------------------------------------------------------------------------------------


def _joined(section: Section, show: Callable[[Part], str]) -> str:
    return " ".join("".join(map(show, sentence)) for sentence in section.sentences)


def _filled(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


_RENDERINGS: dict[str, Callable[[Sequence[Chapter]], str]] = {
    "text": _text,
    "markdown": _markdown,
    "latex": _latex,
}
