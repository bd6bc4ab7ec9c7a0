"""CPVT, a reconstruction: no code or text of this network is public.

The row it stands for is Lu et al., "Biologically inspired vision fusion: central-peripheral synergy for
medical image classification", Engineering Applications of Artificial Intelligence, 2026, of which only the
name, the title and rows of results (15.64 G multiply-adds, 22.76 M parameters) are known. This is the idea
the title names, built on PerViT, whose ratio of cost to parameters is nearest: peripheral attention over the
whole image, and a convolutional fovea that sees the centre at eight times the peripheral resolution. The
fovea's width and depth were searched to meet the row's cost; nothing else supports them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench_models import sizes
from bench_models.layers import check_images
from bench_models.pervit import STEM, WIDTHS, PerViT

CELL = 16  # side of a peripheral token, pixels
FOVEA_WIDTH = 160
FOVEA_BLOCKS = 2


def _convolution(width_in: int, width: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(width_in, width, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())


class Residual(nn.Module):
    """x + two 3x3 convolutions of x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_convolution(width, width, 1), _convolution(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class CPVT(nn.Module):
    """Central-peripheral vision transformer for `size` x `size` images, `size` a multiple of 16.

    The centre is the middle half of each side, in whole cells of the token grid (8 of 14 at 224 pixels).
    Its features come back to the grid's resolution and are fused into the tokens at their place; tokens
    outside get zeros from the fovea.
    """

    def __init__(
        self, classes: int, size: int = 224, drop_path: float = 0.1, widths: tuple[int, ...] = WIDTHS
    ) -> None:
        super().__init__()
        sizes.CPVT.check(size)
        self.size, side = size, size // CELL
        self.margin = side // 4  # cells on either side of the centre
        width = STEM[-1]
        self.fovea = nn.Sequential(
            _convolution(3, FOVEA_WIDTH, 2),
            *(Residual(FOVEA_WIDTH) for _ in range(FOVEA_BLOCKS)),
            _convolution(FOVEA_WIDTH, FOVEA_WIDTH, 2),
            _convolution(FOVEA_WIDTH, FOVEA_WIDTH, 2),
            _convolution(FOVEA_WIDTH, width, 2),
        )
        self.fuse = nn.Conv2d(2 * width, width, 1)
        self.periphery = PerViT(classes, size, drop_path, widths)

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) to a map (B, 464, S/16, S/16)."""
        check_images("cpvt", images, self.size)
        edge, m = CELL * self.margin, self.margin
        centre = images[..., edge : self.size - edge, edge : self.size - edge]
        central = F.pad(self.fovea(centre), (m, m, m, m))
        fused = self.fuse(torch.cat([self.periphery.conv_layers(images), central], dim=1))
        return self.periphery.attend_map(fused)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.periphery.head(self.forward_features(images).mean((2, 3)))
        return out
