"""Images kept as bytes on the device, and batches cut from them there. Works on any device.

A batch is a table of integers with one row per image: where it begins in the bytes, its shape, its crop,
whether it is mirrored, and its label. So a step needs about a kilobyte from the host. If all images of a view
fit, their bytes are moved to the device once. If not, the bytes of one batch at a time are copied through two
pinned buffers, while the device works on the batch before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.engine.batches import (
    Batch,
    EpochPlan,
    ImageSequence,
    chunks,
    largest_crop,
    most_pixels,
    shapes_of,
)
from bench.engine.gpu.resample import Extent, resize_crops


class StoredImages(ImageSequence, Protocol):
    """A view whose images are stored one after another in one array of bytes."""

    @property
    def pixels(self) -> NDArray[np.uint8]: ...

    @property
    def offsets(self) -> NDArray[np.int64]: ...


class CropTable(NamedTuple):
    """The columns of the int64 rows (B, 10) of a batch, each (B,) or (B, 4)."""

    offset: Tensor  # of the first byte
    channels: Tensor
    height: Tensor
    width: Tensor
    box: Tensor  # top, left, height, width
    flip: Tensor
    label: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> CropTable:
        offset, channels, height, width = rows[:, :4].unbind(1)
        return cls(offset, channels, height, width, rows[:, 4:8], rows[:, 8], rows[:, 9])


def crop_table(view: StoredImages, plan: EpochPlan, labels: NDArray[np.int64] | None = None) -> Tensor:
    """The rows of a whole epoch, int64 (N, 10) on the CPU; `labels` has one entry per image of the view."""
    count = len(plan.order)
    label = torch.zeros(count, 1, dtype=torch.int64)
    if labels is not None:
        label[:, 0] = torch.from_numpy(labels[plan.order])
    offsets = torch.from_numpy(view.offsets[plan.order])[:, None]
    return torch.cat([offsets, shapes_of(view)[plan.order], plan.boxes, plan.flips[:, None].long(), label], 1)


# --- on the device -----------------------------------------------------------------------------------


def crops(pixels: Tensor, rows: Tensor, size: int, channels: int) -> Tensor:
    """uint8 (B, 3, size, size): crops that need no resizing. `channels` is the most that an image has."""
    t = CropTable.of(rows)
    along = torch.arange(size, device=rows.device)
    across = torch.where(t.flip.bool()[:, None], size - 1 - along, along) + t.box[:, 1:2]
    return _rgb(_gather(pixels, t, range(channels), along + t.box[:, :1], across))


def resized_crops(pixels: Tensor, rows: Tensor, size: int, extent: Extent) -> Tensor:
    """uint8 (B, 3, size, size): crops resized with antialiasing, and rounded.

    `extent` is the most channels of an image, and the most rows and columns of a crop, so that all have one
    shape.
    """
    t = CropTable.of(rows)
    down = t.box[:, :1] + torch.arange(extent.rows, device=rows.device)

    def read(channel: int, first: int, end: int) -> Tensor:
        across = t.box[:, 1:2] + torch.arange(first, end, device=rows.device)
        return _gather(pixels, t, range(channel, channel + 1), down, across)[:, 0]

    resized = resize_crops(read, extent, t.box[:, 2:], t.flip, size)
    return _rgb(resized.round().clamp(0, 255).to(torch.uint8))


def extent_of_crops(view: ImageSequence) -> Extent:
    """That of the random resized crops of `view`: parts with as many pixels as its largest crop.

    A view may have a crop that is tall and one that is wide; padded to both, one would be all padding.
    """
    shapes = shapes_of(view)
    rows, columns = largest_crop(shapes[:, 1:])
    return Extent(int(shapes[:, 0].max()), rows, columns, -(-most_pixels(shapes[:, 1:]) // rows))


def _gather(pixels: Tensor, t: CropTable, channels: range, down: Tensor, across: Tensor) -> Tensor:
    """uint8 (B, C, H, W): the pixels at rows `down` (B, H) and columns `across` (B, W) of each image.

    A position outside an image gives some pixel of it. A grey image gives its one channel for each of three.
    The positions of all pixels are larger than the pixels, so they have half as many bytes where they can.
    """
    position = torch.int32 if pixels.numel() < 2**31 else torch.int64
    down = torch.minimum(down, t.height[:, None] - 1)
    across = torch.minimum(across, t.width[:, None] - 1)
    channel = torch.arange(channels.start, channels.stop, device=pixels.device)
    channel = torch.where(t.channels[:, None] == 1, 0, channel)  # (B, C)
    lines = (
        t.offset[:, None, None]
        + (channel[..., None] * t.height[:, None, None] + down[:, None]) * t.width[:, None, None]
    )
    chosen = lines.to(position)[..., None] + across.to(position)[:, None, None]
    return pixels.index_select(0, chosen.flatten()).view(chosen.shape)


def _rgb(images: Tensor) -> Tensor:
    """(B, 1 or 3, H, W) as three channels. Grey images are expanded without a copy."""
    return images.expand(-1, 3, -1, -1)


# --- from the host to the device ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class DeviceImages:
    """A view whose bytes are on the device, or are streamed there with every batch."""

    view: StoredImages
    device: torch.device
    pixels: Tensor | None  # uint8 (bytes,) on the device; None where they are streamed

    @property
    def kind(self) -> str:
        """The word for the record."""
        return "streamed" if self.pixels is None else "resident"

    @property
    def channels(self) -> int:
        """Most channels of an image."""
        return int(shapes_of(self.view)[:, 0].max())

    def batches(self, rows: Tensor, batch: int, keep_single: bool = False) -> Iterator[Batch]:
        """Yield rows (B, 10) on the device; if images are streamed, together with the bytes of the batch."""
        parts = list(chunks(len(rows), batch, keep_single))
        if self.pixels is not None:
            moved = _pinned(rows, self.device).to(self.device, non_blocking=True)
            return ((moved[part[0] : part[-1] + 1],) for part in parts)
        return _streamed(self, rows, parts, batch)


class DeviceStore:
    """Keeps views on a device for all units of this process.

    Together they take at most `limit` bytes; without a `limit`, the share of one of so many `processes` on
    the device (`share`). The view that was not used for the longest time is dropped to make room for a new
    one.
    """

    def __init__(self, device: torch.device, limit: int | None = None, processes: int = 1) -> None:
        self.device = device
        self.limit = limit
        self.processes = processes
        self.opened: dict[StoredImages, DeviceImages] = {}  # least recently used first

    def open(self, view: StoredImages) -> DeviceImages:
        """`view` with its bytes on the device if they fit within the limit, otherwise streamed."""
        if view in self.opened:
            self.opened[view] = self.opened.pop(view)
            return self.opened[view]
        limit = self._limit()
        if view.pixels.nbytes > limit:
            return DeviceImages(view, self.device, None)
        while self.held + view.pixels.nbytes > limit:
            del self.opened[next(iter(self.opened))]
        # Copied, because torch warns of a tensor that shares memory with a read-only memory map.
        pixels = torch.from_numpy(np.array(view.pixels)).to(self.device)
        self.opened[view] = DeviceImages(view, self.device, pixels)
        return self.opened[view]

    def clear(self) -> None:
        """Drop all views, and stream from now on, for where memory ran out once it would do so again.

        Their memory becomes free when no training uses them any more.
        """
        self.opened.clear()
        self.limit = 0

    @property
    def held(self) -> int:
        """Bytes on the device."""
        return sum(view.pixels.nbytes for view in self.opened)

    def _limit(self) -> int:
        if self.limit is not None:
            return self.limit
        if self.device.type != "cuda":
            return 2**40
        free, total = torch.cuda.mem_get_info(self.device)
        return share(free + self.held, total, self.processes)


def share(free: int, total: int, processes: int) -> int:
    """Bytes of images that one of so many processes may keep on a GPU.

    An eighth of the GPU for all processes together: a process cannot know what the others will keep, so that
    each taking its part of what happens to be free would fill the GPU (four taking a quarter: 68 %). And at
    most a quarter of what is free, for other programs may hold the rest. What does not fit is streamed, which
    costs a copy that the device does not wait for.
    """
    return min(total // 8 // processes, free // 4)


def _streamed(
    images: DeviceImages, rows: Tensor, parts: list[NDArray[np.int64]], batch: int
) -> Iterator[Batch]:
    """Yield the rows of each batch and the bytes of its images, on the device.

    The bytes are gathered from the memory map into one of two pinned buffers and copied on a stream of their
    own, so that the host can fill one buffer while the device works on the images of the other.
    """
    sizes = torch.from_numpy(np.diff(images.view.offsets))
    capacity = batch * int(sizes.max())
    slots = [_Slot(capacity, images.device) for _ in range(2)]
    for i, part in enumerate(parts):
        batch_rows, slot = rows[part].clone(), slots[i % 2]
        starts, lengths = batch_rows[:, 0].tolist(), batch_rows[:, 1:4].prod(1)
        batch_rows[:, 0] = lengths.cumsum(0) - lengths
        slot.wait_until_writable()
        for offset, start, length in zip(batch_rows[:, 0].tolist(), starts, lengths.tolist(), strict=True):
            slot.host[offset : offset + length] = images.view.pixels[start : start + length]
        yield _pinned(batch_rows, images.device).to(images.device, non_blocking=True), slot.start_copy()
        slot.mark_consumed()


class _Slot:
    """A pinned buffer on the host, and the memory on the device that its bytes are copied to.

    Two events keep them from being overwritten too early: `copied` ends the copy out of the pinned buffer,
    `consumed` ends the work of the device on the bytes.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.device = device
        self.on_gpu = device.type == "cuda"
        self.pinned = _pinned(torch.empty(capacity, dtype=torch.uint8), device)
        self.host = self.pinned.numpy()  # the same memory
        self.on_device = torch.empty(capacity, dtype=torch.uint8, device=device)
        cuda: Any = torch.cuda  # PyTorch does not annotate its streams and events
        self.stream: Any = cuda.Stream(device) if self.on_gpu else None
        self.copied: Any = cuda.Event() if self.on_gpu else None
        self.consumed: Any = cuda.Event() if self.on_gpu else None
        self.mark_consumed()  # the memory may still be in use for what it held before

    def wait_until_writable(self) -> None:
        """Wait until the last copy out of the pinned buffer has ended."""
        if self.on_gpu:
            self.copied.synchronize()

    def start_copy(self) -> Tensor:
        """Start copying to the device. The current stream waits for the copy; the host does not."""
        with torch.cuda.stream(self.stream) if self.on_gpu else nullcontext():
            if self.stream is not None:
                self.stream.wait_event(self.consumed)
            self.on_device.copy_(self.pinned, non_blocking=True)
            if self.on_gpu:
                self.copied.record()
        if self.on_gpu:
            torch.cuda.current_stream(self.device).wait_event(self.copied)
        return self.on_device

    def mark_consumed(self) -> None:
        """Let the next copy wait for the work on the bytes that the current stream has been given so far."""
        if self.on_gpu:
            self.consumed.record(torch.cuda.current_stream(self.device))


def _pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy in memory from which a GPU copies without waiting; on a CPU the tensor itself."""
    return tensor.pin_memory() if device.type == "cuda" else tensor
