"""Maps as pictures: colours of a perceptual scale, overlays, outlines. Arrays alone."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np

from bench.explain.grids import resampled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.explain.grids import Grid

    Pixels = NDArray[np.uint8]  # (3, S, S)

SCALE = "viridis"
"""matplotlib's: as bright as high, for colour-blind readers and in print too."""
ALPHA = 0.5  # of a map over its image
OUTLINE = (255, 80, 80)
SIDE = 224  # of a drawn map without an image, pixels


def coloured(grid: Grid, low: float, high: float) -> Pixels:
    """(h, w) to uint8 (3, h, w): `low` is the darkest colour, `high` the brightest."""
    from matplotlib import colormaps

    span = high - low
    shares = (grid - low) / span if span > 0 else np.zeros_like(grid)
    colours = colormaps[SCALE](np.clip(shares, 0, 1))[..., :3]
    given: Pixels = (colours * 255).round().astype(np.uint8).transpose(2, 0, 1)
    return given


def patches(grid: Grid, low: float, high: float, side: int = SIDE) -> Pixels:
    """One colour a patch; uint8 (3, s, s) with s at least `side`."""
    drawn = coloured(grid, low, high)
    times = -(-side // min(grid.shape))
    return drawn.repeat(times, axis=1).repeat(times, axis=2)


def heat(grid: Grid, side: int = SIDE) -> Pixels:
    """A map alone, smoothed as in `overlay`; uint8 (3, side, side)."""
    return coloured(resampled(grid, side, side), 0.0, float(grid.max()))


def overlay(image: Pixels, grid: Grid) -> Pixels:
    """A map over the grey levels of its image, from 0 to its own maximum."""
    side = image.shape[-1]
    grey = image.astype(np.float64).mean(axis=0, keepdims=True)
    mixed: Pixels = ((1 - ALPHA) * grey + ALPHA * heat(grid, side)).round().astype(np.uint8)
    return mixed


def outlined(image: Pixels, mask: NDArray[np.bool_]) -> Pixels:
    """An image with the edge of a mask drawn in: pixels of it that have a neighbour outside."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    drawn = image.copy()
    drawn[:, mask & ~inner] = np.array(OUTLINE, dtype=np.uint8)[:, None]
    return drawn


def scale_bar(width: int = 256, height: int = 16) -> Pixels:
    """The colours from low, on the left, to high."""
    return coloured(np.broadcast_to(np.linspace(0, 1, width), (height, width)), 0.0, 1.0)


def enlarged(pixels: Pixels, side: int = SIDE) -> Pixels:
    """A smaller picture repeated to at least `side` pixels, so that a page shows all at one size; a larger
    one as it is."""
    times = max(1, -(-side // pixels.shape[-1]))
    return pixels.repeat(times, axis=1).repeat(times, axis=2)


def as_png(pixels: Pixels) -> bytes:
    """The bytes of a PNG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def png_uri(pixels: Pixels) -> str:
    """A PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(as_png(pixels)).decode('ascii')}"
