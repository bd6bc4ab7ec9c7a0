"""Strategies: ways to get the weights that fine-tuning starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bench.interfaces.component import Component, P
from bench.interfaces.model import Context, Encoder, Model

if TYPE_CHECKING:
    from torch import Tensor, nn


@runtime_checkable
class Revealing(Protocol):
    """An objective that can show what it does. Offering it is optional: `bench explain` shows such pictures.

    `reveal(images)` takes uint8 images (B, 3, S, S), as `forward` does, and gives named pictures, float
    (B, 3, S, S) in the network's normalised pixels, in the order in which they are shown: first what the
    encoder is given ("noisy input"), then what is made of it ("reconstruction"). Names become captions. It
    is called without gradients and in evaluation mode, and may draw random numbers from torch's generator.
    """

    def reveal(self, images: Tensor) -> Mapping[str, Tensor]: ...


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
        guide: `guide(images, params)` gives, for uint8 images (B, 3, S, S), what the objective goes by where
            it treats parts of an image differently: float (B, h, w), one finite value a patch, h and w
            dividing S, the higher the more is done there. It depends on nothing but the images. For
            `bench explain`, which shows it and compares it with where classifiers look.
        guided_by: what these values are, as a caption: "patch entropy".

    The module that `objective` gives may be `Revealing`.
    """

    needs: frozenset[str] = frozenset()
    initialize: Callable[[nn.Module, Model, Any, P], str] | None = None
    objective: Callable[[Encoder, P, Context], nn.Module] | None = None
    freeze: Callable[[P, Model, Any], P] | None = None
    check: Callable[[P, int], None] | None = None
    guide: Callable[[Tensor, P], Tensor] | None = None
    guided_by: str = ""

    def __post_init__(self) -> None:
        if (self.initialize is None) == (self.objective is None):
            raise ValueError(f"strategy {self.name!r} must set exactly one of initialize and objective")
        if (self.guide is None) != (not self.guided_by):
            raise ValueError(f"strategy {self.name!r} must set both of guide and guided_by, or neither")
