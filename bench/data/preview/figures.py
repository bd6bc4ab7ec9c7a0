"""Figures of a data set's images: sizes, grey values, outliers, groups, and which images stand for many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.data.images.view import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTLYING = 3.5
"""Robust z beyond which an image is an outlier, as Iglewicz and Hoaglin (1993) recommend."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of red, green, blue in grey, as Pillow has it


class Quantiles(NamedTuple):
    """Of one quantity over all images."""

    least: float
    low: float  # 5 %
    median: float
    high: float  # 95 %
    most: float


def quantiles(values: Sequence[float] | NDArray[np.float64]) -> Quantiles:
    """Values that occur, so that a number of pixels is a whole one."""
    found = np.quantile(values, (0, 0.05, 0.5, 0.95, 1), method="inverted_cdf")
    return Quantiles(*map(float, found))


class GreyFigures(NamedTuple):
    """Brightness (N,) and contrast (N,) of images: mean and standard deviation of their grey values, 0 to
    255."""

    brightness: NDArray[np.float64]
    contrast: NDArray[np.float64]


def grey_figures(view: View) -> GreyFigures:
    """Of the copies of a view."""
    figures = np.empty((2, len(view)))
    for i in range(len(view)):
        pixels = view[i]
        grey = pixels[0] if len(pixels) == 1 else np.tensordot(LUMA, pixels.astype(np.float32), 1)
        figures[:, i] = grey.mean(dtype=np.float64), grey.std(dtype=np.float64)
    return GreyFigures(*figures)


class Scale(NamedTuple):
    """Where values lie and how far they spread, whatever a few of them are."""

    median: float
    spread: float  # as a standard deviation; 0 where all values are equal

    @property
    def limits(self) -> tuple[float, float]:
        """Beyond these a value is an outlier."""
        return self.median - OUTLYING * self.spread, self.median + OUTLYING * self.spread


def robust_scale(values: NDArray[np.float64]) -> Scale:
    """The median of (N,), and the median absolute deviation times 1.4826, which is the standard deviation of
    normal values.

    Where more than half of the values are equal that is 0, and the mean absolute deviation times 1.2533
    serves instead.
    """
    median = float(np.median(values))
    distances = np.abs(values - median)
    spread = 1.4826 * float(np.median(distances)) or 1.2533 * float(distances.mean())
    return Scale(median, spread)


def robust_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) distances from the median in spreads; 0 where all values are equal."""
    median, spread = robust_scale(values)
    return (values - median) / spread if spread else np.zeros_like(values)


class Outlier(NamedTuple):
    """An image whose brightness or contrast is far from the others'."""

    position: int
    what: str  # "brightness" or "contrast"
    value: float  # 0 to 255
    z: float


def outliers(figures: GreyFigures) -> list[Outlier]:
    """All of them, the farthest first; an image can be one in both."""
    found = [
        Outlier(i, what, float(values[i]), float(z[i]))
        for what, values in figures._asdict().items()
        for z in (robust_z(values),)
        for i in np.flatnonzero(np.abs(z) > OUTLYING).tolist()
    ]
    return sorted(found, key=lambda one: (-abs(one.z), one.position, one.what))


def evenly_spaced(items: Sequence[int], most: int) -> list[int]:
    """At most `most` of the items: the middle ones of as many equal stretches."""
    count = min(most, len(items))
    return [items[(2 * k + 1) * len(items) // (2 * count)] for k in range(count)]


def group_sizes(groups: Sequence[str]) -> dict[str, int]:
    """Images per group -> number of such groups, 1 to 4 one by one, then 5 to 9, 10 to 99, 100 and more."""
    steps = {"1": 1, "2": 2, "3": 3, "4": 4, "5 to 9": 9, "10 to 99": 99}
    counts = dict.fromkeys((*steps, "100 and more"), 0)
    for size in Counter(groups).values():
        counts[next((name for name, last in steps.items() if size <= last), "100 and more")] += 1
    return {name: count for name, count in counts.items() if count}
