"""Lines with a bar, laid out for the width of a terminal: names and figures stand below each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.style import Style

GAP = "  "  # between two parts of a line
LEAST_BAR, MOST_BAR = 8, 40  # columns
MOST_WHERE = 30  # columns of a stage, or a third of the terminal's if that is more
# What is left out, one after the other, until the rest fits, and the columns that a name keeps then.
LEFT_OUT: tuple[tuple[tuple[str, ...], int], ...] = (
    ((), 40),
    (("count",), 30),
    (("count", "speed"), 20),
    (("count", "speed", "note"), 14),
    (("count", "speed", "note", "left"), 12),
)


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        name: of the unit.
        where: its stage, and epoch, steps or bytes.
        done: of `total`.
        total: None where it is not known.
        count: steps of all epochs.
        left: time.
        note: the loss, or the like.
        speed: images or bytes a second.
        bar: whether there is one; if not, name and `where` have all of the line.
    """

    name: str
    where: str = ""
    done: float = 0.0
    total: float | None = None
    count: str = ""
    left: str = ""
    note: str = ""
    speed: str = ""
    bar: bool = True


def draw(rows: Sequence[Row], console: Console, options: ConsoleOptions) -> Iterator[Segment]:
    """The rows as lines, none longer than the terminal is wide."""
    width = options.max_width
    mark = "~" if options.ascii_only else "…"
    plain, styled = Style.null(), console.get_style("progress.remaining")
    columns = _columns(rows, width)
    for row in rows:
        if not row.bar:
            yield Segment(cut(_without_bar(row, columns, mark), width, mark))
            yield Segment.line()
            continue
        line = []
        for column, size in columns.items():
            if column == "bar":
                bar = ProgressBar(row.total, row.done)  # it pulses where there is no total
                drawn = console.render(bar, options.update(width=size, height=1))
                line += Segment.adjust_line_length(list(drawn), size)
            else:
                text = _cell(getattr(row, column), column, size, mark)
                line.append(Segment(text, styled if column == "left" else plain))
            line.append(Segment(GAP))
        del line[-1:]
        yield from Segment.adjust_line_length(line, width, pad=False)
        yield Segment.line()


def _columns(rows: Sequence[Row], width: int) -> dict[str, int]:
    """How wide each column is, from left to right; only those that fit."""
    columns = {
        column: max([cell_len(getattr(row, column)) for row in rows if row.bar], default=0)
        for column in ("name", "where", "count", "left", "note", "speed")
    }
    columns["name"] = max([cell_len(row.name) for row in rows if row.where], default=0)
    columns["where"] = min(columns["where"], max(MOST_WHERE, width // 3))
    name = columns.pop("name")
    for left_out, kept in LEFT_OUT:
        shown = {c: size for c, size in columns.items() if size and c not in left_out}
        rest = width - sum(size + len(GAP) for size in shown.values()) - len(GAP)  # for a name and a bar
        least = min(name, kept)
        if rest >= least + LEAST_BAR:
            break
    where = shown.pop("where", 0)
    if rest < least + LEAST_BAR:  # a line for a name and a stage alone
        where = min(where, width // 2)
        return {"name": min(name, max(1, width - where - len(GAP))), "where": where}
    name = min(name, rest - LEAST_BAR)
    bar = min(MOST_BAR, rest - name)
    return {"name": name} | ({"where": where} if where else {}) | {"bar": bar} | shown


def _cell(text: str, column: str, size: int, mark: str) -> str:
    if column == "name":
        text = shorten(text, size, mark)
    elif cell_len(text) > size:
        text = cut_middle(text, size, mark)
    if column in ("count", "left"):
        return " " * (size - cell_len(text)) + text
    return set_cell_size(text, size)


def _without_bar(row: Row, columns: dict[str, int], mark: str) -> str:
    if not row.where:
        return row.name
    return f"{_cell(row.name, 'name', columns['name'], mark)}{GAP}{row.where}"


# --- texts that are too long -------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def shorten(name: str, width: int, mark: str = "…") -> str:
    """A unit's name in so many columns: its longest parts are cut in their middle, so that model, strategy
    and round can still be told ("convnext_tiny.egmae.r0" in 18 columns is "conv…tiny.egmae.r0")."""
    parts = re.split(r"([./+()])", name)
    sizes = [len(part) for part in parts]
    while (
        sum(map(cell_len, shown := [_shown(*pair, mark) for pair in zip(parts, sizes, strict=True)])) > width
    ):
        longest = max(range(len(parts)), key=sizes.__getitem__)
        if sizes[longest] <= 3:
            return cut_middle("".join(shown), width, mark)
        sizes[longest] -= 1
    return "".join(shown)


def _shown(part: str, size: int, mark: str) -> str:
    if len(part) <= size:
        return part
    end = (size - 1) // 2
    return part[: size - 1 - end] + mark + part[len(part) - end :]


def cut_middle(text: str, width: int, mark: str = "…") -> str:
    """Beginning and end of a text, in so many columns."""
    size = len(text)
    while size and cell_len(shown := _shown(text, size, mark)) > width:
        size -= 1
    return shown if size else ""


def cut(text: str, width: int, mark: str = "…") -> str:
    """The beginning of a text, in so many columns."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + mark
