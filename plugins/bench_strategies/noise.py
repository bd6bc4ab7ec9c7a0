"""The unguided control of egmae: the same mean noise variance in every patch of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import Context, Encoder, Strategy
from bench_strategies.params import NoiseParams, check_patch

if TYPE_CHECKING:
    from torch import nn


def objective(encoder: Encoder, params: NoiseParams, context: Context) -> nn.Module:
    """The reconstruction objective under noise whose variance is the image's mean patch entropy."""
    from bench_strategies.corruption import EntropyNoise
    from bench_strategies.reconstruction import Reconstruction

    return Reconstruction(encoder, context, params, EntropyNoise(params, context, guided=False))


STRATEGY = Strategy(
    name="noise",
    revision=2,  # noise is drawn in another order
    about="control of egmae: the same mean noise variance, not guided by entropy",
    params=NoiseParams,
    needs=frozenset({"dense"}),
    objective=objective,
    check=check_patch,
)
