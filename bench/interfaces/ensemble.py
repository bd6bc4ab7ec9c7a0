"""Ensembles: ways to combine the probabilities of finished runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.interfaces.component import Component, P
from bench.interfaces.predictions import Predictions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Combine = Callable[[list["NDArray[np.float64]"]], "NDArray[np.float64]"]
"""From the members' probabilities [(N, K), ...] to the ensemble's (N, K)."""


@dataclass(frozen=True, kw_only=True)
class Ensemble(Component[P]):
    """A way to combine the probabilities of finished runs.

    Attributes:
        fit: `fit(val, params)` sees the members' validation predictions, never test labels, and gives the
            function that combines probabilities.
        default: whether a study that names no ensemble has this one.
    """

    fit: Callable[[list[Predictions], P], Combine]
    default: bool = False
