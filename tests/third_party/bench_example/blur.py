"""The objective of the strategy `blur`; only training imports it, because it needs torch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pixel_shuffle

from bench import Context, Encoder


class Blur(nn.Module):
    """forward(images): mean squared error between a linear read-out and the blurred image."""

    def __init__(self, encoder: Encoder, window: int, context: Context) -> None:
        super().__init__()
        self.net, self.features, self.stride = encoder.net, encoder.features, encoder.stride
        self.window, self.context = window, context
        self.read = nn.Conv2d(encoder.width, 3 * encoder.stride**2, 1)

    def forward(self, images: Tensor) -> Tensor:
        clean = self.context.normalize(images)
        drawn = pixel_shuffle(self.read(self.features(self.net, clean)), self.stride)
        return (avg_pool2d(drawn, self.window) - avg_pool2d(clean, self.window)).square().mean()
