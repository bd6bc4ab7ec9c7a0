"""One measured figure, sections of figures by name, and the tables of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from bench import Environment
from benchmarks.pairs import ENOUGH, Pair, summarize

if TYPE_CHECKING:
    from benchmarks.work import Setting, Task


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        section: which section it belongs to.
        what: what was measured.
        value: None if it was not measured.
        unit: of the value.
        note: range and number of repeats, or why it was not measured.
    """

    section: str
    what: str
    value: float | None
    unit: str = ""
    note: str = ""

    @property
    def text(self) -> str:
        """Value and unit, or a dash."""
        return "-" if self.value is None else f"{self.value:.4g} {self.unit}"


@dataclass(frozen=True)
class Inputs:
    """What all sections of `benchmarks.engine` measure with.

    Attributes:
        setting: size of everything.
        tasks: the three trainings, by name.
        environment: where further trainings are set up.
        on_gpu: whether the device is a GPU.
    """

    setting: Setting
    tasks: dict[str, Task]
    environment: Environment
    on_gpu: bool


def ratio(section: str, what: str, pairs: Sequence[Pair], enough: int = ENOUGH) -> Figure:
    """The median ratio of the accepted pairs, with its range."""
    summary = summarize(pairs, enough)
    counted = f"{summary.accepted} pairs, {summary.rejected} rejected"
    if summary.ratio is None:
        return Figure(section, what, None, "x", f"only {counted}: too few for a figure")
    return Figure(section, what, summary.ratio, "x", f"{summary.low:.3f} to {summary.high:.3f}, {counted}")


def choose(only: str, sections: Collection[str]) -> list[str]:
    """The sections that `--only` names, or all of them. Raises BadParameter."""
    names = [name.strip() for name in only.split(",") if name.strip()] or list(sections)
    if unknown := set(names) - set(sections):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: no such section; use {', '.join(sections)}")
    return names


def tables(rows: Sequence[Figure]) -> list[str]:
    """Lines of Markdown: a table per section."""
    lines: list[str] = []
    for section in dict.fromkeys(row.section for row in rows):
        lines += ["", f"## {section.capitalize()}", "", "| what | value | |", "| --- | ---: | --- |"]
        lines += [f"| {row.what} | {row.text} | {row.note} |" for row in rows if row.section == section]
    return lines
