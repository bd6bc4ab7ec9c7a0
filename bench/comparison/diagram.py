"""Rows over many data sets: mean ranks, Friedman's test, and Demsar's critical difference diagram.

With fewer than six data sets no test of ranks can reach 5 %, so there is none (Demsar 2006).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.comparison.compare import Question, Table
from bench.errors import ConfigError, StoreError
from bench.registry import DISTRIBUTION

if TYPE_CHECKING:
    import pandas as pd

SETS = 6
ROWS = 3
HOW_TO_INSTALL = f'pip install "{DISTRIBUTION}[diagram]"'


class Ranked(NamedTuple):
    """Rows over data sets.

    Attributes:
        ranks: mean rank of each row, 1 being the best.
        sets: data sets.
        p: of Friedman's test that all rows are alike.
    """

    ranks: Mapping[str, float]
    sets: int
    p: float


def draw(tables: Sequence[Table], question: Question, path: Path) -> Ranked:
    """Write the diagram of the rows that all tables have to `path` (.png, .svg, .pdf): mean ranks, and rows
    joined that Nemenyi's test does not tell apart at 5 %.

    Raises ConfigError where there are too few data sets or rows, or the extra "diagram" is not installed;
    StoreError where the file cannot be written.
    """
    scores = _scores(tables, question)
    try:
        import matplotlib as mpl
        import scikit_posthocs as posthocs
    except ImportError:
        raise ConfigError(f"--diagram needs scikit-posthocs: {HOW_TO_INSTALL}") from None
    from scipy.stats import friedmanchisquare

    mpl.use("Agg")
    from matplotlib import pyplot

    ranks = scores.rank(axis=1, ascending=not question.metric.higher_is_better).mean()
    apart = posthocs.posthoc_nemenyi_friedman(scores)
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.35 * len(ranks)))
    posthocs.critical_difference_diagram(ranks, apart, ax=axes)
    axes.set_title(
        f"{question.metric.title}, mean ranks over {len(scores)} data sets (joined: not told apart)"
    )
    try:
        figure.savefig(path, bbox_inches="tight", dpi=150)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"--diagram {path}: cannot be written ({error}); name a .png, .svg or .pdf"
        ) from None
    finally:
        pyplot.close(figure)
    test = friedmanchisquare(*(scores[name] for name in scores))
    return Ranked({str(name): float(rank) for name, rank in ranks.items()}, len(scores), float(test.pvalue))


def _scores(tables: Sequence[Table], question: Question) -> pd.DataFrame:
    """Mean scores: data sets down, the rows that all of them have across."""
    import pandas as pd

    by_set: dict[str, dict[str, float]] = {}
    for table in tables:
        name = table.methods[0].units[0].spec.dataset.name
        if name in by_set:
            raise ConfigError(
                f"--diagram: {name} has several tables, so none of them is its result; name a folder of "
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
        raise ConfigError(
            f"--diagram: {len(scores)} data sets share {len(scores.columns)} rows; ranks need {SETS} data "
            f"sets and {ROWS} rows, because with fewer no test of them can reach 5 % (`bench compare A B` "
            "counts wins instead)"
        )
    return scores
