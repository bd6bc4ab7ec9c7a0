"""How every figure looks, and the pieces that several kinds of them share.

Only matplotlib's objects are used, none of `pyplot`, which keeps figures and settings for a whole process.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.errors import ConfigError
from bench.figures.palette import FAINT, INK, Look, look
from bench.registry import DISTRIBUTION
from bench.text import one_line

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

HOW_TO_INSTALL = f'pip install "{DISTRIBUTION}[report]"'
LONGEST = 34
"""Characters of a name in a drawing; a longer one is shortened in its middle."""

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
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.03,
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
        mpl.rcParams.update({**mpl.rcParamsDefault, "backend": "agg", **SETTINGS})
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty one, in inches, which makes room for what is put into it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels(
    width: float, count: int, least: float, height: float, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes, as many side by side as are each `least` inches wide, `height` inches high."""
    columns = max(1, min(count, int(width / least)))
    rows = -(-count // columns)
    figure = new_figure(width, rows * height)
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.remove()
    for one in axes[max(0, count - columns) : count]:
        one.xaxis.set_tick_params(labelbottom=True)
    return figure, axes[:count]


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


def legend(
    figure: Figure,
    names: Sequence[str],
    width: float,
    *,
    looks: Sequence[Look] | None = None,
    markers: bool = False,
    lines: bool = True,
) -> None:
    """Below all axes, never on data: each name beside how it is drawn, in as many columns as fit."""
    from matplotlib.lines import Line2D

    looks = looks or [look(i) for i in range(len(names))]
    texts = [short(name) for name in names]
    handles = [
        mark(
            Line2D(
                [],
                [],
                color=one.colour,
                linestyle=one.dashes if lines else "none",
                marker=one.marker if markers else "none",
                label=text,
            ),
            place,
            name,
        )
        for place, (one, text, name) in enumerate(zip(looks, texts, names, strict=True))
    ]
    longest = max(map(len, texts))
    columns = max(1, min(len(names), int(width * 72 / (5.2 * longest + 38))))
    made = figure.legend(handles=handles, loc="outside lower left", ncols=columns, borderaxespad=0.2)
    for place, (text, name) in enumerate(zip(made.get_texts(), names, strict=True)):
        mark(text, place, name)


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
