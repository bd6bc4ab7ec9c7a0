"""Parameters of the reconstruction strategies. Every choice the paper leaves open is a field here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from bench import ConfigError


@dataclass(frozen=True)
class ReconstructionParams:
    """What egmae, mae and noise share: patches are corrupted, and a decoder reconstructs them.

    Attributes:
        patch: side of the square patches that are corrupted one by one, pixels; must divide protocol.size.
        target: what the decoder predicts: "raw" the normalised pixels, "patch" the same after each patch's
            own mean is subtracted and its standard deviation divided out.
        positions: whether the decoder is told where the image was corrupted: "strength" gives it the
            strength of the corruption as one more channel, "none" does not.
        decoder_depth: ConvNeXt blocks in the decoder, which is thrown away after pretraining.
        decoder_width: channels of these blocks.
    """

    patch: Annotated[int, Interval(ge=2, le=8192)] = 16
    target: Literal["raw", "patch"] = "raw"
    positions: Literal["strength", "none"] = "strength"
    decoder_depth: Annotated[int, Interval(ge=1, le=100)] = 1
    decoder_width: Annotated[int, Interval(ge=1, le=16_384)] = 512


def check_patch(params: ReconstructionParams, size: int) -> None:
    """Raise ConfigError if the patches do not tile an image of `size` pixels."""
    if size % params.patch:
        raise ConfigError(
            f"patch {params.patch} does not divide protocol.size {size}; choose a patch size that does"
        )


@dataclass(frozen=True)
class NoiseParams(ReconstructionParams):
    """How much noise egmae and noise add: its variance is the entropy of a patch's histogram.

    Attributes:
        colour: what the histogram counts: "luma" 256 grey levels, "channels" the levels of red, green and
            blue, whose three entropies are averaged, "joint" whole colours.
        logarithm: of the entropy: "natural" gives nats, "base2" bits, so a 1.44 times larger variance.
        scale: where noise of that variance is added: "normalized" to the pixels as the network sees them,
            after the mean and deviation of its training data; "unit" to pixels from 0 to 1.
        loss: which patches count: "masked" those that received noise, all alike; "weighted" the same, each
            by its variance; "all" every patch.
    """

    colour: Literal["luma", "channels", "joint"] = "luma"
    logarithm: Literal["natural", "base2"] = "natural"
    scale: Literal["normalized", "unit"] = "normalized"
    loss: Literal["masked", "weighted", "all"] = "masked"


@dataclass(frozen=True)
class MaskParams(ReconstructionParams):
    """Plain masking, as in SimMIM: some patches are replaced by a colour that is learnt.

    Attributes:
        ratio: share of an image's patches that are replaced.
    """

    patch: Annotated[int, Interval(ge=2, le=8192)] = 32
    ratio: Annotated[float, Interval(gt=0, lt=1)] = 0.6
