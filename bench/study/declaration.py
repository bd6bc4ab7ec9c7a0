"""What a study was made to find out, said before it is run.

[evidence]
metric = "auc"
baseline = "imagenet"
margin = 0.01

Whoever looks at many metrics and many pairs finds a difference somewhere. So a study names one metric and, if
there is one, the row that all others are compared with; what is tested beside that is called exploratory.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from bench.errors import ConfigError, UnknownName

MARGIN = 0.01


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a study declares about its evaluation: the table [evidence] of a study file.

    Attributes:
        metric: the primary one; "" for the first of tables, undeclared.
        baseline: the row that others are compared with, as tables call it ("imagenet",
            "convnext_tiny.imagenet", "mean(egmae+imagenet)"); "" for comparisons of all pairs.
        margin: difference within which two methods are practically equal, in the metric's own unit.
    """

    metric: str = ""
    baseline: str = ""
    margin: Annotated[float, Interval(ge=0, le=1000)] = MARGIN


NOTHING = Declaration()


def check_declaration(
    declared: Declaration, metrics: Collection[str], strategies: Collection[str], ensembles: Collection[str]
) -> None:
    """Raise UnknownName or ConfigError for a metric that is not installed, or a baseline that no row of the
    study can be called."""
    if declared.metric and declared.metric not in metrics:
        raise UnknownName("metric", declared.metric, metrics, "(evidence.metric)")
    row = "".join(declared.baseline.split())
    if not row or row in strategies:
        return
    if any(row.endswith(f".{name}") for name in strategies):
        return
    if any(row.startswith(f"{name}(") or f".{name}(" in row for name in ensembles):
        return
    raise ConfigError(
        f"evidence.baseline = {declared.baseline!r}: no row of this study; name one of its strategies "
        f"({', '.join(strategies)}), MODEL.STRATEGY, or an ensemble as tables call it"
    )
