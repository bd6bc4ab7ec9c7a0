"""A plugin that writes down what it is asked to do, so that an attack knows without asking `bench`.

A line each, "WHO PID WHAT", is added to the file $WITNESS; WHO is $WITNESS_BY. Each takes $WITNESS_PACE
seconds, so that there is a moment to attack.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from bench import Context, Encoder, Model, NoParams, Strategy, hookimpl

from .notes import announce

if TYPE_CHECKING:
    from torch import nn

INITIALIZED = tuple(f"initialized-{number}" for number in range(6))
PRETRAINED = tuple(f"pretrained-{number}" for number in range(2))


def build(params: NoParams, context: Context) -> nn.Module:
    from .network import Network

    return Network(len(context.classes))


def features(net: Any, images: Any) -> Any:
    return net.features(images)


def initialize(name: str, net: Any, model: Any, model_params: Any, params: Any) -> str:
    """Random weights, as they are."""
    announce(f"training {name}")
    return "random"


def objective(name: str, encoder: Encoder, params: NoParams, context: Context) -> nn.Module:
    from .network import Reconstruction

    announce(f"training {name}")
    return Reconstruction(encoder, context)


@hookimpl
def register_models() -> list[Model]:
    return [
        Model(
            name="witness",
            about="",
            build=build,
            features=features,
            classifier=lambda net: ("head",),
            traits=frozenset({"dense"}),
        )
    ]


@hookimpl
def register_strategies() -> list[Strategy[Any]]:
    from_random = [
        Strategy(name=name, about="", initialize=partial(initialize, name)) for name in INITIALIZED
    ]
    pretrained = [Strategy(name=name, about="", objective=partial(objective, name)) for name in PRETRAINED]
    return [*from_random, *pretrained]
