"""Ways to combine the probabilities of finished runs."""

from __future__ import annotations

from collections.abc import Iterable

from bench import Combine, Ensemble, NoParams, Predictions, hookimpl


def _mean(val: list[Predictions], params: NoParams) -> Combine:
    from bench_ensembles.mean import mean

    return mean


REFERENCE = """
@misc{florindo2026entropy,
  author = {Florindo, Joao and Moura, Viviane},
  title = {Entropy-Guided Self-Supervised Learning for Medical Image Classification},
  year = {2026},
  eprint = {2605.21970},
  archiveprefix = {arXiv}
}
"""


@hookimpl
def register_ensembles() -> Iterable[Ensemble]:
    """The paper's ensemble."""
    return [
        Ensemble(
            name="mean",
            about="arithmetic mean of the members' probabilities",
            citation="Florindo and Moura 2026, arXiv:2605.21970v1, equation 11",
            bibtex=REFERENCE,
            fit=_mean,
            default=True,
        )
    ]
