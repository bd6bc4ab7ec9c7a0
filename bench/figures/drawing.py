"""One figure of stored results, before it becomes a part of a page or a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from bench.identity import digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 4.8
"""Inches. On the screen of a phone, 320 pixels wide, its text of 9 points is about 8 pixels high."""


class Data(NamedTuple):
    """The plotted values, for who does not see the plot.

    Attributes:
        heads: of the columns.
        rows: of texts, each as long as `heads`.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure that can be drawn, and what must be said of it. Its texts are plain, not yet escaped.

    Attributes:
        name: the kind of figure, as `bench figure NAME` takes it.
        title: what it shows, in a few words.
        where: the data set, and whatever else tells it from other drawings of its name.
        caption: how to read it, and what was computed how.
        alt: what is to be seen, in a sentence or two.
        draw: draws it, so many inches wide; called within `bench.figures.canvas.styled`.
        data: the plotted values, where they are few.
    """

    name: str
    title: str
    where: str
    caption: str
    alt: str
    draw: Callable[[float], Figure] = field(repr=False)
    data: Data | None = None

    @cached_property
    def key(self) -> str:
        """What no drawing of other content has: letters and digits, for ids."""
        return "f" + digest([self.name, self.title, self.where, self.alt, self.caption, self.data])[:8]
