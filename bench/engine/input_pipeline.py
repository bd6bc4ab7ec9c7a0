"""What a training is given to see: finished images on a CPU, tables of crops on a GPU.

Both show the same images, crops and flips for the same seed, because `batches` draws them all. Crops and
flips are equal to the last bit; a resized crop may differ by one grey level, because PyTorch resizes uint8
images in fixed point on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench.engine import batches
from bench.engine.batches import Batch
from bench.engine.gpu import resident
from bench.engine.gpu.resident import DeviceStore, StoredImages

HOST_EVALUATION_BATCH = 64
DEVICE_EVALUATION_BATCH = 256

Render = Callable[..., Batch]


def as_given(*batch: Tensor) -> Batch:
    """For batches that are what the module takes."""
    return batch


@dataclass(frozen=True)
class InputPipeline:
    """Epochs of batches for one training.

    Attributes:
        epoch: `epoch(seed)` yields what changes from step to step.
        render: makes the module's arguments of it, on the device, without waiting for it, so that it can be
            part of a captured step.
        kind: "host", or "resident" or "streamed" where batches are cut on the device; for the record.
    """

    epoch: Callable[[int], Iterable[Batch]]
    render: Render = as_given
    kind: str = "host"


def pretraining(
    view: StoredImages,
    indices: NDArray[np.int64],
    *,
    batch: int,
    size: int,
    scale: tuple[float, float],
    flip: float,
    device_store: DeviceStore | None = None,
) -> InputPipeline:
    """Epochs of random resized crops and flips, rendered as (uint8 (B, 3, size, size),).

    With `device_store`, batches are cut on its device.
    """
    if device_store is None:
        whole = partial(batches.pretraining_batches, view, indices, batch=batch, size=size)
        return InputPipeline(lambda seed: whole(scale=scale, flip=flip, seed=seed))
    draw = partial(batches.plan_pretraining, view, indices, scale=scale, flip=flip)
    images = device_store.open(view)
    extent = images.extent

    def epoch(seed: int) -> Iterable[Batch]:
        return images.batches(resident.crop_table(view, draw(seed=seed)), batch)

    def render(rows: Tensor, pixels: Tensor | None = images.pixels) -> Batch:
        assert pixels is not None
        return (resident.resized_crops(pixels, rows, size, extent),)

    return InputPipeline(epoch, render, images.kind)


def finetuning(
    view: StoredImages,
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    *,
    batch: int,
    size: int,
    flip: float,
    device_store: DeviceStore | None = None,
) -> InputPipeline:
    """Epochs of random crops and flips, rendered as (uint8 (B, 3, size, size), int64 (B,) labels).

    With `device_store`, batches are cut on its device.
    """
    if device_store is None:
        whole = partial(batches.finetuning_batches, view, labels, indices, batch=batch, size=size)
        return InputPipeline(lambda seed: whole(flip=flip, seed=seed))
    draw = partial(batches.plan_finetuning, view, indices, size=size, flip=flip)
    images = device_store.open(view)
    channels, _, _ = images.extent

    def epoch(seed: int) -> Iterable[Batch]:
        return images.batches(resident.crop_table(view, draw(seed=seed), labels), batch)

    def render(rows: Tensor, pixels: Tensor | None = images.pixels) -> Batch:
        assert pixels is not None
        return resident.crops(pixels, rows, size, channels), rows[:, 9]

    return InputPipeline(epoch, render, images.kind)


def evaluation(
    view: StoredImages,
    indices: NDArray[np.int64],
    *,
    size: int,
    batch: int | None = None,
    device_store: DeviceStore | None = None,
) -> Iterable[Batch]:
    """Centre crops in the order of `indices`, uint8 (B, 3, size, size); with `device_store`, cut on its
    device, in larger batches."""
    if device_store is None:
        return batches.evaluation_batches(view, indices, batch=batch or HOST_EVALUATION_BATCH, size=size)
    images = device_store.open(view)
    channels, _, _ = images.extent
    rows = resident.crop_table(view, batches.plan_evaluation(view, indices, size=size))
    parts = images.batches(rows, batch or DEVICE_EVALUATION_BATCH, keep_single=True)

    def rendered(rows: Tensor, pixels: Tensor | None = images.pixels) -> Batch:
        assert pixels is not None
        return (resident.crops(pixels, rows, size, channels),)

    return (rendered(*part) for part in parts)
