"""The geometric mean of probabilities, normalised: the logarithmic opinion pool with equal weights."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench import Combine, Predictions
from bench_ensembles.params import GeometricParams


def fit(val: list[Predictions], params: GeometricParams) -> Combine:
    """Nothing is fitted."""
    return partial(geometric_mean, floor=params.floor)


def geometric_mean(members: list[NDArray[np.float64]], floor: float) -> NDArray[np.float64]:
    """Of the members' probabilities, each (N, K) and at least `floor`: (N, K), rows that sum to 1, the same
    in any order of members (which are sorted per cell before they are added up)."""
    logs = np.log(np.maximum(np.stack(members).astype(np.float64, copy=False), floor))
    mean = np.sort(logs, axis=0).sum(axis=0) / len(members)
    odds = np.exp(mean - mean.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
    return result
