"""The arithmetic mean of probabilities (Florindo and Moura 2026, equation 11)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mean(members: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean of the members' probabilities, each (N, K): (N, K), float64, the same in any order of members.

    Members are summed in sorted order per cell, because floating-point addition depends on the order.
    """
    stacked = np.sort(np.stack(members).astype(np.float64, copy=False), axis=0)
    result: NDArray[np.float64] = stacked.sum(axis=0) / len(members)
    return result
