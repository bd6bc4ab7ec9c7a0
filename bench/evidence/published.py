"""How probable it is that a published claim "A is more accurate than B" is false.

Source: Christodoulou et al. 2025, "False Promises in Medical Imaging AI? Assessing Validity of Outperformance
Claims", arXiv 2505.04720. Each of the n test images is predicted right by both methods, by A alone, by B
alone or by neither. A uniform prior over the probabilities of these four gives a Dirichlet distribution after
n images. A claim is false if A alone is right no more often than B alone.

The paper needs three numbers: both accuracies, and the *congruence*, the share of images that both methods
predict right. A congruence is possible for two accuracies a and b only between max(0, a + b - 1) and min(a,
b), so a value measured for one pair of methods may be impossible for another. What is carried over instead is
the *overlap*: where the congruence lies between a * b (independent of each other: 0) and min(a, b) (the worse
is right on no image that the better gets wrong: 1); below independence, between a * b and max(0, a + b - 1)
(-1). From 0 to 1 it is Cohen's kappa of the two methods' hits, divided by its largest possible value (Cohen
1960).

Nothing is simulated: given that one of A and B alone is right, the probability that it is A has a Beta
distribution.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDING = 1e-9  # of sums and products of shares


class Bounds(NamedTuple):
    """The smallest and the largest value possible."""

    low: float
    high: float


class Pairs(NamedTuple):
    """Two methods each, of the P = M (M - 1) / 2 pairs of M methods.

    Attributes:
        congruence: (P,) share of the images that both predict right.
        overlap: (P,) the same as an overlap; nan where a method predicts all images right, or none.
    """

    congruence: NDArray[np.float64]
    overlap: NDArray[np.float64]


def possible_congruence(a: float, b: float) -> Bounds:
    """What share of the images two methods of these accuracies (0 to 1) can both predict right."""
    return Bounds(max(0.0, a + b - 1), min(a, b))


def false_claim(better: float, worse: float, images: int, congruence: float) -> float:
    """The probability, 0 to 1, that the true accuracy of the method called better is not above the other's.

    P(p_A <= p_B) where (p_A alone, p_B alone, rest) has the Dirichlet distribution with parameters x_A + 1,
    x_B + 1, n - x_A - x_B + 2, with x_A = n (a - congruence) and x_B = n (b - congruence) (arXiv 2505.04720,
    classification). So p_A / (p_A + p_B) is Beta(x_A + 1, x_B + 1), and the probability is its distribution
    function at 1/2. The counts need not be whole numbers, and of rounded accuracies hardly are.

    Raises ValueError for a congruence that is not possible, or no images.
    """
    from scipy.special import betainc

    low, high = possible_congruence(better, worse)
    if images < 1:
        raise ValueError(f"{images} images")
    if not low - _ROUNDING <= congruence <= high + _ROUNDING:
        raise ValueError(f"congruence {congruence}: not from {low} to {high}")
    only_better, only_worse = (images * max(0.0, share - congruence) for share in (better, worse))
    return float(betainc(only_better + 1, only_worse + 1, 0.5))


def false_claim_bounds(better: float, worse: float, images: int) -> Bounds:
    """`false_claim` under every possible congruence: it falls as the congruence rises."""
    low, high = possible_congruence(better, worse)
    ends = (false_claim(better, worse, images, congruence) for congruence in (low, high))
    return Bounds(*sorted(ends))


def overlap_of(a: float, b: float, congruence: float) -> float:
    """The overlap, -1 to 1, of two methods with these accuracies and this congruence; nan where a method
    predicts all images right, or none, so that the congruence is known beforehand."""
    return float(_overlap(np.float64(a), np.float64(b), np.float64(congruence)))


def congruence_of(a: float, b: float, overlap: float) -> float:
    """The congruence of two methods with these accuracies and this overlap; the inverse of `overlap_of`."""
    low, high = possible_congruence(a, b)
    independent = a * b
    return independent + overlap * ((high - independent) if overlap >= 0 else (independent - low))


def pairs_of(right: NDArray[np.bool_]) -> Pairs:
    """All pairs of M methods, from (M, N): whether method m predicts image i right."""
    hits = right.astype(np.float64)
    both = hits @ hits.T / right.shape[1]
    accuracy = hits.mean(axis=1)
    first, second = np.triu_indices(len(hits), k=1)
    congruence = both[first, second]
    return Pairs(congruence, _overlap(accuracy[first], accuracy[second], congruence))


def _overlap(
    a: NDArray[np.float64] | np.float64,
    b: NDArray[np.float64] | np.float64,
    congruence: NDArray[np.float64] | np.float64,
) -> NDArray[np.float64]:
    independent = a * b
    above = congruence - independent
    room = np.where(above >= 0, np.minimum(a, b) - independent, independent - np.maximum(0.0, a + b - 1))
    known = room > _ROUNDING
    ratio: NDArray[np.float64] = np.where(known, above / np.where(known, room, 1.0), math.nan)
    return np.clip(ratio, -1.0, 1.0)
