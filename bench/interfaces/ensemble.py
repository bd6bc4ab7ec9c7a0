"""Ensembles: ways to combine the probabilities of finished runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
class Fitted:
    """A `Combine` that can say what was fitted. `fit` may return one, or any other function.

    Attributes:
        combine: combines the members' probabilities.
        about: `about(members)` is one line on what was found, say "weights 0.62 egmae, 0.38 imagenet"; it is
            given a name for each member, in their order. Records keep it, `bench table --why` shows it.
    """

    combine: Combine
    about: Callable[[Sequence[str]], str]

    def __call__(self, members: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        """What `combine` gives."""
        return self.combine(members)


@dataclass(frozen=True, kw_only=True)
class Ensemble(Component[P]):
    """A way to combine the probabilities of finished runs.

    Attributes:
        fit: `fit(val, params)` sees the validation predictions of the members (the same images in the same
            order, with labels and groups), never those of the test part, and returns the function that
            combines probabilities. Where validation is too small for it, it raises ConfigError with what is
            lacking: that ensemble is then a failed unit with this cause, and the rest of a study goes on.
        default: whether a study that names no ensemble uses this one.
    """

    fit: Callable[[list[Predictions], P], Combine]
    default: bool = False
