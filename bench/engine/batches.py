"""From the uint8 image store to batches: crops and flips, drawn for a whole epoch at once.

Geometry follows torchvision (RandomResizedCrop, RandomCrop, RandomHorizontalFlip, CenterCrop); the images
stay 8-bit up to the last moment because patch entropy is defined on 8-bit levels. A generator seeded per
epoch draws everything, so that an epoch can be replayed after a crash without stored random states.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

Batch = tuple[Tensor, ...]


class View(Protocol):
    """The store's images at one short side: item i is uint8 (C, h, w), C 1 or 3."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> NDArray[np.uint8]: ...


def pretraining_batches(
    view: View,
    indices: NDArray[np.int64],
    *,
    batch: int,
    size: int,
    scale: tuple[float, float],
    flip: float,
    seed: int,
) -> Iterator[Batch]:
    """One epoch of random resized crops and flips: uint8 (B, 3, size, size)."""
    draw = torch.Generator().manual_seed(seed)
    order = indices[torch.randperm(len(indices), generator=draw).numpy()]
    shapes = torch.tensor([view[i].shape[1:] for i in order])
    crops = random_resized_crops(shapes, scale, draw).tolist()
    flips = (torch.rand(len(order), generator=draw) < flip).tolist()
    for part in _chunks(len(order), batch):
        images = _empty(len(part), size)
        for slot, k in enumerate(part):
            top, left, height, width = crops[k]
            crop = np.array(view[order[k]][:, top : top + height, left : left + width])
            resized = resize(torch.from_numpy(crop), size)
            images[slot] = resized.flip(-1) if flips[k] else resized
        yield (images,)


def finetuning_batches(
    view: View,
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    *,
    batch: int,
    size: int,
    flip: float,
    seed: int,
) -> Iterator[Batch]:
    """One epoch of random crops and flips with their labels: uint8 (B, 3, size, size), int64 (B,)."""
    draw = torch.Generator().manual_seed(seed)
    order = indices[torch.randperm(len(indices), generator=draw).numpy()]
    shapes = torch.tensor([view[i].shape[1:] for i in order])
    corners = (torch.rand(len(order), 2, generator=draw) * (shapes - size + 1)).long().tolist()
    flips = (torch.rand(len(order), generator=draw) < flip).tolist()
    for part in _chunks(len(order), batch):
        images = _empty(len(part), size)
        for slot, k in enumerate(part):
            top, left = corners[k]
            crop = view[order[k]][:, top : top + size, left : left + size]
            images[slot] = torch.from_numpy(np.array(crop[..., ::-1] if flips[k] else crop))
        yield images, torch.from_numpy(labels[order[part]])


def evaluation_batches(view: View, indices: NDArray[np.int64], *, batch: int, size: int) -> Iterator[Batch]:
    """Centre crops in the order of `indices`: uint8 (B, 3, size, size)."""
    for part in _chunks(len(indices), batch, keep_single=True):
        images = _empty(len(part), size)
        for slot, k in enumerate(part):
            image = view[indices[k]]
            # Rounds half to even like torchvision's center_crop.
            top, left = (round((side - size) / 2.0) for side in image.shape[1:])
            images[slot] = torch.from_numpy(np.array(image[:, top : top + size, left : left + size]))
        yield (images,)


def random_resized_crops(shapes: Tensor, scale: tuple[float, float], draw: torch.Generator) -> Tensor:
    """Crop boxes (N, 4) as top, left, height, width for images of `shapes` (N, 2).

    The distribution of torchvision's RandomResizedCrop with ratio 3/4 to 4/3: the first of ten tries that
    fits, else the largest central crop within those ratios.
    """
    tries, ratio = 10, (3 / 4, 4 / 3)
    count = len(shapes)
    height, width = shapes[:, :1].double(), shapes[:, 1:].double()
    area = height * width * torch.empty(count, tries, dtype=torch.float64).uniform_(*scale, generator=draw)
    log_ratio = torch.empty(count, tries, dtype=torch.float64).uniform_(
        math.log(ratio[0]), math.log(ratio[1]), generator=draw
    )
    aspect = log_ratio.exp()
    w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.int().argmax(dim=1, keepdim=True)
    h, w = h.gather(1, first), w.gather(1, first)
    none_fits = ~fits.any(dim=1, keepdim=True)
    in_ratio = width / height
    h = torch.where(none_fits, torch.where(in_ratio < ratio[0], (width / ratio[0]).round(), height), h)
    w = torch.where(none_fits, torch.where(in_ratio > ratio[1], (height * ratio[1]).round(), width), w)
    corner = torch.rand(count, 2, dtype=torch.float64, generator=draw)
    top = (corner[:, :1] * (height - h + 1)).floor()
    left = (corner[:, 1:] * (width - w + 1)).floor()
    top = torch.where(none_fits, ((height - h) / 2).floor(), top)
    left = torch.where(none_fits, ((width - w) / 2).floor(), left)
    return torch.cat([top, left, h, w], dim=1).long()


def resize(image: Tensor, size: int) -> Tensor:
    """Antialiased bilinear resize of one uint8 image (C, h, w) to (C, size, size), as torchvision does."""
    return interpolate(image[None], size=(size, size), mode="bilinear", antialias=True)[0]


def steps_per_epoch(images: int, batch: int) -> int:
    """Steps of one training epoch; a last batch of a single image is left out (see `_chunks`)."""
    return len(list(_chunks(images, batch)))


def _chunks(count: int, batch: int, keep_single: bool = False) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, batch):
        part = np.arange(start, min(start + batch, count))
        # Batch norm cannot be trained on one image; which image is left out changes with the epoch.
        if len(part) == 1 and count > 1 and batch > 1 and not keep_single:
            return
        yield part


def _empty(count: int, size: int) -> Tensor:
    # channels_last: on CPUs depthwise convolutions are about twice as fast in it.
    return torch.empty(count, 3, size, size, dtype=torch.uint8).to(memory_format=torch.channels_last)
