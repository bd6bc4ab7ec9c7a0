"""Images that lie on the device as bytes, and batches cut from them there. Works on any device.

A batch is a table of whole numbers, one row an image: where it begins in the bytes, its shape, its crop,
whether it is mirrored, and its label. So a step needs a kilobyte from the host, and no image is decoded,
copied or resized outside the device. The bytes are the whole store, moved once; where that does not fit,
those of one batch at a time, copied through two pinned buffers while the step before is still at work.
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

from bench.engine.batches import Batch, EpochPlan, ImageSequence, chunks, shapes_of
from bench.engine.gpu.resample import resize_crops


class StoredImages(ImageSequence, Protocol):
    """A view whose images follow one another in one array of bytes."""

    @property
    def pixels(self) -> NDArray[np.uint8]: ...

    @property
    def offsets(self) -> NDArray[np.int64]: ...


class CropTable(NamedTuple):
    """The columns of a batch's int64 rows (B, 10), each (B,) or (B, 4)."""

    offset: Tensor
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
    """The rows of a whole epoch, int64 (N, 10) on the CPU; labels are by image of the view."""
    count = len(plan.order)
    marks = torch.zeros(count, 1, dtype=torch.int64)
    if labels is not None:
        marks[:, 0] = torch.from_numpy(labels[plan.order])
    offsets = torch.from_numpy(view.offsets[plan.order])[:, None]
    return torch.cat([offsets, shapes_of(view)[plan.order], plan.boxes, plan.flips[:, None].long(), marks], 1)


# --- on the device -----------------------------------------------------------------------------------


def crops(pixels: Tensor, rows: Tensor, size: int, channels: int) -> Tensor:
    """uint8 (B, 3, size, size): crops as they are, mirrored or not. `channels` is the store's most."""
    t = CropTable.of(rows)
    along = torch.arange(size, device=rows.device)
    across = torch.where(t.flip.bool()[:, None], size - 1 - along, along) + t.box[:, 1:2]
    return _rgb(_gather(pixels, t, along + t.box[:, :1], across, channels).transpose(1, 2))


def resized_crops(pixels: Tensor, rows: Tensor, size: int, extent: tuple[int, int, int]) -> Tensor:
    """uint8 (B, 3, size, size): crops resized with antialiasing and rounded, mirrored or not.

    `extent` is the store's most channels, rows and columns.
    """
    t = CropTable.of(rows)
    channels, tallest, widest = extent
    down = torch.arange(tallest, device=rows.device).expand(len(rows), -1)
    across = torch.arange(widest, device=rows.device).expand(len(rows), -1)
    padded = _gather(pixels, t, down, across, channels)
    found = resize_crops(padded, t.box, t.flip, size)
    return _rgb(found.round().clamp(0, 255).to(torch.uint8))


def _gather(pixels: Tensor, t: CropTable, down: Tensor, across: Tensor, channels: int) -> Tensor:
    """uint8 (B, H, C, W): the pixels at rows `down` (B, H) and columns `across` (B, W) of each image.

    Places outside an image give some pixel of it; a grey image gives its one channel for each of three.
    """
    down = torch.minimum(down, t.height[:, None] - 1)
    across = torch.minimum(across, t.width[:, None] - 1)
    channel = torch.arange(channels, device=pixels.device)
    channel = torch.where(t.channels[:, None] == 1, 0, channel)  # (B, C)
    lines = (
        t.offset[:, None, None]
        + (channel[:, None] * t.height[:, None, None] + down[..., None]) * (t.width[:, None, None])
    )
    return pixels[lines[..., None] + across[:, None, None]]


def _rgb(images: Tensor) -> Tensor:
    """(B, 1 or 3, H, W) as three channels; grey ones are one in memory until they are written."""
    return images.expand(-1, 3, -1, -1)


# --- from the host to the device ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class DeviceImages:
    """A view's bytes, on the device or to be streamed there, and how large its images get."""

    view: StoredImages
    device: torch.device
    pixels: Tensor | None  # uint8 (bytes,) on the device; None where they are streamed

    @property
    def kind(self) -> str:
        """For the record."""
        return "streamed" if self.pixels is None else "resident"

    @property
    def extent(self) -> tuple[int, int, int]:
        """Most channels, rows and columns of an image."""
        channels, height, width = shapes_of(self.view).amax(0).tolist()
        return channels, height, width

    def batches(self, rows: Tensor, batch: int, keep_single: bool = False) -> Iterator[Batch]:
        """Rows (B, 10) on the device; with (bytes,) of their images after them where those are streamed."""
        parts = list(chunks(len(rows), batch, keep_single))
        if self.pixels is not None:
            moved = _pinned(rows, self.device).to(self.device, non_blocking=True)
            return ((moved[part[0] : part[-1] + 1],) for part in parts)
        return _streamed(self, rows, parts, batch)


