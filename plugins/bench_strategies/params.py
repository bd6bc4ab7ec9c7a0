"""Parameters of the reconstruction strategies. Every choice the paper leaves open is a field here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Interval


@dataclass(frozen=True)
class ReconstructionParams:
    """What egmae, mae and noise share.

    target: reconstruct raw normalised pixels, or each patch by its own mean and deviation. positions: the
    decoder sees the strength of the corruption as an extra channel, or nothing.
    """

    patch: Annotated[int, Ge(2)] = 16
    target: Literal["raw", "patch"] = "raw"
    positions: Literal["strength", "none"] = "strength"
    decoder_depth: Annotated[int, Ge(1)] = 1
    decoder_width: Annotated[int, Ge(1)] = 512


@dataclass(frozen=True)
class NoiseParams(ReconstructionParams):
    """How the noise variance follows from patch entropy.

    colour: what the histogram counts (see `entropy.patch_entropy`). logarithm: of the entropy. scale: add
    the noise to normalised pixels, or to pixels in 0..1. loss: mean over patches with entropy above 0, the
    same weighted by variance, or over all patches.
    """

    colour: Literal["luma", "channels", "joint"] = "luma"
    logarithm: Literal["natural", "base2"] = "natural"
    scale: Literal["normalized", "unit"] = "normalized"
    loss: Literal["masked", "weighted", "all"] = "masked"


@dataclass(frozen=True)
class MaskParams(ReconstructionParams):
    """Plain masking: `ratio` of the patches is replaced by a learnt colour, SimMIM-like."""

    patch: Annotated[int, Ge(2)] = 32
    ratio: Annotated[float, Interval(gt=0, lt=1)] = 0.6
