"""Rows over many data sets: mean ranks, Friedman's test, and Demsar's critical difference diagram.

With fewer than six data sets no test of ranks can reach 5 %, so there is none (Demsar 2006).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from bench.comparison.compare import Question, Table
from bench.comparison.rows import Label
from bench.errors import ConfigError
from bench.registry import DISTRIBUTION

if TYPE_CHECKING:
    import pandas as pd

SETS = 6
ROWS = 3
HOW_TO_INSTALL = f'pip install "{DISTRIBUTION}[diagram]"'


class TooFew(ConfigError):
    """Results that no test of ranks can say anything of."""


class Ranked(NamedTuple):
    """Rows over data sets.

    Attributes:
        ranks: mean rank of each row, 1 being the best.
        labels: network and method of each row.
        sets: data sets.
        p: of Friedman's test that all rows are alike.
        apart: p of Nemenyi's test of each pair, by the rows' names.
    """

    ranks: Mapping[str, float]
    labels: Mapping[str, Label]
    sets: int
    p: float
    apart: pd.DataFrame


def rank_rows(tables: Sequence[Table], question: Question) -> Ranked:
    """Ranks of the rows that all tables have. Raises TooFew where there are too few data sets or rows,
    ConfigError where the extra "diagram" is not installed."""
    scores = _scores(tables, question)
    try:
        import scikit_posthocs as posthocs
    except ImportError:
        raise ConfigError(f"mean ranks need scikit-posthocs: {HOW_TO_INSTALL}") from None
    from scipy.stats import friedmanchisquare

    ranks = scores.rank(axis=1, ascending=not question.metric.higher_is_better).mean()
    test = friedmanchisquare(*(scores[name] for name in scores))
    labels = {method.name: method.label for table in tables for method in table.methods}
    return Ranked(
        ranks={str(name): float(rank) for name, rank in ranks.items()},
        labels={str(name): labels[str(name)] for name in ranks.index},
        sets=len(scores),
        p=float(test.pvalue),
        apart=posthocs.posthoc_nemenyi_friedman(scores),
    )


def _scores(tables: Sequence[Table], question: Question) -> pd.DataFrame:
    """Mean scores: data sets down, the rows that all of them have across."""
    import pandas as pd

    by_set: dict[str, dict[str, float]] = {}
    for table in tables:
        name = table.methods[0].units[0].spec.dataset.name
        if name in by_set:
            raise TooFew(
                f"{name} has several tables, so none of them is its result; name a folder of "
                "results with one protocol (--results)"
            )
        by_set[name] = {}
        for method in table.methods:
            values = [unit.scores.get(question.metric.name) for unit in method.done.values()]
            known = [value for value in values if value is not None and value == value]
            if known:
                by_set[name][method.name] = sum(known) / len(known)
    scores = pd.DataFrame.from_dict(by_set, orient="index").dropna(axis="columns")
    if len(scores) < SETS or len(scores.columns) < ROWS:
        raise TooFew(
            f"{len(scores)} data sets share {len(scores.columns)} rows; ranks need {SETS} data "
            f"sets and {ROWS} rows, because with fewer no test of them can reach 5 % (`bench compare A B` "
            "counts wins instead)"
        )
    return scores
