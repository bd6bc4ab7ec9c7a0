"""Metrics applied to stored predictions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bench.errors import BenchError, failure_of
from bench.registry import Registry, installed

if TYPE_CHECKING:
    from bench.interfaces.metric import Metric
    from bench.interfaces.predictions import Predictions


def score(
    predictions: Predictions, metrics: Iterable[Metric], registry: Registry | None = None
) -> dict[str, float]:
    """Each metric's number by its name; nan where the metric says that it is not defined.

    Raises PluginError naming the metric, its plugin and the place in its code, if one cannot be computed.
    The plugin is one of `registry`, the installed ones unless given.
    """
    return {metric.name: _one(predictions, metric, registry) for metric in metrics}


def _one(predictions: Predictions, metric: Metric, registry: Registry | None) -> float:
    try:
        return float(metric.score(predictions))
    except BenchError:
        raise
    except Exception as error:  # whatever a third-party function raises
        raise failure_of(
            f"metric {metric.name!r} of {getattr(metric.score, '__module__', 'an unknown module')} failed on "
            f"{len(predictions.ids)} images of {len(predictions.classes)} classes",
            error,
            (registry or installed()).plugins,
            "repair it, or leave it out with --metrics",
        ) from error
