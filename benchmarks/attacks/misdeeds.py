"""A plugin whose components each do one thing that a plugin should not.

`python -m benchmarks.attacks.plugins` installs it beside `bench`, also beside older ones: it uses only what
all versions have. The tests have one of their own.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench import Dataset, Ensemble, Index, Metric, Model, NoParams, Reporter, Strategy, hookimpl


def misdo(kind: str) -> Any:
    """Do what `kind` says."""
    if kind == "exits":
        sys.exit(0)
    if kind == "exits_hard":
        os._exit(0)
    if kind == "crashes":
        ctypes.string_at(0)
    if kind == "hangs":
        time.sleep(3600)
    if kind == "kills":
        os.kill(os.getpid(), 9)
    if kind == "prints":
        print("| a row | that is none |")
        os.write(1, b"\xff\xfe from native code\n")
    if kind == "unprintable":
        raise RuntimeError("caf\udce9 \x1b[31m")
    if kind == "speechless":
        raise Speechless
    if kind == "silent":
        raise RuntimeError
    if kind == "interrupts":
        raise KeyboardInterrupt
    return 42  # of no use to anybody


class Speechless(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError


KINDS = (
    *("exits", "exits_hard", "crashes", "hangs", "kills", "prints"),
    *("unprintable", "speechless", "silent", "interrupts", "wrong_type"),
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


def index(root: Any, params: Params) -> Any:
    if params.kind == "wrong_sample":
        return Index(classes=("a", "b"), samples=(3, 4))  # type: ignore[arg-type]
    return misdo(params.kind)


def fit(members: Any, params: NoParams) -> Any:
    return misdo("wrong_type")


def render(kind: str, tables: Any) -> Any:
    return misdo(kind)


def score(kind: str, predictions: Any) -> Any:
    return "good" if kind == "wrong_type" else misdo(kind)


@hookimpl
def register_strategies() -> list[Strategy[Any]]:
    return [strategy(kind) for kind in KINDS]


@hookimpl
def register_models() -> list[Model]:
    return [Model(name="misdeed", about="", build=build, classifier=lambda net: ())]


@hookimpl
def register_datasets() -> list[Dataset[Any]]:
    return [Dataset(name="misdeed", about="", params=Params, index=index)]


@hookimpl
def register_ensembles() -> list[Ensemble]:
    return [Ensemble(name="misdeed", about="", fit=fit)]


@hookimpl
def register_metrics() -> list[Metric[Any]]:
    return [
        Metric(name=f"metric_{kind}", about="", title=kind, default=False, score=partial(score, kind))
        for kind in KINDS
    ]


@hookimpl
def register_reporters() -> list[Reporter]:
    return [Reporter(name=f"reporter_{kind}", about="", render=partial(render, kind)) for kind in KINDS]
