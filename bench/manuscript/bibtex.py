"""BibTeX entries: read from a component's text, made of a citation, and told apart by their keys."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from typing import NamedTuple

_START = re.compile(r"@\s*([A-Za-z]+)\s*\{\s*([^\s,{}\"#%~\\()']+)\s*,")
_DOI = re.compile(r"\bdoi:\s*(10\.\d{4,9}/[^\s;,]+[^\s;,.])", re.IGNORECASE)
_ARXIV = re.compile(r"\barXiv:\s*(\d{4}\.\d{4,5})", re.IGNORECASE)
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}


class Entry(NamedTuple):
    """One work: `body` is what stands between the comma after the key and the closing brace."""

    kind: str  # "article"
    key: str
    body: str

    def __str__(self) -> str:
        return f"@{self.kind}{{{self.key},\n{self.body}\n}}"


def read_entries(text: str) -> list[Entry]:
    """The entries of a BibTeX text, in its order; what stands between entries is a comment, as in BibTeX.

    Raises ValueError for an entry that does not end, has no key, or has no field.
    """
    entries, position = [], 0
    while (position := text.find("@", position)) >= 0:
        start = _START.match(text, position)
        if start is None:
            raise ValueError(f"no BibTeX entry begins at {text[position : position + 40]!r}")
        end = _end_of(text, start.end())
        body = _laid_out(text[start.end() : end])
        if "=" not in body:
            raise ValueError(f"the BibTeX entry {start[2]} has no field")
        entries.append(Entry(start[1].lower(), start[2], body))
        position = end + 1
    if text.strip() and not entries:
        raise ValueError(f"{text.strip()[:40]!r} holds no BibTeX entry")
    return entries


def _end_of(text: str, begin: int) -> int:
    """Where the brace is that closes the entry whose fields begin at `begin`."""
    depth, position = 1, begin
    while position < len(text):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if text[position] == "\\":
            position += 1  # an escaped brace
        if depth == 0:
            return position
        position += 1
    raise ValueError(f"a BibTeX entry does not end: {text[max(0, begin - 40) : begin]!r}")


def _laid_out(body: str) -> str:
    """The fields with one line each for each of theirs, indented, without a comma at the end."""
    lines = [line.strip() for line in body.strip().rstrip(",").splitlines()]
    return "\n".join(f"  {line}" for line in lines if line)


def misc(name: str, citation: str, title: str) -> Entry:
    """An entry of a citation in free text; it has a doi or an arXiv number if the citation names just one."""
    shown = [escaped(" ".join(text.split())) for text in (title, citation)]
    fields = [f"  title = {{{{{shown[0]}}}}}", f"  note = {{{shown[1]}}}"]
    dois, numbers = set(_DOI.findall(citation)), set(_ARXIV.findall(citation))
    if len(dois) == 1 and not numbers:
        fields.append(f"  doi = {{{dois.pop()}}}")
    if len(numbers) == 1 and not dois:
        fields += [f"  eprint = {{{numbers.pop()}}}", "  archiveprefix = {arXiv}"]
    key = re.sub(r"[^A-Za-z0-9._+-]+", "-", name)
    return Entry("misc", key, ",\n".join(fields))


def escaped(text: str) -> str:
    """`text`, the characters that mean something to LaTeX as what shows them."""
    return "".join(_SPECIAL.get(c, c) for c in text)


def merged(works: Iterable[Iterable[Entry]]) -> tuple[list[Entry], list[tuple[str, ...]]]:
    """All entries, each once and sorted by key; and for each of `works`, the keys of its entries there.

    The same key for something else gets a letter more, in the order of `works`.
    """
    by_key: dict[str, Entry] = {}
    keys = []
    for entries in works:
        own = []
        for entry in entries:
            key = next(
                key
                for key in _candidates(entry.key)
                if key.lower() not in by_key or _same(by_key[key.lower()], entry)
            )
            by_key.setdefault(key.lower(), entry._replace(key=key))  # BibTeX ignores case
            own.append(by_key[key.lower()].key)
        keys.append(tuple(dict.fromkeys(own)))
    return sorted(by_key.values(), key=lambda entry: entry.key.lower()), keys


def _candidates(key: str) -> Iterable[str]:
    yield key
    for letter in string.ascii_lowercase:
        yield key + letter
    for number in range(1, 1_000_000):
        yield f"{key}-{number}"


def _same(known: Entry, entry: Entry) -> bool:
    return (known.kind, known.body.split()) == (entry.kind, entry.body.split())
