"""The tables of a pack: made when it is packed, made again and compared cell by cell when it is verified."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.comparison.build import Shown
from bench.comparison.reporters import render
from bench.comparison.tables import tables_of
from bench.errors import UnknownName
from bench.registry import Registry
from bench.results.record import Record

FOLDER = "tables"
SUFFIXES = (".csv", ".md")
TOLERANCE = 1e-9
"""What another processor's order of the same sums may change, relative to the number."""
COMMENT = "#"
_NAMED = ("dataset", "protocol", "kind", "model", "method")


class Made(NamedTuple):
    """The tables of some results as files, name -> text, and what is wrong with the results."""

    files: Mapping[str, str]
    warnings: Sequence[str]


def make_tables(records: Sequence[Record], results: Path, registry: Registry) -> Made:
    """tables/table.csv and tables/table.md, with ranks and costs, as `bench table` renders them."""
    shown = Shown(ranks=True, costs=True)
    compared = tables_of(records, results, registry=registry, shown=shown)
    files = {}
    for suffix in SUFFIXES:
        reporter = registry.reporters.first(lambda reporter, s=suffix: s in reporter.suffixes)  # type: ignore[misc]
        if reporter is not None and compared.tables:
            files[f"{FOLDER}/table{suffix}"] = render(reporter, compared.tables, registry)
    return Made(files, compared.warnings)


def metrics_of(text: str, registry: Registry) -> tuple[list[str], list[str]]:
    """The metrics of a packed table.csv: those that are installed, and the others."""
    header = next(csv.reader(io.StringIO(text)), [])
    names = [column.removesuffix("_mean") for column in header if column.endswith("_mean")]
    known: list[str] = []
    others: list[str] = []
    for name in names:
        try:
            registry.metrics.get(name)
            known.append(name)
        except UnknownName:
            others.append(name)
    return known, others


def compare_csv(packed: str, again: str, left_out: Sequence[str] = ()) -> Iterator[str]:
    """What differs between two table.csv files, a phrase each; footers are not compared, columns of the
    metrics `left_out` neither."""
    first, second = _rows(packed), _rows(again)
    for name in second:
        if name not in first:
            yield f"lacks the row {_shown(name)}"
    for name in first:
        if name not in second:
            yield f"has the row {_shown(name)}, which the results do not give"
            continue
        for column, cell in first[name].cells.items():
            if any(column.startswith(f"{metric}_") for metric in left_out):
                continue
            other = second[name].cells.get(column)
            if other is None:
                yield f"has the column {column}, which the results do not give"
            elif not _same(cell, other):
                where = f"line {first[name].line}, {_shown(name)}, {column}"
                yield f"{where}: {cell or 'empty'}; the results give {other or 'none'}"


def compare_text(packed: str, again: str) -> Iterator[str]:
    """The lines that differ between two renderings for people, without what stands below tables."""
    first, second = _told(packed), _told(again)
    for (number, line), (_, other) in zip(first, second, strict=False):
        if line != other:
            yield f"line {number}: {line}; the results give: {other}"
    if len(first) != len(second):
        yield f"has {len(first)} lines of tables, the results give {len(second)}"


class _Line(NamedTuple):
    line: int
    cells: Mapping[str, str]


def _rows(text: str) -> dict[tuple[str, ...], _Line]:
    """The rows of a table.csv by what names them; rows of one name are numbered."""
    reader = csv.DictReader(line for line in io.StringIO(text) if not line.startswith(COMMENT))
    rows: dict[tuple[str, ...], _Line] = {}
    for fields in reader:
        cells = {str(name): str(cell or "") for name, cell in fields.items()}
        name = tuple(cells.get(column, "") for column in _NAMED)
        while name in rows:
            name = (*name, "again")
        rows[name] = _Line(reader.line_num, cells)
    return rows


def _shown(name: Sequence[str]) -> str:
    """A row by its data set, model and method."""
    return " / ".join([name[0], *name[3:]]) if len(name) >= len(_NAMED) else " / ".join(name)


def _same(first: str, second: str) -> bool:
    if first == second:
        return True
    try:
        one, other = float(first), float(second)
    except ValueError:
        return False
    return abs(one - other) <= TOLERANCE * max(1.0, abs(one), abs(other))


def _told(text: str) -> list[tuple[int, str]]:
    """The lines of tables with their numbers: remarks below them depend on the version of bench."""
    lines = enumerate(text.splitlines(), start=1)
    return [(number, line) for number, line in lines if line.strip() and not line.startswith("- ")]
