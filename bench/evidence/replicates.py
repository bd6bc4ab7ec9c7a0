"""Metrics of one unit's predictions under many weightings of its test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.errors import BenchError, PluginError, failure_of
from bench.evidence.weights import Groups
from bench.interfaces.image_weights import ImageWeights
from bench.registry import Registry, installed
from bench.results.score import module_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces.metric import Metric
    from bench.interfaces.predictions import Predictions


def image_weights(predictions: Predictions, groups: Groups, weights: NDArray[np.float64]) -> ImageWeights:
    """Of the images in `predictions`, from weights (B, G) of all groups of the study."""
    present, place = np.unique(groups.positions(predictions), return_inverse=True)
    return ImageWeights(np.ascontiguousarray(weights.T[present]).T, place)


class Replicates(NamedTuple):
    """Of each metric (B,) values, nan where it is not defined under a weighting; and why others have none."""

    values: Mapping[str, NDArray[np.float64]]
    problems: Mapping[str, str]


def can_be_weighted(metric: Metric) -> bool:
    """Whether a metric says how to compute it from counts or with weights."""
    return metric.of_counts is not None or metric.of_weights is not None


def replicate(
    metrics: Sequence[Metric],
    predictions: Predictions,
    weights: ImageWeights,
    registry: Registry | None = None,
) -> Replicates:
    """The metrics that can be weighted, under all weightings of the images of `predictions`."""
    counts = None
    values, problems = {}, {}
    for metric in filter(can_be_weighted, metrics):
        if metric.of_counts is not None and counts is None:
            counts = _counts(predictions, weights)
        try:
            values[metric.name] = _one(metric, predictions, counts, weights, registry)
        except BenchError as error:
            problems[metric.name] = str(error)
    return Replicates(values, problems)


def _one(
    metric: Metric,
    predictions: Predictions,
    counts: NDArray[np.float64] | None,
    weights: ImageWeights,
    registry: Registry | None,
) -> NDArray[np.float64]:
    """Raises PluginError naming the metric and its plugin, if it cannot be computed."""
    remedy = "repair its of_counts or of_weights, or leave it out with --metrics"
    value: Any
    try:
        if metric.of_counts is not None:
            value = metric.of_counts(counts)  # type: ignore[arg-type]  # counted above
        else:
            value = metric.of_weights(predictions, weights)  # type: ignore[misc]  # it can be weighted
    except BenchError:
        raise
    except (Exception, SystemExit) as error:  # whatever a third-party function raises
        raise failure_of(_failed(metric), error, (registry or installed()).plugins, remedy) from error
    total = len(weights)
    if not isinstance(value, np.ndarray) or value.shape != (total,) or value.dtype.kind not in "fiu":
        shape = getattr(value, "shape", type(value).__name__)
        raise PluginError(f"{_failed(metric)}: gave {shape}, not {total} numbers; {remedy}")
    return value.astype(np.float64, copy=False)


def _failed(metric: Metric) -> str:
    return f"metric {metric.name!r} of {module_of(metric) or 'an unknown module'} failed on weighted images"


def _counts(predictions: Predictions, weights: ImageWeights) -> NDArray[np.float64]:
    """(B, K, K) weighted images of each class, by row, that are predicted as which, by column. In memory the
    replicates of one cell lie side by side, so that sums over classes run along them."""
    classes, groups = len(predictions.classes), weights.of_groups.shape[1]
    cells = predictions.labels * classes + predictions.probabilities.argmax(axis=1)
    of_groups = np.bincount(weights.group * classes**2 + cells, minlength=groups * classes**2)
    counts = of_groups.reshape(groups, classes**2).T.astype(np.float64) @ weights.of_groups.T
    return np.moveaxis(counts.reshape(classes, classes, -1), -1, 0)
