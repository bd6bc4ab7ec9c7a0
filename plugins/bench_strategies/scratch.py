"""No pretraining: the control that shows what any pretraining is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import Model, NoParams, Strategy

if TYPE_CHECKING:
    from torch import nn


def initialize(net: nn.Module, model: Model, model_params: object, params: NoParams) -> str:
    """Leave the network as it was built."""
    return "random initialisation"


STRATEGY = Strategy(
    name="scratch",
    about="random initialisation, no pretraining",
    initialize=initialize,
)
