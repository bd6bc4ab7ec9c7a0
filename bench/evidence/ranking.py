"""How firm a ranking is: ranks under groups and rounds resampled together. Descriptive, no test."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEED = 20180911  # any; fixed, so that the same predictions give the same table


class Ranks(NamedTuple):
    """Of one method among k, 1 being the best.

    Attributes:
        first: share of replicates in which no other method is better.
        low, high: 95 % of the replicates' ranks lie from low to high.
    """

    first: float
    low: int
    high: int


def rank_methods(replicates: NDArray[np.float64], higher_is_better: bool = True) -> list[Ranks]:
    """From scores (k, R, B) of k methods under resampled groups. In each replicate R rounds are drawn with
    replacement too; equal means share the best of their ranks. Replicates in which a score is not defined
    are left out; nothing is left for no methods."""
    ranks = _ranks(replicates, higher_is_better)
    if not ranks.size:
        return []
    ends = np.quantile(ranks, (0.025, 0.975), axis=1, method="nearest").astype(int)
    return [
        Ranks(float((own == 1).mean()), int(low), int(high))
        for own, low, high in zip(ranks, *ends, strict=True)
    ]


def rank_shares(replicates: NDArray[np.float64], higher_is_better: bool = True) -> NDArray[np.float64]:
    """(k, k) in what share of the same replicates each method, by row, has each rank, by column from the
    best; (0, 0) where nothing can be ranked."""
    ranks = _ranks(replicates, higher_is_better)
    places = np.arange(1, len(ranks) + 1)
    return np.array([(own[:, None] == places).mean(axis=0) for own in ranks]).reshape(len(ranks), len(ranks))


def _ranks(replicates: NDArray[np.float64], higher_is_better: bool) -> NDArray[np.int64]:
    """(k, B) in each replicate; (0, 0) where nothing can be ranked."""
    methods, rounds, _ = replicates.shape
    defined = np.isfinite(replicates).all(axis=(0, 1))
    kept = replicates if defined.all() else replicates[:, :, defined]
    total = kept.shape[2]
    if not methods or not total:
        return np.empty((0, 0), dtype=np.int64)
    drawn = np.random.default_rng(SEED).integers(rounds, size=(rounds, total))
    cells = (drawn * total + np.arange(total)).ravel()
    times = np.bincount(cells, minlength=rounds * total).reshape(rounds, total).astype(np.float64)
    means = np.stack([np.einsum("rb,rb->b", own, times) for own in kept]) / rounds
    means = means if higher_is_better else -means
    ranks: NDArray[np.int64] = (means > means[:, None]).sum(axis=1) + 1
    return ranks
