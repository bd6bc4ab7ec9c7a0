"""A plugin whose components each do one thing that a plugin should not: what `bench` is attacked with.

It is installed with benchmarks/attacks/misdeeds.py beside it, as `attack`, which knows how to do them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from attack import KINDS, misdo

from bench import (
    DataNotFound,
    Dataset,
    Ensemble,
    Executor,
    Index,
    Metric,
    Model,
    NoParams,
    Reporter,
    Sample,
    Strategy,
    hookimpl,
)


@dataclass(frozen=True)
class Params:
    """Which misdeed a data set does."""

    kind: str = "wrong_type"


def strategy(kind: str) -> Strategy[Any]:
    def initialize(net: Any, model: Any, model_params: Any, params: Any) -> Any:
        given = misdo(kind)
        return "nowhere" if kind == "prints" else given

    return Strategy(name=kind, about="", initialize=initialize)


def build(params: NoParams, context: Any) -> Any:
    return misdo("wrong_type")


class Lost(DataNotFound):
    """An error of the plugin's own."""


def light(params: NoParams, context: Any) -> Any:
    """A network that needs torch alone, which loads in less than half the time that timm takes."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, len(context.classes)))


def index(root: Any, params: Params) -> Any:
    if params.kind == "lost":
        raise Lost(f"nothing in {root}")
    if params.kind in ("maps", "prints"):
        misdo(params.kind)
        rows = np.asarray(np.load(root / "rows.npy", mmap_mode="r"))
        each = enumerate(rows)
        return Index(
            classes=("a", "b"),
            samples=tuple(Sample(id=str(i), label="ab"[i % 2], array=row) for i, row in each),
        )
    if params.kind == "unsendable":
        return (part for part in "a generator")
    if params.kind == "wrong_sample":
        return Index(classes=("a", "b"), samples=(3, 4))  # type: ignore[arg-type]
    return misdo(params.kind)


def fit(members: Any, params: NoParams) -> Any:
    return misdo("wrong_type")


def yields(execute: Any, units: Any, session: Any, report: Any) -> Any:
    yield misdo("wrong_type")


@hookimpl
def register_strategies() -> list[Strategy[Any]]:
    return [strategy(kind) for kind in KINDS]


@hookimpl
def register_models() -> list[Model]:
    return [
        Model(name="misdeed", about="", build=build, classifier=lambda net: ()),
        Model(name="light", about="", build=light, classifier=lambda net: ("2.",)),
    ]


@hookimpl
def register_datasets() -> list[Dataset[Any]]:
    return [Dataset(name="misdeed", about="", params=Params, index=index)]


@hookimpl
def register_ensembles() -> list[Ensemble]:
    return [Ensemble(name="misdeed", about="", fit=fit)]


def metric(kind: str) -> Metric[Any]:
    def score(predictions: Any) -> Any:
        given = misdo(kind)
        return 0.5 if kind == "prints" else given

    return Metric(name=f"metric_{kind}", about="", title=kind, score=score, default=False)


def reporter(kind: str) -> Reporter[Any]:
    def render(tables: Any) -> Any:
        given = misdo(kind)
        return f"{len(tables)} tables\n" if kind == "prints" else given

    return Reporter(name=f"reporter_{kind}", about="", render=render)


@hookimpl
def register_metrics() -> list[Metric[Any]]:
    return [metric(kind) for kind in KINDS]


def prepare(environment: Any) -> None:
    print(f"prepared for {environment.device}", file=sys.stderr)


@hookimpl
def register_executors() -> list[Executor]:
    return [Executor(name="misdeed", about="", map=yields, prepare=prepare)]


@hookimpl
def register_reporters() -> list[Reporter]:
    return [
        Reporter(name="mute", about="", render=lambda tables: misdo("wrong_type")),
        Reporter(name="leaver", about="", render=lambda tables: misdo("exits")),
        *map(reporter, KINDS),
    ]
