"""The table for a terminal, as wide as the terminal allows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from bench import Row, Table, cells

UNLIMITED = 100_000
NOT_A_TERMINAL = 160  # columns, where neither a terminal nor COLUMNS says how wide


def render(tables: Sequence[Table]) -> str:
    """Text, with colours if standard output is a terminal.

    Where a row does not fit in a line, deviations go below means; where that is still too wide, the
    metrics are continued in further blocks.
    """
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(highlight=False, width=NOT_A_TERMINAL)
    with console.capture() as captured:
        for number, table in enumerate(tables):
            if number:
                console.print()
            _print(table, console)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _print(table: Table, console: Console) -> None:
    console.print(Text(table.title, style="bold"))
    console.print(Text(table.protocol, style="dim"))
    for grid in _grids(table, console):
        console.print(grid)
    if not console.is_terminal and cells.best(table):
        console.print(Text(f"* {cells.legend(table)}"))
    for remark in cells.remarks(table):
        console.print(Text(remark, style="dim"))


def _grids(table: Table, console: Console) -> Iterator[Grid]:
    names = [column.name for column in table.columns]
    wide = _grid(table, names, console, compact=False)
    if _width(wide, console) <= console.width:
        yield wide
        return
    costs = True
    while names:
        count = len(names)
        while (
            count > 1 and _width(_grid(table, names[:count], console, costs=costs), console) > console.width
        ):
            count -= 1
        yield _grid(table, names[:count], console, costs=costs)
        names, costs = names[count:], False


def _width(grid: Grid, console: Console) -> int:
    return Measurement.get(console, console.options.update(width=UNLIMITED), grid).maximum


def _grid(
    table: Table, names: Sequence[str], console: Console, compact: bool = True, costs: bool = True
) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0) if compact else (0, 2, 0, 0))
    if not compact:
        grid.add_column("Model", overflow="fold")
    grid.add_column("Method", overflow="fold", max_width=24 if compact else None)
    for heading in cells.headings(table) if costs else ():
        grid.add_column(heading.replace(" ", "\n") if compact else heading, justify="right")
    for column in table.columns:
        if column.name in names:
            grid.add_column(column.title.replace(" ", "\n") if compact else column.title)
            if table.ranks:
                heading = cells.rank_heading(column)
                grid.add_column(heading.replace(" ", "\n") if compact else heading)
    winners = cells.best(table)
    for before, row in zip((None, *table.rows), table.rows, strict=False):
        if before and before.kind != row.kind == "reported":
            grid.add_section()
        values = [text for name in names for text in _values(table, row, name, winners, console, compact)]
        grid.add_row(
            *_head(table, row, compact, costs), *values, style="dim" if row.kind == "reported" else ""
        )
    return grid


def _head(table: Table, row: Row, compact: bool, costs: bool) -> list[Text]:
    numbers = cells.costs(table, row) if costs else ()
    names = [row.model, row.method]
    if compact:
        names = [f"{row.model} (reported)" if row.kind == "reported" else f"{row.method}\n{row.model}"]
    return [Text(text) for text in (*names, *numbers)]


def _values(
    table: Table, row: Row, name: str, winners: dict[str, str], console: Console, compact: bool
) -> list[Text]:
    """The value of a metric, and its rank if the table shows ranks."""
    value = row.values.get(name)
    wins = cells.is_best(row, name, winners)
    text = Text(cells.mean(value), style="bold green" if wins else "")
    if wins and not console.is_terminal:  # without colours a star stands for them
        text.append("*")
    if beside := cells.uncertainty(table, value):
        short = beside.replace("± 0", "±").replace("[0.", "[.").replace(" 0.", " .")
        text.append(f"\n{short}" if compact else f" {beside}", style="not bold")
    if not table.ranks:
        return [text]
    rank = cells.rank(value)
    return [text, Text(rank.replace(" (", "\n(") if compact else rank)]
