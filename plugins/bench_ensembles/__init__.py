"""Ways to combine the probabilities of finished runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from bench import Ensemble, Predictions, hookimpl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _mean(val: list[Predictions], params: Any) -> Callable[[list[NDArray[np.float64]]], NDArray[np.float64]]:
    from bench_ensembles.mean import mean

    return mean


@hookimpl
def register_ensembles() -> Iterable[Ensemble]:
    """The paper's ensemble."""
    return [
        Ensemble(
            name="mean",
            about="arithmetic mean of the members' probabilities",
            citation="Florindo and Moura 2026, arXiv:2605.21970v1, equation 11",
            fit=_mean,
        )
    ]
