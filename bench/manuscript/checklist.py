"""Reporting checklists: the files of the package that have their items."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

from bench.errors import UnknownName
from bench.parsing import parse, read_toml


@dataclass(frozen=True)
class Item:
    """One item.

    Attributes:
        number: "19", "12a".
        section: of the manuscript.
        text: what it asks for, in our words.
        applies: which studies it is for, where the checklist tells them apart.
        answer: name of the function that says what records know; "" where they know nothing.
    """

    number: str
    section: str
    text: str
    applies: str = ""
    answer: str = ""


@dataclass(frozen=True)
class Checklist:
    """A published checklist.

    Attributes:
        name: short.
        title: in full.
        version: of the publication.
        citation: of the publication.
        official: where the official items are.
        licence: of the official items.
        wording: what the texts of the items are.
        items: in the order of the publication.
    """

    name: str
    title: str
    version: str
    citation: str
    official: str
    licence: str
    wording: str
    items: tuple[Item, ...]


def checklist_names() -> list[str]:
    """The shipped checklists."""
    folder = resources.files("bench.manuscript") / "checklists"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def checklist_title(name: str) -> str:
    """What a shipped checklist is called in full."""
    return str(_values(name)["title"])


def read_checklist(name: str) -> Checklist:
    """A shipped checklist. Raises UnknownName, with the shipped ones."""
    if name not in checklist_names():
        raise UnknownName("checklist", name, checklist_names())
    checklist: Checklist = parse(Checklist, _values(name), name)
    return checklist


def _values(name: str) -> dict[str, Any]:
    with resources.as_file(resources.files("bench.manuscript") / "checklists" / f"{name}.toml") as path:
        return read_toml(path)
