"""An image as a page embeds it: small, a JPEG, as a data URI."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUALITY = 80  # of JPEG: traces of compression do not show at this size


class Thumbnail(NamedTuple):
    """A data URI, and the size of what it shows, pixels."""

    uri: str
    width: int
    height: int


def thumbnail(pixels: NDArray[np.uint8], side: int) -> str:
    """The data URI alone, as `sized_thumbnail` makes it."""
    return sized_thumbnail(pixels, side).uri


def sized_thumbnail(pixels: NDArray[np.uint8], side: int) -> Thumbnail:
    """Of (C, h, w), C = 1 or 3, no side longer than `side` pixels; nothing is enlarged.

    The same pixels give the same text. Nothing but pixels is in it, so nothing of a file's metadata.
    """
    image = Image.fromarray(
        pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    )
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY, optimize=True)
    uri = f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
    return Thumbnail(uri, image.width, image.height)
