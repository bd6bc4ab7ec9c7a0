"""Antialiased resizing of many crops at once, as two batched matrix products.

Bilinear resizing with antialiasing is linear and separable: the result is R @ image @ C^T, where R and C hold
the weights of rows and columns. Every image of a batch has a crop, and so matrices, of its own; images of
different shapes are padded, and what lies outside the crop has weight 0. Equal to torchvision's resize of
float images to 1e-3 grey levels (tests/test_resident.py). Plain grid_sample has no antialiasing: where a crop
shrinks, it is wrong by tens of grey levels, which would raise the entropy of patches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.engine.device import full_precision


def resize_crops(images: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Resize one crop of each image to `size` pixels square, mirrored where `flips`.

    images: (B, H, C, W), padded, of any dtype; boxes: int64 (B, 4) top, left, height, width; flips: (B,), not
    0 for a mirrored crop. Returns float32 (B, C, size, size), not rounded.
    """
    b, height, channels, width = images.shape
    top, left, rows, columns = boxes.unbind(1)
    down = weights(top, rows, size, height)
    across = weights(left, columns, size, width)
    across = torch.where(flips.bool()[:, None, None], across.flip(1), across)
    with full_precision():
        shrunk = torch.bmm(down, images.to(torch.float32).view(b, height, channels * width))
        shrunk = torch.bmm(shrunk.view(b, size * channels, width), across.transpose(1, 2))
    return shrunk.view(b, size, channels, size).transpose(1, 2)


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
