"""The batches of a training: finished images on a CPU, tables of crops on a GPU.

Both give the same images, crops and flips for the same seed, because `batches` draws them for both. Crops and
flips are equal to the last bit. A resized crop may differ by one grey level, because PyTorch resizes uint8
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
"""Turns the tensors of a batch into the arguments of the module that is trained."""


def already_rendered(*batch: Tensor) -> Batch:
    """Render batches that already are the arguments of the module."""
    return batch


@dataclass(frozen=True)
class InputPipeline:
    """Epochs of batches for one training.

    Attributes:
        epoch: `epoch(seed)` yields one batch per step.
        render: turns a batch into the arguments of the module. It does so on the device without waiting for
            it, so that it can be part of a captured step.
        kind: where batches are cut, for the record: "host", or on a device that holds the images ("resident")
            or gets them with every batch ("streamed").
    """

    epoch: Callable[[int], Iterable[Batch]]
    render: Render = already_rendered
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
        cut = partial(batches.pretraining_batches, view, indices, batch=batch, size=size)
        return InputPipeline(lambda seed: cut(scale=scale, flip=flip, seed=seed))
    plan_epoch = partial(batches.plan_pretraining, view, indices, scale=scale, flip=flip)
    images = device_store.open(view)
    extent = resident.extent_of_crops(view)

    def epoch(seed: int) -> Iterable[Batch]:
        return images.batches(resident.crop_table(view, plan_epoch(seed=seed)), batch)

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
        cut = partial(batches.finetuning_batches, view, labels, indices, batch=batch, size=size)
        return InputPipeline(lambda seed: cut(flip=flip, seed=seed))
    plan_epoch = partial(batches.plan_finetuning, view, indices, size=size, flip=flip)
    images = device_store.open(view)
    channels = images.channels

    def epoch(seed: int) -> Iterable[Batch]:
        return images.batches(resident.crop_table(view, plan_epoch(seed=seed), labels), batch)

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
    """Centre crops in the order of `indices`: uint8 (B, 3, size, size).

    With `device_store`, they are cut on its device, in larger batches.
    """
    if device_store is None:
        return batches.evaluation_batches(view, indices, batch=batch or HOST_EVALUATION_BATCH, size=size)
    images = device_store.open(view)
    channels = images.channels
    rows = resident.crop_table(view, batches.plan_evaluation(view, indices, size=size))
    parts = images.batches(rows, batch or DEVICE_EVALUATION_BATCH, keep_single=True)

    def render(rows: Tensor, pixels: Tensor | None = images.pixels) -> Batch:
        assert pixels is not None
        return (resident.crops(pixels, rows, size, channels),)

    return (render(*part) for part in parts)
