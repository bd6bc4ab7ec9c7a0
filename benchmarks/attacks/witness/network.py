"""The network of `witness` and its pretraining: they learn little, fast, and say each step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import Context, Encoder

from .notes import announce

BALLAST = 2**22  # float32 numbers: a checkpoint takes a moment to write, in which it can be attacked


class Network(nn.Module):
    """One convolution and a classifier, (B, 3, S, S) to (B, classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.GELU())
        self.head = nn.Linear(8, classes)
        self.register_buffer("ballast", torch.zeros(BALLAST))

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 8, S / 4, S / 4)."""
        if self.training:
            announce("step")
        elif torch.is_inference_mode_enabled():  # not where operations are counted
            announce("predict")
        found: Tensor = self.body(images)
        return found

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images).mean((2, 3)))
        return logits


class Reconstruction(nn.Module):
    """The mean squared error of the image at a quarter of its size."""

    def __init__(self, encoder: Encoder, context: Context) -> None:
        super().__init__()
        self.net = encoder.net
        self.encoder, self.context = encoder, context
        self.decode = nn.Conv2d(encoder.width, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        pixels = self.context.normalize(images)
        decoded = self.decode(self.encoder.features(self.net, pixels))
        return functional.mse_loss(decoded, functional.avg_pool2d(pixels, self.encoder.stride))
