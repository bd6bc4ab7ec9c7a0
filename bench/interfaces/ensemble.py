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
"""Turns the probabilities of the members, [(N, K), ...], into those of the ensemble, (N, K)."""


@dataclass(frozen=True, kw_only=True)
class Ensemble(Component[P]):
    """A way to combine the probabilities of finished runs.

    Attributes:
        fit: `fit(val, params)` sees the validation predictions of the members, never test labels, and
            returns the function that combines probabilities.
        default: whether a study that names no ensemble uses this one.
    """

    fit: Callable[[list[Predictions], P], Combine]
    default: bool = False
