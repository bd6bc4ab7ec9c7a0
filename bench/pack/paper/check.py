"""Which numbers of a paper's tables follow from results, and which do not."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from bench.interfaces import cells
from bench.interfaces.reporter import Table
from bench.interfaces.rows import Estimate, Row
from bench.pack.paper.grid import Cell, Grid, GridRow
from bench.pack.paper.names import Mapped, Target, find_column, find_rows, mentions
from bench.pack.paper.plain import DASHES
from bench.pack.paper.values import Printed, as_printed, is_nothing, parse_printed, rounds_to


class Wrong(NamedTuple):
    """A printed number that the results do not give.

    Attributes:
        line: of the file.
        where: its row and column.
        printed: the cell.
        should: what the results give.
    """

    line: int
    where: str
    printed: str
    should: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.where}: printed {self.printed}, the results give {self.should}"


@dataclass
class PaperChecked:
    """What was found in a paper's tables.

    Attributes:
        follows: cells all of whose numbers follow.
        wrong: cells of which a number does not.
        unclear: cells that could mean several rows of the results, a phrase each.
        foreign: what is not of these results, a phrase for each row and column, with how many numbers.
        foreign_cells: how many cells with numbers those have.
    """

    follows: int = 0
    wrong: list[Wrong] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    foreign_cells: int = 0


class _Found(NamedTuple):
    """A printed cell, and what it should be."""

    cell: Cell
    printed: Printed | None
    row: Row
    table: Table
    target: Target


def check_grids(grids: Sequence[Grid], tables: Sequence[Table], mapped: Mapped) -> PaperChecked:
    """Compare the tables of a paper with those of results."""
    checked = PaperChecked()
    for grid in grids:
        found = list(_found(grid, tables, mapped, checked))
        scales = _scales(grid, found)
        for each in found:
            scale = scales.get(each.target.name, 1)
            should = _should(each, scale)
            if should:
                name = f"{each.row.model} {each.row.method}"
                where = f"{each.table.title} / {name} / {_column_text(each)}"
                checked.wrong.append(Wrong(each.cell.line, where, each.cell.text, should))
            else:
                checked.follows += 1
    return checked


def _column_text(found: _Found) -> str:
    titles = {column.name: column.title for column in (*found.table.columns, *found.table.costs)}
    titles |= {"gmacs": "GMACs", "mparams": "M params", "": found.target.kind.capitalize()}
    title = titles.get(found.target.name, found.target.name)
    part = f" {found.target.part}" if found.target.part else ""
    return f"Rank by {title}" if found.target.kind == "rank" else f"{title}{part}"


# --- which cell is what ------------------------------------------------------------------------------


def _found(grid: Grid, tables: Sequence[Table], mapped: Mapped, checked: PaperChecked) -> Iterator[_Found]:
    """The cells with numbers that belong to a row and a column of results; the others are told."""
    section = ""
    before: GridRow | None = None
    strangers: Counter[str] = Counter()
    for row in grid.rows:
        texts = row.texts
        if len(texts) == 1 and parse_printed(texts[0]) is None and not is_nothing(texts[0]):
            section = texts[0]
            continue
        heads = _row_heads(grid, row, tables, mapped)
        if not heads and before is not None:
            heads = _row_heads(grid, before, tables, mapped)  # what stands below the means
        else:
            before = row
        yield from _cells(grid, row, [*heads, section], tables, mapped, checked, strangers)
    for text, count in strangers.items():
        checked.foreign.append(f"{text} ({count} number{'s' * (count != 1)})")
        checked.foreign_cells += count


def _row_heads(grid: Grid, row: GridRow, tables: Sequence[Table], mapped: Mapped) -> list[str]:
    """The texts of a row that are no numbers, of columns that no table of results has."""
    heads = []
    for column, cell in enumerate(row.cells):
        stack = grid.heads_of(column)
        is_value = any(find_column(stack, table, mapped) for table in tables)
        if not is_value and not is_nothing(cell.text) and parse_printed(cell.text) is None:
            heads.append(cell.text)
    return list(dict.fromkeys(heads))


def _cells(
    grid: Grid,
    row: GridRow,
    heads: Sequence[str],
    tables: Sequence[Table],
    mapped: Mapped,
    checked: PaperChecked,
    strangers: Counter[str],
) -> Iterator[_Found]:
    told = False
    for column, cell in _values(grid, row, tables, mapped):
        stack = grid.heads_of(column)
        printed = parse_printed(cell.text)
        scope = _of_data_set(tables, [[*stack], [*heads], [grid.around]], mapped)
        fitting = [(table, target) for table in scope if (target := find_column(stack, table, mapped))]
        if not fitting:
            if printed is not None and any(character.isdigit() for character in cell.text):
                strangers[f"column {' / '.join(stack) or column + 1}: no metric of these results"] += 1
            continue
        named = [
            (table, target, each) for table, target in fitting for each in find_rows(heads, table, mapped)
        ]
        if not named:
            strangers[f"line {cell.line}: {_row_name(heads)}: no method of these results"] += 1
        elif len(named) > 1:
            if not told:
                several = ", ".join(f"{t.title} / {each.model} {each.method}" for t, _, each in named[:3])
                checked.unclear.append(
                    f"line {cell.line}: {_row_name(heads)}: could be {len(named)} rows ({several}); name the "
                    "data set in the caption or a column, or the network in a column"
                )
            told = True
        else:
            table, target, each = named[0]
            yield _Found(cell, printed, each, table, target)


def _values(grid: Grid, row: GridRow, tables: Sequence[Table], mapped: Mapped) -> Iterator[tuple[int, Cell]]:
    """The cells of a row that may have numbers of results, each once."""
    seen: set[int] = set()
    for column, cell in enumerate(row.cells):
        if is_nothing(cell.text) or id(cell) in seen:
            continue
        seen.add(id(cell))
        stack = grid.heads_of(column)
        if parse_printed(cell.text) is not None or any(find_column(stack, t, mapped) for t in tables):
            yield column, cell


def _row_name(heads: Sequence[str]) -> str:
    return " / ".join(head for head in heads if head) or "a row without a name"


def _of_data_set(tables: Sequence[Table], scopes: Sequence[Sequence[str]], mapped: Mapped) -> Sequence[Table]:
    """The tables whose title, and then whose protocol, the nearest text names; all where none does."""
    for scope in scopes:
        text = " | ".join(mapped(each) for each in scope if each)
        named = [table for table in tables if mentions(text, table.title)]
        if named:
            longest = max(len(table.title) for table in named)
            tables = [table for table in named if len(table.title) == longest]
            break
    everything = " | ".join(each for scope in scopes for each in scope)
    alike = [table for table in tables if mentions(everything, table.protocol)]
    longest = max((len(table.protocol) for table in alike), default=0)
    return [table for table in alike if len(table.protocol) == longest] or tables


# --- what it should be -------------------------------------------------------------------------------


def _scales(grid: Grid, found: Sequence[_Found]) -> dict[str, int]:
    """By metric, whether a table prints it in percent: as more of its numbers then follow."""
    votes: dict[str, Counter[int]] = {}
    for each in found:
        value = _estimate(each)
        if each.target.kind != "metric" or each.printed is None or value is None:
            continue
        mine = votes.setdefault(each.target.name, Counter())
        for number, true in _pairs(each.printed, value, each.target.part):
            for scale in (1, 100):
                mine[scale] += bool(true is not None and rounds_to(true, number, scale))
        mine[100] += each.printed.percent
    titled = any("%" in head for row in grid.heads for head in row.texts)
    return {
        name: 100 if (mine[100], titled and mine[100] > 0) > (mine[1], False) else 1
        for name, mine in votes.items()
    }


def _estimate(found: _Found) -> Estimate | None:
    return found.row.values.get(found.target.name)


def _pairs(printed: Printed, value: Estimate, part: str) -> Iterator[tuple[Decimal, float | None]]:
    """Each printed number with what it should be; None where the results have nothing of it."""
    if part:
        if printed.value is not None:
            yield printed.value, _part(value, part)
        return
    if printed.value is not None:
        yield printed.value, None if math.isnan(value.mean) else value.mean
    if printed.spread is not None:
        yield printed.spread, value.spread
    if printed.interval is not None:
        yield printed.interval[0], value.low
        yield printed.interval[1], value.high


def _part(value: Estimate, part: str) -> float | None:
    if part.startswith("round"):
        return value.rounds.get(int(part.removeprefix("round")))
    rank = value.rank
    known: dict[str, float | None] = {
        "sd": value.spread,
        "low": value.low,
        "high": value.high,
        "best": None if value.best is None else float(value.best),
        "rank_low": rank.low if rank else None,
        "rank_high": rank.high if rank else None,
        "rank_first": rank.first if rank else None,
    }
    return known.get(part, value.mean)


def _should(found: _Found, scale: int) -> str:
    """What the results give instead of what is printed; "" where it follows."""
    kind = found.target.kind
    if kind == "rank":
        given = cells.rank(_estimate(found))
        return "" if _squeezed(found.cell.text) == _squeezed(given) else given
    if kind == "rounds" and not found.target.part:
        given = cells.rounds(found.row)
        return "" if _squeezed(found.cell.text) == _squeezed(given) else given
    if found.printed is None:
        return f"{_told(found, scale)} (a text stands there)"
    if kind != "metric":
        return _plain_number(found)
    value = _estimate(found)
    if value is None:
        return "no value"
    pairs = list(_pairs(found.printed, value, found.target.part))
    bad = [(number, true) for number, true in pairs if not _is_right(number, true, value, found, scale)]
    if not bad:
        return ""
    return ", ".join(
        (as_printed(true, number, scale) if true is not None and not math.isnan(true) else "nothing")
        + (f" for {number}" if len(pairs) > 1 else "")
        for number, true in bad
    )


def _is_right(number: Decimal, true: float | None, value: Estimate, found: _Found, scale: int) -> bool:
    if found.target.part in ("best", "rank_low", "rank_high", "rank_first"):
        scale = 1
    if true is not None and rounds_to(true, number, scale):
        return True
    is_spread = found.printed is not None and number == found.printed.spread and not found.target.part
    if is_spread and value.low is not None and value.high is not None:  # half an interval stands after ± too
        return rounds_to((value.high - value.low) / 2, number, scale)
    return False


def _plain_number(found: _Found) -> str:
    """Of costs and counts: what they should be; "" where they follow."""
    assert found.printed is not None
    row, target = found.row, found.target
    known: dict[str, float | None] = {
        "gmacs": row.gmacs,
        "mparams": row.mparams,
        **row.costs,
    }
    true = known.get(target.name)
    if target.kind == "rounds":
        true = row.rounds_done if target.part == "done" else row.rounds_asked
    elif target.kind in ("share", "labelled"):
        true = found.table.share if target.kind == "share" else found.table.labelled
    number = found.printed.value
    if number is None or true is None or math.isnan(true):
        return "no value" if number is not None else "a number"
    return "" if rounds_to(true, number, 1) else as_printed(true, number, 1)


def _told(found: _Found, scale: int) -> str:
    value = _estimate(found)
    if value is None or math.isnan(value.mean):
        return "no value"
    return f"{value.mean * scale:.{cells.DIGITS}f}"


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", re.sub(f"[{DASHES}-]+", "-", text))
