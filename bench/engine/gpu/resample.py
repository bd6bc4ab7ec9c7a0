"""Antialiased resizing of many crops at once, as two batched matrix products.

Bilinear resizing with antialiasing is linear and separable: the result is R @ image @ C^T, where R and C hold
the weights of rows and columns. Every image of a batch has a crop, and so matrices, of its own; crops of
different shapes are padded, and what lies outside the crop has weight 0. The padded crops are read in parts,
some columns of one channel at a time, so that they never lie in memory as a whole. Equal to torchvision's
resize of float images to 1e-3 grey levels (tests/test_resident.py). Plain grid_sample has no antialiasing:
where a crop shrinks, it is wrong by tens of grey levels, which would raise the entropy of patches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bench.engine.device import full_precision


class Extent(NamedTuple):
    """What is read of each image of a batch, from the corner of its crop on."""

    channels: int
    rows: int
    columns: int
    at_once: int  # columns of one channel that are read together


Read = Callable[[int, int, int], Tensor]
"""(B, rows, columns), of any type: the columns of one channel from the second number to before the third."""


def resize_crops(read: Read, extent: Extent, crops: Tensor, flips: Tensor, size: int) -> Tensor:
    """Resize one crop of each image to `size` pixels square, mirrored where `flips`.

    crops: int64 (B, 2) height and width; flips: (B,), not 0 for a mirrored crop. Returns float32
    (B, C, size, size), not rounded.
    """
    start = torch.zeros_like(crops[:, 0])
    down = weights(start, crops[:, 0], size, extent.rows)
    across = weights(start, crops[:, 1], size, extent.columns)
    across = torch.where(flips.bool()[:, None, None], across.flip(1), across).transpose(1, 2)

    def resized(channel: int) -> Tensor:
        parts = [
            torch.bmm(down, read(channel, first, min(first + extent.at_once, extent.columns)).float())
            for first in range(0, extent.columns, extent.at_once)
        ]
        return torch.bmm(torch.cat(parts, 2), across)

    with full_precision():
        return torch.stack([resized(channel) for channel in range(extent.channels)], 1)


def weights(start: Tensor, length: Tensor, size: int, extent: int) -> Tensor:
    """float32 (B, size, extent): weight of input position j for output position i, rows summing to 1.

    The triangle filter of PyTorch's antialiased bilinear interpolation, over `length` positions from `start`;
    both int64 (B,).
    """
    scale = (length.to(torch.float32) / size)[:, None, None]
    support = scale.clamp_min(1.0)
    centre = scale * (torch.arange(size, device=start.device)[:, None] + 0.5)  # (B, size, 1)
    position = torch.arange(extent, device=start.device) - start[:, None, None]  # (B, 1, extent)
    triangle = (1 - ((position - centre + 0.5) / support).abs()).clamp_min(0)
    triangle = triangle * ((position >= 0) & (position < length[:, None, None]))
    return triangle / triangle.sum(2, keepdim=True)
