"""How alike two classifiers err: measures of one table of four counts (Kuncheva and Whitaker, Machine
Learning 51, 2003, section 3.1).

                     second right    second wrong
    first right      n11             n10
    first wrong      n01             n00
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Counts(NamedTuple):
    """Images, weighted or not, by who is right; arrays of one shape."""

    n11: NDArray[np.float64]
    n10: NDArray[np.float64]
    n01: NDArray[np.float64]
    n00: NDArray[np.float64]

    @property
    def total(self) -> NDArray[np.float64]:
        return self.n11 + self.n10 + self.n01 + self.n00


class Measure(NamedTuple):
    """A measure of a pair.

    Attributes:
        title: as tables call it.
        about: what it says, in a sentence's part.
        of: from counts; nan where it is not defined.
        bounds: the smallest and the largest value that are possible.
    """

    title: str
    about: str
    of: Callable[[Counts], NDArray[np.float64]]
    bounds: tuple[float, float]


def disagreement(counts: Counts) -> NDArray[np.float64]:
    """Share of the images that exactly one of the two gets right."""
    return _ratio(counts.n10 + counts.n01, counts.total)


def double_fault(counts: Counts) -> NDArray[np.float64]:
    """Share of the images that both get wrong."""
    return _ratio(counts.n00, counts.total)


def q_statistic(counts: Counts) -> NDArray[np.float64]:
    """Yule's Q; not defined where both of its products are 0, as when one of the two is always right."""
    same, other = counts.n11 * counts.n00, counts.n10 * counts.n01
    return _ratio(same - other, same + other)


def correlation(counts: Counts) -> NDArray[np.float64]:
    """Pearson's, of being wrong; not defined where one of the two is always right, or always wrong."""
    n11, n10, n01, n00 = counts
    product = (n11 + n10) * (n01 + n00) * (n11 + n01) * (n10 + n00)
    return _ratio(n11 * n00 - n10 * n01, np.sqrt(product))


MEASURES: Mapping[str, Measure] = {
    "disagreement": Measure("disagreement", "exactly one of the two is right", disagreement, (0.0, 1.0)),
    "q": Measure(
        "Q", "0 where errors are independent, 1 where they coincide, below 0 where they avoid each other",
        q_statistic, (-1.0, 1.0),
    ),
    "correlation": Measure("error correlation", "Pearson's, of being wrong", correlation, (-1.0, 1.0)),
    "double_fault": Measure("double fault", "both are wrong", double_fault, (0.0, 1.0)),
}  # fmt: skip


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=ratio, where=np.asarray(denominator) > 0)
    return ratio
