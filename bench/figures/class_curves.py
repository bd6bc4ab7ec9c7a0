"""Curves of one class against the rest, for all methods: what several kinds of figures share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.comparison.bands import REPLICATES, Band, Curves, class_bands
from bench.data.images.index import first_few
from bench.figures.canvas import Legend, label_panels, mark, panels, short, thinned
from bench.figures.material import Material
from bench.figures.palette import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MOST = 12
"""Classes that have a panel; of more, those with the most test images."""

_VISIBLE = 0.002
"""Of the height of axes: about a third of a pixel in a page."""

Place = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Axes for curves.

    Attributes:
        at: (M,) where curves have values.
        x: label below.
        y: label beside.
        xlim: ends of the axis.
        ylim: ends of the axis.
        start: where every curve begins; None where it has no such place.
        square: whether both units are equally long.
        prepare: draws what all methods have in common, of the class at a place; of the mean over classes
            where that is None.
    """

    at: NDArray[np.float64]
    x: str
    y: str
    xlim: Place = (-0.01, 1.0)
    ylim: Place = (0.0, 1.01)
    start: Place | None = None
    square: bool = True
    prepare: Callable[[Axes, int | None], None] = lambda axes, k: None


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The curves of all methods of a table.

    Attributes:
        by_class: of each method, a band of each class.
        macro: of each method, the mean over classes.
    """

    by_class: Sequence[Sequence[Band]]
    macro: Sequence[Band]


def compute(curves: Curves, material: Material, at: NDArray[np.float64], *, banded: bool = True) -> Drawn:
    """Bands are drawn for the prominent methods alone, because more would hide each other."""
    each = [
        class_bands(curves, rounds, material.sample, at, resampled=banded and i in material.prominent)
        for i, rounds in enumerate(material.tested)
    ]
    return Drawn(by_class=[one for one, _ in each], macro=[macro for _, macro in each])


def bands_text(material: Material) -> str:
    """What bands are, and whose."""
    text = (
        f"Bands hold 95 % of {REPLICATES} resampled sets of test groups, drawn within classes and the same "
        "for all rounds; what training varies by is not in them"
    )
    if len(material.prominent) == len(material.methods):
        return f"{text}."
    have = "has" if len(material.prominent) == 1 else "have"
    named = " and ".join(short(material.names[i]) for i in material.prominent)
    return f"{text}. So that they can be told apart, {named} alone {have} one (choose rows by --method)."


def shown_classes(material: Material) -> list[int]:
    """The places of the classes that have a panel, in their order: none without test images has one."""
    counts = _test_images(material)
    largest: list[int] = np.argsort(-counts, kind="stable")[:MOST].tolist()
    return sorted(k for k in largest if counts[k])


def left_out(material: Material) -> str:
    """Sentences on classes without a panel; "" where there are none."""
    missing = np.count_nonzero(_test_images(material)) - len(shown_classes(material))
    text = f" The {MOST} classes with the most test images are shown, {missing} are not." if missing else ""
    return text + untested(material)


def untested(material: Material) -> str:
    """A sentence on classes without test images, which have no curve; "" where there are none."""
    counts = _test_images(material)
    names = [short(name) for name, count in zip(material.classes, counts, strict=True) if not count]
    return f" Without test images, so without a curve: {first_few(names, 5)}." if names else ""


def _test_images(material: Material) -> NDArray[np.int64]:
    """(K,) of all rounds."""
    labels = np.concatenate([one.labels for one in material.sample.images.values()])
    return np.bincount(labels, minlength=len(material.classes))


def draw_one(
    names: Sequence[str], bands: Sequence[Band], plane: Plane, place: int | None, width: float
) -> Figure:
    """All methods in one pair of axes."""
    left = 0.62
    figure, [axes], _ = panels(
        width,
        [2.4],
        left=left,
        right=max(0.14, width - 4.3) if plane.square else 0.14,
        title=0.0,
        legend=Legend(names=names),
        square=plane.square,
    )
    draw_axes(axes, names, bands, plane, place)
    axes.set_xlabel(plane.x)
    axes.set_ylabel(plane.y)
    return figure


def draw_classes(
    names: Sequence[str], classes: dict[int, str], drawn: Drawn, plane: Plane, width: float
) -> Figure:
    """A panel for each of `classes`, by place."""
    figure, axes, columns = panels(
        width, [1.6] * len(classes), least=2.4, square=plane.square, legend=Legend(names=names)
    )
    for one, (k, name) in zip(axes, classes.items(), strict=True):
        one.set_title(short(name, 24))
        draw_axes(one, names, [bands[k] for bands in drawn.by_class], plane, k)
    label_panels(axes, columns, plane.x, plane.y)
    return figure


def draw_axes(
    axes: Axes, names: Sequence[str], bands: Sequence[Band], plane: Plane, place: int | None
) -> None:
    axes.set_xlim(*plane.xlim)
    axes.set_ylim(*plane.ylim)
    if plane.square:
        axes.set_xticks([0, 0.5, 1])
        axes.set_yticks([0, 0.5, 1])
    plane.prepare(axes, place)
    tolerance = _VISIBLE * (axes.get_ylim()[1] - axes.get_ylim()[0])
    for i, (name, band) in enumerate(zip(names, bands, strict=True)):
        _draw_band(axes, plane.at, band, tolerance, color=look(i).colour, place=i, name=name)
    for i, (name, band) in enumerate(zip(names, bands, strict=True)):
        how = look(i)
        known = np.isfinite(band.mean)
        if known.any():
            x, y = plane.at[known], band.mean[known]
            some = thinned(x, y, tolerance)
            x, y = x[some], y[some]
            if plane.start:
                x, y = np.append(plane.start[0], x), np.append(plane.start[1], y)
            [line] = axes.plot(x, y, color=how.colour, linestyle=how.dashes)
            mark(line, i, name)


def _draw_band(
    axes: Axes, at: NDArray[np.float64], band: Band, tolerance: float, *, color: str, place: int, name: str
) -> None:
    if band.low is None or band.high is None:
        return
    known = np.isfinite(band.low) & np.isfinite(band.high)
    if not known.any():
        return
    x, low, high = at[known], band.low[known], band.high[known]
    below, above = thinned(x, low, 2 * tolerance), thinned(x, high, 2 * tolerance)
    outline: Any = np.concatenate([x[below], x[above][::-1]]), np.concatenate([low[below], high[above][::-1]])
    [drawn] = axes.fill(*outline, color=color, alpha=0.18, linewidth=0)
    mark(drawn, place, name)
