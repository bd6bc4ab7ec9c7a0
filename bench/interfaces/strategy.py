"""Strategies: ways to get the weights that fine-tuning starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.interfaces.component import Component, P
from bench.interfaces.model import Context, Encoder, Model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Strategy(Component[P]):
    """A way to get the weights that fine-tuning starts from. Either `initialize` or `objective` is set.

    Attributes:
        needs: traits that the model must have; a model that lacks one is shown as n/a.
        initialize: `initialize(net, model, model_params, params)` sets weights in place and returns a line
            for the record that says where they came from.
        objective: `objective(encoder, params, context)` gives a torch module that owns `encoder.net` as a
            submodule and whose `forward(images) -> loss` takes augmented uint8 images (B, 3, S, S). The
            engine trains it with the protocol's budget, the same for all, and keeps the encoder.
        freeze: `freeze(params, model, model_params)` returns the parameters with the checksum, or what else
            identifies a file from outside, filled in. It is called before the key is computed; a strategy
            that loads files needs it.
        check: `check(params, size)` raises ConfigError where these parameters do not go with images of that
            side (pixels), so that a study is refused before any work.
    """

    needs: frozenset[str] = frozenset()
    initialize: Callable[[nn.Module, Model, Any, P], str] | None = None
    objective: Callable[[Encoder, P, Context], nn.Module] | None = None
    freeze: Callable[[P, Model, Any], P] | None = None
    check: Callable[[P, int], None] | None = None

    def __post_init__(self) -> None:
        if (self.initialize is None) == (self.objective is None):
            raise ValueError(f"strategy {self.name!r} must set exactly one of initialize and objective")
