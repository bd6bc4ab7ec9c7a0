"""Batches from the uint8 image store: crops and flips, drawn for a whole epoch at once.

Geometry follows torchvision (RandomResizedCrop, RandomCrop, RandomHorizontalFlip, CenterCrop); the images
stay 8-bit until they reach the network, because patch entropy is defined on 8-bit levels. One generator per
epoch, with a seed of its own, draws everything, so a resumed epoch needs no stored random state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

Batch = tuple[Tensor, ...]
RATIO = (3 / 4, 4 / 3)  # least and greatest width over height of a random resized crop


class ImageSequence(Protocol):
    """Stored images at one short side: item i is uint8 (C, h, w), C = 1 or 3."""

    @property
    def shapes(self) -> Sequence[tuple[int, int, int]]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class EpochPlan:
    """What one epoch shows, in order: which image, which part of it, and whether mirrored."""

    order: NDArray[np.int64]  # (N,) indices into the view
    boxes: Tensor  # int64 (N, 4): top, left, height, width
    flips: Tensor  # bool (N,)


def shapes_of(view: ImageSequence) -> Tensor:
    """int64 (N, 3): channels, height and width of every image."""
    return torch.tensor(view.shapes)


def plan_pretraining(
    view: ImageSequence, indices: NDArray[np.int64], *, scale: tuple[float, float], flip: float, seed: int
) -> EpochPlan:
    """Random resized crops and flips of one epoch."""
    generator = torch.Generator().manual_seed(seed)
    order = indices[torch.randperm(len(indices), generator=generator).numpy()]
    boxes = random_resized_crops(shapes_of(view)[order, 1:], scale, generator)
    return EpochPlan(order, boxes, torch.rand(len(order), generator=generator) < flip)


def plan_finetuning(
    view: ImageSequence, indices: NDArray[np.int64], *, size: int, flip: float, seed: int
) -> EpochPlan:
    """Random crops of `size` and flips of one epoch."""
    generator = torch.Generator().manual_seed(seed)
    order = indices[torch.randperm(len(indices), generator=generator).numpy()]
    shapes = shapes_of(view)[order, 1:]
    corners = (torch.rand(len(order), 2, generator=generator) * (shapes - size + 1)).long()
    return EpochPlan(order, _squares(corners, size), torch.rand(len(order), generator=generator) < flip)


def plan_evaluation(view: ImageSequence, indices: NDArray[np.int64], *, size: int) -> EpochPlan:
    """Centre crops in the order of `indices`."""
    # Rounds half to even like torchvision's center_crop.
    corners = ((shapes_of(view)[indices, 1:] - size) / 2.0).round().long()
    return EpochPlan(indices, _squares(corners, size), torch.zeros(len(indices), dtype=torch.bool))


def _squares(corners: Tensor, size: int) -> Tensor:
    return torch.cat([corners, torch.full_like(corners, size)], dim=1)


def pretraining_batches(
    view: ImageSequence,
    indices: NDArray[np.int64],
    *,
    batch: int,
    size: int,
    scale: tuple[float, float],
    flip: float,
    seed: int,
) -> Iterator[Batch]:
    """One epoch of random resized crops and flips: uint8 (B, 3, size, size)."""
    plan = plan_pretraining(view, indices, scale=scale, flip=flip, seed=seed)
    for part in chunks(len(plan.order), batch):
        yield (_crops(view, plan, part, size),)


def finetuning_batches(
    view: ImageSequence,
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    *,
    batch: int,
    size: int,
    flip: float,
    seed: int,
) -> Iterator[Batch]:
    """One epoch of random crops and flips with their labels: uint8 (B, 3, size, size), int64 (B,)."""
    plan = plan_finetuning(view, indices, size=size, flip=flip, seed=seed)
    for part in chunks(len(plan.order), batch):
        yield _crops(view, plan, part, size), torch.from_numpy(labels[plan.order[part]])


def evaluation_batches(
    view: ImageSequence, indices: NDArray[np.int64], *, batch: int, size: int
) -> Iterator[Batch]:
    """Centre crops in the order of `indices`: uint8 (B, 3, size, size)."""
    plan = plan_evaluation(view, indices, size=size)
    for part in chunks(len(indices), batch, keep_single=True):
        yield (_crops(view, plan, part, size),)


def _crops(view: ImageSequence, plan: EpochPlan, part: NDArray[np.int64], size: int) -> Tensor:
    """uint8 (B, 3, size, size): slices, resized if they are not of `size`.

    On a CPU this is faster than the gathers and matrix products that a GPU uses.
    """
    # On CPUs depthwise convolutions are about twice as fast in channels_last.
    images = torch.empty(len(part), 3, size, size, dtype=torch.uint8, memory_format=torch.channels_last)
    boxes, flips = plan.boxes[part].tolist(), plan.flips[part].tolist()
    for slot, k in enumerate(part):
        top, left, height, width = boxes[slot]
        image = view[plan.order[k]][:, top : top + height, left : left + width]
        crop = torch.from_numpy(np.array(image))
        if (height, width) != (size, size):
            crop = resize(crop, size)
        images[slot] = crop.flip(-1) if flips[slot] else crop
    return images


def random_resized_crops(shapes: Tensor, scale: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Crop boxes (N, 4) as top, left, height, width for images of `shapes` (N, 2).

    The distribution of torchvision's RandomResizedCrop with ratio 3/4 to 4/3: the first of ten tries that
    fits, else the largest central crop within those ratios.
    """
    tries, ratio = 10, RATIO
    count = len(shapes)
    height, width = shapes[:, :1].double(), shapes[:, 1:].double()
    area = (
        height * width * torch.empty(count, tries, dtype=torch.float64).uniform_(*scale, generator=generator)
    )
    log_ratio = torch.empty(count, tries, dtype=torch.float64).uniform_(
        math.log(ratio[0]), math.log(ratio[1]), generator=generator
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
    corner = torch.rand(count, 2, dtype=torch.float64, generator=generator)
    top = (corner[:, :1] * (height - h + 1)).floor()
    left = (corner[:, 1:] * (width - w + 1)).floor()
    top = torch.where(none_fits, ((height - h) / 2).floor(), top)
    left = torch.where(none_fits, ((width - w) / 2).floor(), left)
    return torch.cat([top, left, h, w], dim=1).long()


def largest_crop(shapes: Tensor) -> tuple[int, int]:
    """Rows and columns that no random resized crop of images of `shapes` (N, 2) exceeds."""
    rows, columns = _largest_crops(shapes).amax(0).tolist()
    return rows, columns


def most_pixels(shapes: Tensor) -> int:
    """Pixels that no random resized crop of images of `shapes` (N, 2) exceeds."""
    return int(_largest_crops(shapes).prod(1).max())


def _largest_crops(shapes: Tensor) -> Tensor:
    """int64 (N, 2): rows and columns that no random resized crop of each image exceeds.

    A crop has at most the area of its image, and within `RATIO` a bounded side.
    """
    longest = (shapes.double().prod(1, keepdim=True) * RATIO[1]).sqrt().ceil().long()
    return torch.minimum(shapes, longest)


def resize(image: Tensor, size: int) -> Tensor:
    """Antialiased bilinear resize of one uint8 image (C, h, w) to (C, size, size), as torchvision does."""
    return interpolate(image[None], size=(size, size), mode="bilinear", antialias=True)[0]


def steps_per_epoch(images: int, batch: int) -> int:
    """Steps of one training epoch; a last batch of a single image is left out (see `chunks`)."""
    return len(list(chunks(images, batch)))


def chunks(count: int, batch: int, keep_single: bool = False) -> Iterator[NDArray[np.int64]]:
    """Positions of the images of each batch, in an epoch of `count` images."""
    for start in range(0, count, batch):
        part = np.arange(start, min(start + batch, count))
        # Batch norm cannot be trained on a single image. Every epoch leaves out another one.
        if len(part) == 1 and count > 1 and batch > 1 and not keep_single:
            return
        yield part
