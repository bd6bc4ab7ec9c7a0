"""How much each member of an ensemble counts in its probability of a class, and the map that follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.explain.grids import resampled, shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.explain.grids import Grid
    from bench.interfaces.ensemble import Combine

STEP = 1e-3
"""By how much a member's probability is moved, to see what the ensemble's does."""


def member_weights(
    combine: Combine, members: Sequence[NDArray[np.float64]], classes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(M, N): by how much the ensemble's probability of class `classes[n]` rises with member m's, at the
    probabilities that members, (N, K) each, give image n. Those of an image add up to 1.

    w_mn = dP_c / dp_mc, where p_mc moves and member m's other probabilities keep their ratios, found by
    moving it by STEP. For a mean of probabilities that is 1 / M, for a weighted one its weights. A negative
    derivative counts as 0; where all are 0 (a vote, far from its edge), members count the same.
    """
    rows = np.arange(len(classes))
    base = combine([each.copy() for each in members])[rows, classes]
    slopes = np.empty((len(members), len(classes)))
    for m, own in enumerate(members):
        moved, by = _moved(own, classes)
        given = combine([moved if i == m else each.copy() for i, each in enumerate(members)])
        slopes[m] = (given[rows, classes] - base) / by
    slopes = np.where(slopes > 1e-9, slopes, 0.0)
    total = slopes.sum(axis=0)
    return np.where(total > 0, slopes / np.where(total > 0, total, 1.0), 1 / len(members))


def _moved(own: NDArray[np.float64], classes: NDArray[np.int64]) -> tuple[NDArray[np.float64], Grid]:
    """Probabilities (N, K) with those of `classes` moved a step from the nearer end, and by how much."""
    rows = np.arange(len(classes))
    before = own[rows, classes]
    by = np.where(before > 0.5, -STEP, STEP)
    others = own.copy()
    others[rows, classes] = 0.0
    left = others.sum(axis=1, keepdims=True)
    even = np.ones_like(others) / max(1, own.shape[1] - 1)
    even[rows, classes] = 0.0
    ratios = np.where(left > 1e-12, others / np.where(left > 1e-12, left, 1.0), even)
    moved = ratios * (1 - before - by)[:, None]
    moved[rows, classes] = before + by
    return moved, by


def combined_map(maps: Sequence[Grid], weights: Sequence[float]) -> Grid:
    """The map of an ensemble: sum_m w_m M_m, where M_m is the map of member m for the ensemble's class as
    shares of its own sum, because features of two networks have no common scale.

    Maps of fewer cells are resampled to the largest one. Its cells add up to the weights of the members that
    have a map: a member that finds nothing for the class adds nothing.
    """
    height, width = max((each.shape for each in maps), key=lambda shape: shape[0] * shape[1])
    given = np.zeros((height, width))
    for each, weight in zip(maps, weights, strict=True):
        given += weight * shares(resampled(each, height, width))
    return shares(given)
