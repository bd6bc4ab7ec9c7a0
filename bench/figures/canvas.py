"""How every figure looks, and the pieces that several kinds of them share.

Only matplotlib's objects are used, none of `pyplot`, which keeps figures and settings for a whole process.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.errors import ConfigError
from bench.figures.palette import FAINT, INK, look
from bench.registry import DISTRIBUTION
from bench.text import one_line

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

HOW_TO_INSTALL = f'pip install "{DISTRIBUTION}[report]"'
LONGEST = 24
"""Characters of a name in a drawing; a longer one is shortened in its middle."""

APART = 0.26
"""Inches between panels, so that the last label of one axis does not touch the first of the next."""

SETTINGS: dict[str, Any] = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "path.simplify": True,
    "path.simplify_threshold": 0.1,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "text.color": INK,
    "text.parse_math": False,  # a "$" in the name of a class is a "$"
    "xtick.color": INK,
    "xtick.labelsize": 9,
    "xtick.major.width": 0.6,
    "ytick.color": INK,
    "ytick.labelsize": 9,
    "ytick.major.width": 0.6,
}


@contextmanager
def styled() -> Iterator[None]:
    """Drawing and writing happen within this. Raises ConfigError where matplotlib is not installed."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise ConfigError(f"figures need matplotlib: {HOW_TO_INSTALL}") from None
    with mpl.rc_context(), warnings.catch_warnings():
        # A name in a script that the font lacks; who looks at an SVG has a font of their own.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        mpl.rcdefaults()  # whatever this machine or a notebook has set
        settings: Any = SETTINGS
        mpl.rcParams.update(settings)
        yield


@dataclass(frozen=True, kw_only=True)
class Legend:
    """What stands below all axes, never on data: names beside how their series are drawn.

    Attributes:
        names: of the series.
        places: of the series, which say how each looks; none for 0, 1, ...
        markers: whether they have markers.
        lines: whether they have lines.
    """

    names: Sequence[str]
    places: Sequence[int] = ()
    markers: bool = False
    lines: bool = True

    @property
    def texts(self) -> list[str]:
        return [short(name) for name in self.names]

    def columns(self, width: float) -> int:
        """As many as fit into so many inches."""
        return max(1, min(len(self.names), int(width / (text_width(self.texts) + 0.55))))

    def height(self, width: float) -> float:
        """Inches."""
        return 0.185 * -(-len(self.names) // self.columns(width)) + 0.1


class Panels(NamedTuple):
    """A figure, its axes row by row, and how many stand side by side."""

    figure: Figure
    axes: list[Axes]
    columns: int


def new_figure(width: float, height: float) -> Figure:
    """An empty one, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def panels(
    width: float,
    heights: Sequence[float],
    *,
    least: float = 100.0,
    left: float = 0.62,
    right: float = 0.14,
    below: float = 0.45,
    between: float = 0.0,
    title: float = 0.24,
    legend: Legend | None = None,
    square: bool = False,
) -> Panels:
    """A figure of axes of these heights, which is so many inches wide, and as high as they need.

    As many stand side by side as are each `least` inches wide. `left` inches are beside the leftmost ones for
    labels, `between` beside the others, `title` above each, `below` under the lowest of each column. All
    sizes are known beforehand: matplotlib's own layouts, which measure what was drawn, take several times as
    long.
    """
    count = len(heights)
    columns = max(1, min(count, int((width - left - right) / (least - 0.5))))
    wide = (width - left - right - (columns - 1) * (between + APART)) / columns
    rows = -(-count // columns)
    high = [wide if square else max(heights[r * columns : (r + 1) * columns]) for r in range(rows)]
    under = legend.height(width) if legend else 0.0
    inner = 0.1 if columns > 1 or rows > 1 else 0.0
    gap = inner if between == 0.0 and columns > 1 else below
    total = sum(high) + rows * title + (rows - 1) * gap + below + under + 0.06
    figure = new_figure(width, total)
    axes = []
    for i in range(count):
        row, column = divmod(i, columns)
        top = 0.06 + sum(high[:row]) + row * (title + gap) + title
        x = left + column * (wide + between + APART)
        place = (x / width, (total - top - high[row]) / total, wide / width, high[row] / total)
        axes.append(figure.add_axes(place))
        axes[-1].tick_params(labelbottom=i + columns >= count or gap == below)
        axes[-1].tick_params(labelleft=column == 0 or between > 0)
    if legend:
        _add_legend(figure, legend, width)
    return Panels(figure, axes, columns)


def label_panels(axes: Sequence[Axes], columns: int, x: str, y: str) -> None:
    """Labels below the lowest panels and beside the leftmost ones."""
    for i, one in enumerate(axes):
        if i % columns == 0:
            one.set_ylabel(y)
        if i + columns >= len(axes):
            one.set_xlabel(x)


def text_width(texts: Sequence[str], size: float = 9.0) -> float:
    """Inches that the longest of these takes."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    return max((_width(text, font, text_to_path) for text in texts), default=0.0) / 72


def _width(text: str, font: Any, measure: Any) -> float:
    return float(measure.get_text_width_height_descent(text, font, False)[0]) if text else 0.0


def short(name: str, most: int = LONGEST) -> str:
    """A name from outside as a drawing has it: one line, shortened in its middle."""
    text = one_line(name)
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - 1 - end]}…{text[-end:]}"


def mark(artist: Any, place: int, name: str) -> Any:
    """Say of what series an artist is a part, by its place from 0: hovering then shows its whole name."""
    artist.set_gid(f"series {place} {one_line(name)}")
    return artist


def guide(axes: Axes, *, x: float | None = None, y: float | None = None) -> None:
    """A faint dashed line across."""
    style: dict[str, Any] = {"color": FAINT, "linewidth": 0.8, "linestyle": (0, (3, 2)), "zorder": 0.5}
    if x is not None:
        axes.axvline(x, **style)
    if y is not None:
        axes.axhline(y, **style)


def _add_legend(figure: Figure, legend: Legend, width: float) -> None:
    from matplotlib.lines import Line2D

    places = legend.places or range(len(legend.names))
    handles = []
    for place, text, name in zip(places, legend.texts, legend.names, strict=True):
        how = look(place)
        handle = Line2D(
            [],
            [],
            color=how.colour,
            linestyle=how.dashes if legend.lines else "none",
            marker=how.marker if legend.markers else "none",
            label=text,
        )
        handles.append(mark(handle, place, name))
    made = figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 0),
        ncols=legend.columns(width),
        borderaxespad=0.2,
        columnspacing=1.2,
        labelspacing=0.3,
    )
    for place, drawn, name in zip(places, made.get_texts(), legend.names, strict=True):
        mark(drawn, place, name)


def thinned(x: NDArray[np.float64], y: NDArray[np.float64], tolerance: float) -> NDArray[np.int64]:
    """The places of a line that must stay so that no other is farther than `tolerance` above or below it
    (Douglas and Peucker 1973); `tolerance` in the unit of `y`."""
    import numpy as np

    keep = np.zeros(len(x), dtype=bool)
    keep[[0, -1]] = True
    stretches = [(0, len(x) - 1)]
    while stretches:
        first, last = stretches.pop()
        if last - first < 2:
            continue
        inner = slice(first + 1, last)
        line = np.interp(x[inner], x[[first, last]], y[[first, last]])
        gaps = np.abs(y[inner] - line)
        farthest = int(gaps.argmax())
        if gaps[farthest] > tolerance:
            middle = first + 1 + farthest
            keep[middle] = True
            stretches += [(first, middle), (middle, last)]
    return np.flatnonzero(keep)
