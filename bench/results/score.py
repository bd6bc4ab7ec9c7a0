"""Metrics applied to stored predictions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, PluginError

if TYPE_CHECKING:
    from bench.interfaces.metric import Metric
    from bench.interfaces.predictions import Predictions


def score(predictions: Predictions, metrics: Iterable[Metric[Any]]) -> dict[str, float]:
    """Each metric's number by its name; nan where the metric says that it is not defined.

    Raises PluginError naming the metric, and the module it came from, if one cannot be computed.
    """
    return {metric.name: _one(predictions, metric) for metric in metrics}


def _one(predictions: Predictions, metric: Metric[Any]) -> float:
    try:
        return float(metric.score(predictions))
    except BenchError:
        raise
    except Exception as error:  # whatever a third-party function raises
        shape = f"{len(predictions.ids)} images of {len(predictions.classes)} classes"
        module = getattr(metric.score, "__module__", "an unknown module")
        raise PluginError(
            f"metric {metric.name!r} of {module} failed on {shape}: {type(error).__name__}: {error}; "
            "repair it, or leave it out with --metrics"
        ) from error
