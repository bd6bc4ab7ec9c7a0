"""Stored pixels as arrays, and what is remembered of the files they came from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class View:
    """All images at one short side, as views of a memory map."""

    pixels: NDArray[np.uint8]  # (total bytes,)
    shapes: tuple[tuple[int, int, int], ...]  # (C, h, w) per image, C = 1 (grey) or 3

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(N + 1,) where each image begins in `pixels`, and where the last one ends."""
        return np.cumsum([0, *(c * h * w for c, h, w in self.shapes)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, i: int) -> NDArray[np.uint8]:
        """uint8 (C, h, w); a read-only view, nothing is copied."""
        shape = self.shapes[i]  # raises IndexError past the end, which ends a `for`
        start = int(self.offsets[i if i >= 0 else i + len(self)])
        return self.pixels[start : start + shape[0] * shape[1] * shape[2]].reshape(shape)


class Original(NamedTuple):
    """An image before it was resized."""

    height: int  # pixels, after the EXIF orientation is applied
    width: int
    channels: int  # stored in the file: 1 grey or palette, 2 grey and alpha, 3, 4
    bytes: int  # of the file; 0 for an array that came without one
    frames: int = 1  # pages, frames or slices of the file, of which one is the image
