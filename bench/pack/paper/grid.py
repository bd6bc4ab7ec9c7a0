"""A table as cells with the places they have in a file, whatever the file's format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Cell(NamedTuple):
    """One cell.

    Attributes:
        text: what is printed, without markup.
        line: of the file, from 1.
        span: columns that it covers.
    """

    text: str
    line: int
    span: int = 1


class GridRow(NamedTuple):
    """One row, its cells by column; a cell that covers several columns stands in each of them."""

    line: int
    cells: Sequence[Cell]

    @property
    def texts(self) -> list[str]:
        """What is printed, each cell once."""
        return [cell.text for cell in dict.fromkeys(self.cells) if cell.text]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """One table of a file.

    Attributes:
        heads: the rows above its data.
        rows: its data.
        around: what stands around it: caption, notes, comments.
    """

    heads: Sequence[GridRow]
    rows: Sequence[GridRow]
    around: str = ""

    @property
    def columns(self) -> int:
        return max((len(row.cells) for row in (*self.heads, *self.rows)), default=0)

    def heads_of(self, column: int) -> list[str]:
        """What stands above a column, from top to bottom, without repetitions."""
        texts = [row.cells[column].text for row in self.heads if column < len(row.cells)]
        return [text for text in dict.fromkeys(texts) if text]


def row_of(line: int, cells: Sequence[Cell]) -> GridRow:
    """A row in which every cell stands in all columns that it covers."""
    return GridRow(line, [cell for cell in cells for _ in range(max(1, cell.span))])
