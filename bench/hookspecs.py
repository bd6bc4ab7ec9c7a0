"""The hooks a plugin may implement: nouns without arguments, each returning offers."""
# mypy: disable-error-code=empty-body

from collections.abc import Iterable

import pluggy

from bench.types import (
    Dataset,
    Ensemble,
    Executor,
    Metric,
    Model,
    ModelFamily,
    Reporter,
    Strategy,
)

PROJECT = "bench"
"""Name of the pluggy project and of the entry-point group that plugin packages use."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_datasets() -> Iterable[Dataset]:
    """Labelled images, with the groups that must not be torn apart."""


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
    """Renderings of a comparison table."""
