"""A table of texts, as several sections show one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Grid(NamedTuple):
    """A table: its caption, the heads of its columns, and rows whose first cell is the row's head."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
