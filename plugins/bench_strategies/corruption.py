"""The corruptions: modules from (uint8 images, normalised images) to `Corrupted`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bench import Context
from bench_strategies.entropy import patch_entropy
from bench_strategies.params import MaskParams, NoiseParams
from bench_strategies.reconstruction import Corrupted, add_noise, per_pixel


class EntropyNoise(nn.Module):
    """Gaussian noise whose variance is each patch's entropy (eq. 4 to 6); a flat patch stays clean.

    With `guided` off, every patch of an image gets the mean of its entropies.
    """

    caption = "noisy input"

    def __init__(self, params: NoiseParams, context: Context, guided: bool) -> None:
        super().__init__()
        self.params = params
        self.guided = guided
        std = context.normalization.std
        unit = [1.0, 1.0, 1.0] if params.scale == "normalized" else [1 / s for s in std]
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(unit).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, clean: Tensor) -> Corrupted:
        variance = entropy_of(images, self.params)
        if not self.guided:
            variance = variance.mean((1, 2), keepdim=True).expand_as(variance)
        noisy = add_noise(clean, variance, self.params.patch, self.scale)
        return Corrupted(noisy, variance.sqrt(), self._weight(variance))

    def _weight(self, variance: Tensor) -> Tensor:
        if self.params.loss == "weighted":
            return variance
        if self.params.loss == "all":
            return torch.ones_like(variance)
        return (variance > 0).to(variance.dtype)


def entropy_of(images: Tensor, params: NoiseParams) -> Tensor:
    """(B, S / patch, S / patch) of uint8 images: each patch's entropy, which is the variance of its noise."""
    base = 2.0 if params.logarithm == "base2" else math.e
    return patch_entropy(images, params.patch, params.colour, base)


class PatchMask(nn.Module):
    """Exactly round(ratio * patches) patches of each image replaced by one learnt colour."""

    caption = "masked input"

    def __init__(self, params: MaskParams) -> None:
        super().__init__()
        self.params = params
        self.token = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, images: Tensor, clean: Tensor) -> Corrupted:
        side = clean.shape[-1] // self.params.patch
        count = max(1, round(self.params.ratio * side * side))
        order = torch.rand(len(clean), side * side, device=clean.device).argsort(1)
        mask = (order < count).to(clean.dtype).view(-1, side, side)
        where = per_pixel(mask, self.params.patch)
        return Corrupted(clean * (1 - where) + self.token * where, mask, mask)
