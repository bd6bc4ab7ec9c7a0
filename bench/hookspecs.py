"""The hooks a plugin may implement: nouns without arguments, each returning components."""
# mypy: disable-error-code=empty-body

from collections.abc import Iterable

import pluggy

from bench.interfaces.dataset import Dataset
from bench.interfaces.ensemble import Ensemble
from bench.interfaces.executor import Executor
from bench.interfaces.metric import Metric
from bench.interfaces.model import Model, ModelFamily
from bench.interfaces.reporter import Reporter
from bench.interfaces.strategy import Strategy
from bench.interfaces.tracker import Tracker

PROJECT = "bench"
"""Name of the pluggy project and of the entry-point group that plugin packages use."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of the hook of its name: `@bench.hookimpl`."""


@hookspec
def register_datasets() -> Iterable[Dataset]:
    """Labelled images, with the groups that must stay on one side of a split."""


@hookspec
def register_models() -> Iterable[Model | ModelFamily]:
    """Networks with a classifier head and dense features."""


@hookspec
def register_strategies() -> Iterable[Strategy]:
    """Ways to come by the weights from which fine-tuning starts."""


@hookspec
def register_ensembles() -> Iterable[Ensemble]:
    """Ways to combine the probabilities of finished runs."""


@hookspec
def register_metrics() -> Iterable[Metric]:
    """Numbers computed from stored predictions."""


@hookspec
def register_executors() -> Iterable[Executor]:
    """Ways to work through the units of a study."""


@hookspec
def register_reporters() -> Iterable[Reporter]:
    """Renderings of comparison tables."""


@hookspec
def register_trackers() -> Iterable[Tracker]:
    """What follows a study while it runs."""
