"""Ways to combine the probabilities of finished runs."""

from __future__ import annotations

from collections.abc import Iterable

from bench import Combine, Ensemble, NoParams, Predictions, hookimpl
from bench_ensembles.params import GeometricParams, GreedyParams, StackingParams, WeightedParams


def _mean(val: list[Predictions], params: NoParams) -> Combine:
    from bench_ensembles.mean import mean

    return mean


def _geometric(val: list[Predictions], params: GeometricParams) -> Combine:
    from bench_ensembles.geometric import fit

    return fit(val, params)


def _weighted(val: list[Predictions], params: WeightedParams) -> Combine:
    from bench_ensembles.weighted import fit

    return fit(val, params)


def _stacking(val: list[Predictions], params: StackingParams) -> Combine:
    from bench_ensembles.stacking import fit

    return fit(val, params)


def _greedy(val: list[Predictions], params: GreedyParams) -> Combine:
    from bench_ensembles.greedy import fit

    return fit(val, params)


FLORINDO = """
@misc{florindo2026entropy,
  author = {Florindo, Joao and Moura, Viviane},
  title = {Entropy-Guided Self-Supervised Learning for Medical Image Classification},
  year = {2026},
  eprint = {2605.21970},
  archiveprefix = {arXiv}
}
"""
GENEST = """
@article{genest1986combining,
  author = {Genest, Christian and Zidek, James V.},
  title = {Combining Probability Distributions: A Critique and an Annotated Bibliography},
  journal = {Statistical Science},
  volume = {1},
  number = {1},
  pages = {114--135},
  year = {1986}
}
"""
DEMPSTER = """
@article{dempster1977maximum,
  author = {Dempster, Arthur P. and Laird, Nan M. and Rubin, Donald B.},
  title = {Maximum Likelihood from Incomplete Data via the {EM} Algorithm},
  journal = {Journal of the Royal Statistical Society: Series B},
  volume = {39},
  number = {1},
  pages = {1--38},
  year = {1977}
}
"""
WOLPERT = """
@article{wolpert1992stacked,
  author = {Wolpert, David H.},
  title = {Stacked Generalization},
  journal = {Neural Networks},
  volume = {5},
  number = {2},
  pages = {241--259},
  year = {1992}
}
"""
CARUANA = """
@inproceedings{caruana2004ensemble,
  author = {Caruana, Rich and Niculescu-Mizil, Alexandru and Crew, Geoff and Ksikes, Alex},
  title = {Ensemble Selection from Libraries of Models},
  booktitle = {Proceedings of the 21st International Conference on Machine Learning},
  year = {2004}
}
"""


@hookimpl
def register_ensembles() -> Iterable[Ensemble]:
    """The paper's ensemble, and others beside it."""
    return [
        Ensemble(
            name="mean",
            about="arithmetic mean of the members' probabilities",
            citation="Florindo and Moura 2026, arXiv:2605.21970v1, equation 11",
            bibtex=FLORINDO,
            fit=_mean,
            default=True,
        ),
        Ensemble(
            name="geometric",
            about="normalised geometric mean of the members' probabilities",
            params=GeometricParams,
            citation="Genest and Zidek 1986, Statistical Science 1(1), the logarithmic opinion pool",
            bibtex=GENEST,
            fit=_geometric,
        ),
        Ensemble(
            name="weighted",
            about="mean with the weights of lowest log loss on validation, drawn towards equal ones",
            params=WeightedParams,
            citation="the weights of a mixture, by EM: Dempster, Laird and Rubin 1977, JRSS B 39(1)",
            bibtex=DEMPSTER,
            fit=_weighted,
        ),
        Ensemble(
            name="stacking",
            about="regression on the members' log-probabilities, cross-fitted on validation",
            params=StackingParams,
            citation="Wolpert 1992, Neural Networks 5(2)",
            bibtex=WOLPERT,
            fit=_stacking,
        ),
        Ensemble(
            name="greedy",
            about="members added one by one, again too, while the log loss on validation falls",
            params=GreedyParams,
            citation="Caruana, Niculescu-Mizil, Crew and Ksikes 2004, ICML",
            bibtex=CARUANA,
            fit=_greedy,
        ),
    ]
