"""A filled checklist as Markdown or plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from bench.manuscript.answer import Answer
from bench.manuscript.checklist import Checklist
from bench.manuscript.document import WIDTH, Sentence, markdown_sentence, markdown_text, text_sentence
from bench.manuscript.fill import Filled, counted
from bench.manuscript.links import linked
from bench.text import one_line

SUFFIXES = {".txt": "text", ".md": "markdown"}
"""Suffix of a file -> format."""

SHOWN = 3  # files of one answer


@dataclass(frozen=True)
class _Style:
    """What a rendering does with headings, plain text, sentences and paths."""

    title: Callable[[str], str]
    section: Callable[[str], str]
    strong: Callable[[str], str]
    plain: Callable[[str], str]
    sentence: Callable[[Sentence], str]
    link: Callable[[str], str]


_STYLES = {
    "text": _Style(
        title=lambda text: f"{text}\n{'=' * len(text)}",
        section=lambda text: f"{text}\n{'-' * len(text)}",
        strong=lambda text: text,
        plain=one_line,
        sentence=text_sentence,
        link=lambda path: path,
    ),
    "markdown": _Style(
        title=lambda text: f"# {text}",
        section=lambda text: f"## {text}",
        strong=lambda text: f"**{text}**",
        plain=markdown_text,
        sentence=markdown_sentence,
        link=lambda path: f"[{markdown_text(path)}](<{path}>)",
    ),
}


def checklist_text(checklist: Checklist, filled: Sequence[Filled], form: str, folder: Path) -> str:
    """The checklist in one of the formats, with paths as they are reached from `folder`."""
    style = _STYLES[form]
    blocks = [style.title(style.plain(f"{checklist.name}, {checklist.version}"))]
    blocks += [style.plain(text) for text in _introduction(checklist, filled)]
    for section, items in groupby(filled, lambda each: each.item.section):
        blocks.append(style.section(style.plain(section)))
        blocks += ["\n".join(_item(each, style, folder)) for each in items]
    return "\n\n".join(map(_filled, blocks)) + "\n"


def _introduction(checklist: Checklist, filled: Sequence[Filled]) -> Iterator[str]:
    yield f"{checklist.title}. {checklist.citation}."
    yield (f"The items below are {checklist.wording}: {checklist.official} ({checklist.licence}).")
    yield (
        f"{len(filled)} items: {counted(filled)}. An item is filled as far as the records of bench say "
        "something about it; whether that is enough, and good, is for you to judge."
    )


def _item(each: Filled, style: _Style, folder: Path) -> Iterator[str]:
    scope = f" ({each.item.applies})" if each.item.applies else ""
    head = style.strong(style.plain(f"{each.item.number}{scope}  {each.item.text}:"))
    yield f"{head} {each.state}"
    if any(answer.says or answer.remains for _, answer in each.answers):
        yield ""
    several = len(each.answers) > 1
    for title, answer in each.answers:
        name = f"{style.plain(title)}: " if several and (answer.says or answer.remains) else ""
        for number, line in enumerate(_answer(answer, style, folder)):
            yield f"- {name if not number else ''}{line}"


def _answer(answer: Answer, style: _Style, folder: Path) -> Iterator[str]:
    if answer.says:
        yield " ".join(map(style.sentence, answer.says))
    if answer.remains:
        yield f"For you to write: {style.plain('; '.join(answer.remains))}."
    if answer.evidence:
        shown = [style.link(linked(path, folder)) for path in answer.evidence[:SHOWN]]
        more = len(answer.evidence) - len(shown)
        yield f"Evidence: {', '.join(shown)}{f' and {more} more like these' if more else ''}."


def _filled(block: str) -> str:
    """The lines of a block, each wrapped; those of a list are indented below their dash."""
    return "\n".join(
        textwrap.fill(
            line,
            WIDTH,
            subsequent_indent="  " * line.startswith("- "),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in block.splitlines()
    )
