"""Plain masked autoencoding, the control: patches replaced by a learnt token, dense as in SimMIM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import Context, Encoder, Strategy
from bench_strategies.params import MaskParams, check_patch

if TYPE_CHECKING:
    from torch import nn


def objective(encoder: Encoder, params: MaskParams, context: Context) -> nn.Module:
    """The reconstruction objective under random masking."""
    from bench_strategies.corruption import PatchMask
    from bench_strategies.reconstruction import Reconstruction

    return Reconstruction(encoder, context, params, PatchMask(params))


STRATEGY = Strategy(
    name="mae",
    about="plain MAE: 60 % of 32x32 patches replaced by a learnt token, loss on those",
    params=MaskParams,
    needs=frozenset({"dense"}),
    objective=objective,
    check=check_patch,
    citation="He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022; "
    "Xie et al., SimMIM: A Simple Framework for Masked Image Modeling, CVPR 2022",
)
