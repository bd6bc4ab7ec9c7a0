"""Metrics applied to stored predictions."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.errors import BenchError, PluginError, failure_of
from bench.registry import Registry, installed

if TYPE_CHECKING:
    from bench.interfaces.metric import Metric
    from bench.interfaces.predictions import Predictions


log = logging.getLogger("bench")


class Scores(NamedTuple):
    """What metrics say of one unit's predictions, both by the metric's name.

    Attributes:
        values: nan where the metric says that it is not defined.
        problems: why a metric has no value.
    """

    values: Mapping[str, float]
    problems: Mapping[str, str]


def try_score(
    predictions: Predictions, metrics: Iterable[Metric], registry: Registry | None = None
) -> Scores:
    """Each metric's number by its name, and why others have none: a metric that cannot be computed takes
    nothing else down. Its plugin is one of `registry`, the installed ones unless given."""
    values, problems = {}, {}
    for metric in metrics:
        try:
            values[metric.name] = _one(predictions, metric, registry)
        except BenchError as error:
            log.debug("metric %s", metric.name, exc_info=error)
            problems[metric.name] = str(error)
    return Scores(values, problems)


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
        value: Any = metric.score(predictions)
    except BenchError:
        raise
    except (Exception, SystemExit) as error:  # whatever a third-party function raises
        plugins = (registry or installed()).plugins
        raise failure_of(
            _failed(predictions, metric), error, plugins, "repair it, or leave it out with --metrics"
        ) from error
    if not _is_number(value):
        raise PluginError(
            f"{_failed(predictions, metric)}: gave a {type(value).__name__}, not a float; repair it, or "
            "leave it out with --metrics"
        )
    return float(value)


def _failed(predictions: Predictions, metric: Metric) -> str:
    return (
        f"metric {metric.name!r} of {module_of(metric) or 'an unknown module'} failed on "
        f"{len(predictions.ids)} images of {len(predictions.classes)} classes"
    )


def module_of(metric: Metric) -> str:
    """The module that a metric's function is written in, also of a `partial` of one, or of one that is called
    in another process; "" if it has none."""
    function: Any = inspect.unwrap(metric.score)
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__module__", None) or "")


def _is_number(value: Any) -> bool:
    """A real number, of Python or numpy; True and False are none."""
    import numpy as np

    if isinstance(value, (bool, np.bool_)):
        return False
    return isinstance(value, (int, float, np.integer, np.floating)) and not _too_large(value)


def _too_large(value: Any) -> bool:
    try:
        math.isnan(float(value))
    except OverflowError:
        return True
    return False
