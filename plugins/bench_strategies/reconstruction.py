"""Corrupt, encode, decode, compare: the objective shared by egmae, mae and noise.

They differ in the corruption alone: same encoder, decoder, optimiser, augmentation and budget. Every
corruption keeps the image dense, so any network with dense features can be pretrained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, pixel_shuffle

from bench import Context, Encoder
from bench_strategies.params import ReconstructionParams, check_patch


class Corrupted(NamedTuple):
    """What the encoder sees, and what is known about where it was corrupted."""

    images: Tensor  # (B, 3, S, S) normalised
    strength: Tensor  # (B, S / patch, S / patch): noise standard deviation, or 1 where masked
    weight: Tensor  # (B, S / patch, S / patch): weight of each patch in the loss


class Reconstruction(nn.Module):
    """forward(images): mean squared error of the reconstruction on corrupted patches (eq. 7), a scalar."""

    def __init__(
        self, encoder: Encoder, context: Context, params: ReconstructionParams, corruption: nn.Module
    ) -> None:
        super().__init__()
        check_patch(params, context.size)
        self.net = encoder.net
        self.features = encoder.features
        self.context = context
        self.params = params
        self.corruption = corruption
        self.decoder = Decoder(encoder.width, encoder.stride, params)

    def forward(self, images: Tensor) -> Tensor:
        clean = self.context.normalize(images)
        corrupted: Corrupted = self.corruption(images, clean)
        predicted = self._decoded(corrupted)
        # Compared in float32 also under bf16 autocast.
        error = (to_patches(predicted.float(), self.params.patch) - self._target(clean)).square().mean(-1)
        weight = corrupted.weight.flatten(1)
        return (error * weight).sum() / weight.sum().clamp_min(1e-6)

    def reveal(self, images: Tensor) -> Mapping[str, Tensor]:
        """What the encoder is given, and the reconstruction where it was corrupted: the rest, which the loss
        does not look at, is as in the image. (B, 3, S, S) each, normalised pixels."""
        clean = self.context.normalize(images)
        corrupted: Corrupted = self.corruption(images, clean)
        predicted = to_patches(self._decoded(corrupted).float(), self.params.patch)
        if self.params.target == "patch":
            mean, deviation = _moments(to_patches(clean, self.params.patch))
            predicted = predicted * deviation + mean
        seen = per_pixel((corrupted.weight > 0).to(clean.dtype), self.params.patch)
        pixels = from_patches(predicted, self.params.patch, clean.shape[-1])
        return {
            str(self.corruption.caption): corrupted.images,
            "reconstruction": pixels * seen + clean * (1 - seen),
        }

    def _decoded(self, corrupted: Corrupted) -> Tensor:
        features = self.features(self.net, corrupted.images)
        pixels: Tensor = self.decoder(features, corrupted.strength)
        return pixels

    def _target(self, clean: Tensor) -> Tensor:
        target = to_patches(clean, self.params.patch)
        if self.params.target == "patch":  # MAE's norm_pix_loss
            mean, deviation = _moments(target)
            target = (target - mean) / deviation
        return target


class Decoder(nn.Module):
    """ConvNeXt blocks, then a linear map to stride x stride x 3 pixels per cell (FCMAE, Woo et al. 2023).

    The positions of corrupted patches enter as one extra channel, the strength map pooled to the features'
    resolution.
    """

    def __init__(self, width: int, stride: int, params: ReconstructionParams) -> None:
        super().__init__()
        self.positions = params.positions == "strength"
        self.stride = stride
        self.enter = nn.Conv2d(width + self.positions, params.decoder_width, 1)
        self.blocks = nn.Sequential(
            *(ConvNeXtBlock(params.decoder_width) for _ in range(params.decoder_depth))
        )
        self.leave = nn.Conv2d(params.decoder_width, stride * stride * 3, 1)

    def forward(self, features: Tensor, strength: Tensor) -> Tensor:
        """(B, C, h, w) and (B, n, n) to pixels (B, 3, h * stride, w * stride)."""
        if self.positions:
            where = resample(strength[:, None], features.shape[-2], features.shape[-1])
            features = torch.cat([features, where.to(features.dtype)], dim=1)
        return pixel_shuffle(self.leave(self.blocks(self.enter(features))), self.stride)


def resample(maps: Tensor, height: int, width: int) -> Tensor:
    """(B, 1, n, n) to (B, 1, height, width): averaged where coarser, repeated where finer.

    It carries no gradient, so the nondeterministic backward of pooling on GPUs does not matter.
    """
    return adaptive_avg_pool2d(maps, (height, width))


def to_patches(images: Tensor, patch: int) -> Tensor:
    """(B, C, S, S) to (B, patches, C * patch * patch), patches in row-major order."""
    b, c, height, width = images.shape
    tiles = images.reshape(b, c, height // patch, patch, width // patch, patch)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * patch * patch)


def from_patches(patches: Tensor, patch: int, side: int) -> Tensor:
    """The inverse of `to_patches`: (B, patches, C * patch * patch) to (B, C, side, side)."""
    tiles = patches.reshape(len(patches), side // patch, side // patch, -1, patch, patch)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), -1, side, side)


def _moments(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch, (B, patches, 1) each."""
    mean, var = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
    return mean, (var + 1e-6).sqrt()


def per_pixel(maps: Tensor, patch: int) -> Tensor:
    """(B, n, n), one value per patch, to (B, 1, n * patch, n * patch)."""
    b, height, width = maps.shape
    tiled = maps[:, :, None, :, None].expand(b, height, patch, width, patch)
    return tiled.reshape(b, 1, height * patch, width * patch)


def add_noise(clean: Tensor, variance: Tensor, patch: int, scale: Tensor) -> Tensor:
    """Independent Gaussian noise on every pixel and channel; `variance` (B, n, n) is per patch (eq. 6).

    `scale` (1, 3, 1, 1) converts the noise to normalised pixels.
    """
    # Drawn in contiguous memory: PyTorch's vectorised generator is for that alone (14 times faster on a CPU).
    noise = torch.randn(clean.shape, dtype=clean.dtype, device=clean.device)
    return clean + noise * per_pixel(variance.sqrt(), patch) * scale
