"""Ways to combine the probabilities of finished runs."""

from __future__ import annotations

from collections.abc import Iterable

from bench import Combine, Ensemble, NoParams, Predictions, hookimpl


def _mean(val: list[Predictions], params: NoParams) -> Combine:
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
            default=True,
        )
    ]
