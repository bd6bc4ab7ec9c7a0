"""Curves over all thresholds of one class against the rest, for images that count more or less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.evidence.areas import by_score
from bench.interfaces.image_weights import ImageWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDING = 1e-12  # of sums of weights that should be equal


def roc_curves(
    positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    weights: ImageWeights,
    at: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(B, M) true positive rates at the false positive rates `at` (M,): of N images, `positive` or not, with
    scores (N,), under B weightings.

    Between two thresholds a straight line, as random choice between them attains; where the curve is
    vertical, its upper end (Fawcett 2006, which averages curves so). nan where no positive or no negative
    image weighs anything.
    """
    found, chosen = (sums.cumsum(-1) for sums in by_score(positive, scores, weights))
    some, rest = found[:, -1:], (chosen - found)[:, -1:]
    defined = (some > 0) & (rest > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        true, false = found / some, (chosen - found) / rest
    start = np.zeros((len(found), 1))
    true, false = np.concatenate([start, true], 1), np.concatenate([start, false], 1)
    curves = np.full((len(found), len(at)), np.nan)
    for row in np.flatnonzero(defined[:, 0]):
        curves[row] = _upper(false[row], true[row], at)
    return curves


def _upper(x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rising polyline at `at`, the upper end where it is vertical."""
    last = np.searchsorted(x, at + _ROUNDING, side="right") - 1
    after = np.minimum(last + 1, len(x) - 1)
    run = x[after] - x[last]
    share = np.divide(at - x[last], run, out=np.zeros_like(at), where=run > _ROUNDING)
    result: NDArray[np.float64] = y[last] + (y[after] - y[last]) * np.clip(share, 0, 1)
    return result


def precision_recall_curves(
    positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    weights: ImageWeights,
    at: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(B, M) precision at the highest threshold whose recall is at least each of `at` (M,): steps, as in the
    average precision, because between two thresholds precision is not on a straight line (Davis and Goadrich
    2006). nan where no positive image weighs anything."""
    found, chosen = (sums.cumsum(-1) for sums in by_score(positive, scores, weights))
    some = found[:, -1]
    precision = np.divide(found, chosen, out=np.zeros_like(found), where=chosen > 0)
    curves = np.full((len(found), len(at)), np.nan)
    for row in np.flatnonzero(some > 0):
        first = int(np.argmax(chosen[row] > 0))
        place = np.searchsorted(found[row] / some[row], at - _ROUNDING, side="left")
        curves[row] = precision[row, np.clip(place, first, len(found[row]) - 1)]
    return curves


def net_benefits(
    positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    weights: ImageWeights,
    at: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(B, M) net benefit of treating who has a score of at least each threshold of `at` (M,), all below 1:
    the share of images that are true positives, less that of false positives times the odds of the threshold
    (Vickers and Elkin 2006)."""
    treated = scores[:, None] >= at
    true = weights.sums((treated & positive[:, None]).astype(np.float64))
    false = weights.sums((treated & ~positive[:, None]).astype(np.float64))
    result: NDArray[np.float64] = (true - false * (at / (1 - at))) / weights.totals[:, None]
    return result


def treat_all(prevalence: float, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) net benefit of treating everybody."""
    result: NDArray[np.float64] = prevalence - (1 - prevalence) * at / (1 - at)
    return result
