"""What the loop is fed with, by device: finished images on a CPU, tables of crops on a GPU.

Both show the same images, crops and flips for the same seed, because `batches` draws them all. Crops and
flips are equal to the last bit; a resized crop may differ by one grey level, because PyTorch resizes uint8
images in fixed point on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.engine import batches, resident
from bench.engine.batches import Batch

Render = Callable[..., Batch]


def as_given(*batch: Tensor) -> Batch:
    """For batches that are what the module takes."""
    return batch


@dataclass(frozen=True)
class Feed:
    """`epoch(seed)` yields what changes from step to step; `render` makes the module's arguments of it, on
    the device, without waiting for it, so that it can be part of a captured step."""

    epoch: Callable[[int], Iterable[Batch]]
    render: Render = as_given
    kind: str = "host"  # or "resident", "streamed": for the record


def pretraining(
    view: resident.Stored,
    indices: NDArray[np.int64],
    device: torch.device,
    *,
    batch: int,
    size: int,
    scale: tuple[float, float],
    flip: float,
    gathers: bool | None = None,
    limit: int | None = None,
) -> Feed:
    """Epochs of random resized crops and flips, rendered as (uint8 (B, 3, size, size),).

    `gathers` says whether batches are cut on the device (None: on a GPU); `limit` is of `resident.source`.
    """
    draw = partial(batches.plan_pretraining, view, indices, scale=scale, flip=flip)
    if not _gathers(gathers, device):
        whole = partial(batches.pretraining_batches, view, indices, batch=batch, size=size)
        return Feed(lambda seed: whole(scale=scale, flip=flip, seed=seed))
    source = resident.source(view, device, limit)
    extent = source.extent

    def epoch(seed: int) -> Iterable[Batch]:
        return source.batches(resident.table(view, draw(seed=seed)), batch)

    def render(rows: Tensor, pixels: Tensor | None = source.pixels) -> Batch:
        assert pixels is not None
        return (resident.resized_crops(pixels, rows, size, extent),)

    return Feed(epoch, render, _kind(source))


def finetuning(
    view: resident.Stored,
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    device: torch.device,
    *,
    batch: int,
    size: int,
    flip: float,
    gathers: bool | None = None,
    limit: int | None = None,
) -> Feed:
    """Epochs of random crops and flips, rendered as (uint8 (B, 3, size, size), int64 (B,) labels)."""
    draw = partial(batches.plan_finetuning, view, indices, size=size, flip=flip)
    if not _gathers(gathers, device):
        whole = partial(batches.finetuning_batches, view, labels, indices, batch=batch, size=size)
        return Feed(lambda seed: whole(flip=flip, seed=seed))
    source = resident.source(view, device, limit)
    channels, _, _ = source.extent

    def epoch(seed: int) -> Iterable[Batch]:
        return source.batches(resident.table(view, draw(seed=seed), labels), batch)

    def render(rows: Tensor, pixels: Tensor | None = source.pixels) -> Batch:
        assert pixels is not None
        return resident.crops(pixels, rows, size, channels), rows[:, 9]

    return Feed(epoch, render, _kind(source))


def evaluation(
    view: resident.Stored,
    indices: NDArray[np.int64],
    device: torch.device,
    *,
    size: int,
    batch: int | None = None,
    gathers: bool | None = None,
    limit: int | None = None,
) -> Iterable[Batch]:
    """Centre crops in the order of `indices`, uint8 (B, 3, size, size), in large batches on a GPU."""
    batch = batch or (256 if device.type == "cuda" else 64)
    if not _gathers(gathers, device):
        return batches.evaluation_batches(view, indices, batch=batch, size=size)
    source = resident.source(view, device, limit)
    channels, _, _ = source.extent
    rows = resident.table(view, batches.plan_evaluation(view, indices, size=size))
    parts = source.batches(rows, batch, keep_single=True)

    def rendered(rows: Tensor, pixels: Tensor | None = source.pixels) -> Batch:
        assert pixels is not None
        return (resident.crops(pixels, rows, size, channels),)

    return (rendered(*part) for part in parts)


def _gathers(asked: bool | None, device: torch.device) -> bool:
    return device.type != "cpu" if asked is None else asked


def _kind(source: resident.Source) -> str:
    return "streamed" if source.pixels is None else "resident"