class DeviceStore:
    """Views whose bytes lie on a device, kept for the units that follow in this process.

    Together they take at most `limit` bytes: a quarter of the memory that would be free without them, unless
    it is given. The view used longest ago makes room for a new one.
    """

    def __init__(self, device: torch.device, limit: int | None = None) -> None:
        self.device = device
        self.limit = limit
        self.opened: dict[StoredImages, DeviceImages] = {}  # the one used longest ago first

    def open(self, view: StoredImages) -> DeviceImages:
        """The bytes of `view`, moved to the device if they fit; otherwise to be streamed."""
        if view in self.opened:
            self.opened[view] = self.opened.pop(view)
            return self.opened[view]
        limit = self._limit()
        if view.pixels.nbytes > limit:
            return DeviceImages(view, self.device, None)
        while self.held + view.pixels.nbytes > limit:
            del self.opened[next(iter(self.opened))]
        # Copied, because a memory map that may not be written to gives a tensor that warns of it.
        pixels = torch.from_numpy(np.array(view.pixels)).to(self.device)
        self.opened[view] = DeviceImages(view, self.device, pixels)
        return self.opened[view]

    def clear(self) -> None:
        """Give the memory back, as far as no training still uses it."""
        self.opened.clear()

    @property
    def held(self) -> int:
        """Bytes on the device."""
        return sum(view.pixels.nbytes for view in self.opened)

    def _limit(self) -> int:
        if self.limit is not None:
            return self.limit
        if self.device.type != "cuda":
            return 2**40
        return (torch.cuda.mem_get_info(self.device)[0] + self.held) // 4


def _streamed(
    images: DeviceImages, rows: Tensor, parts: list[NDArray[np.int64]], batch: int
) -> Iterator[Batch]:
    """Each batch's images, gathered from the memory map into one of two pinned buffers, copied on a stream
    of their own. The host fills one buffer while the device still works on the other's images."""
    sizes = torch.from_numpy(np.diff(images.view.offsets))
    capacity = batch * int(sizes.max())
    slots = [_Slot(capacity, images.device) for _ in range(2)]
    for i, part in enumerate(parts):
        mine, slot = rows[part].clone(), slots[i % 2]
        starts, lengths = mine[:, 0].tolist(), mine[:, 1:4].prod(1)
        mine[:, 0] = lengths.cumsum(0) - lengths
        slot.wait()
        for at, start, length in zip(mine[:, 0].tolist(), starts, lengths.tolist(), strict=True):
            slot.host[at : at + length] = images.view.pixels[start : start + length]
        yield _pinned(mine, images.device).to(images.device, non_blocking=True), slot.send()
        slot.used()


class _Slot:
    """A pinned buffer and its image on the device, with the events that keep them from being overwritten."""

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.device = device
        self.on_gpu = device.type == "cuda"
        staged = _pinned(torch.empty(capacity, dtype=torch.uint8), device)
        self.staged, self.host = staged, staged.numpy()
        self.there = torch.empty(capacity, dtype=torch.uint8, device=device)
        cuda: Any = torch.cuda  # its streams and events have no types
        self.stream: Any = cuda.Stream(device) if self.on_gpu else None
        self.copied: Any = cuda.Event() if self.on_gpu else None
        self.consumed: Any = cuda.Event() if self.on_gpu else None
        self.used()  # whoever had this memory before

    def wait(self) -> None:
        """Until the host buffer may be written again."""
        if self.on_gpu:
            self.copied.synchronize()

    def send(self) -> Tensor:
        """Begin the copy; whatever the current stream does next waits for it, not the host."""
        with torch.cuda.stream(self.stream) if self.on_gpu else nullcontext():
            if self.stream is not None:
                self.stream.wait_event(self.consumed)
            self.there.copy_(self.staged, non_blocking=True)
            if self.on_gpu:
                self.copied.record()
        if self.on_gpu:
            torch.cuda.current_stream(self.device).wait_event(self.copied)
        return self.there

    def used(self) -> None:
        """What the current stream was given to do with the bytes ends before they are overwritten."""
        if self.on_gpu:
            self.consumed.record(torch.cuda.current_stream(self.device))


def _pinned(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.pin_memory() if device.type == "cuda" else tensor
