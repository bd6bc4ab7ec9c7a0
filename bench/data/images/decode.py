"""Decode one image file to 8-bit pixels, and resize 8-bit pixels. Imports numpy and Pillow only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from bench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

REVISION = 2  # raise when the same file would now give other pixels

_WHITE_IS_ZERO = (262, 0)  # the TIFF tag PhotometricInterpretation and its value WhiteIsZero


class Decoded(NamedTuple):
    """The content of one image file."""

    pixels: NDArray[np.uint8]  # (H, W) or (H, W, 3)
    channels: int  # stored in the file: 1 grey or palette, 2 grey and alpha, 3, 4
    frames: int = 1  # pages or frames in the file, of which the first was read


def read_image(path: Path) -> NDArray[np.uint8]:
    """The pixels of a file, as `decode` gives them. Raises DataError."""
    return decode(path).pixels


def decode(path: Path) -> Decoded:
    """Decode a file to uint8 (H, W) if it is grey, else (H, W, 3).

    - The EXIF orientation is applied. Of several frames the first is read.
    - 16 bits: the range 0..65535 is mapped to 0..255 and rounded, whatever the maximum of the image, so that
      brightness stays comparable between images.
    - Transparent pixels are composited on black, the background of medical images.
    - Palette, CMYK and other colour spaces become RGB; equal R, G and B are one grey channel.

    Raises DataError if the file cannot be decoded or holds floating-point or 32-bit values.
    """
    try:
        with Image.open(path) as opened:
            channels = len(opened.getbands())
            frames = _frames(opened, path)
            white_is_zero = getattr(opened, "tag_v2", {}).get(_WHITE_IS_ZERO[0]) == _WHITE_IS_ZERO[1]
            ImageOps.exif_transpose(opened, in_place=True)
            pixels = _to_array(opened, white_is_zero)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such image file; fetch the data set again, or mend its index") from None
    except Exception as error:  # Pillow raises nearly anything on a damaged file
        raise DataError(
            f"{path}: cannot be read as an image ({type(error).__name__}: {error}); "
            "replace the file with an intact copy, remove it from the data set, or leave out such files "
            "by --on-bad-image skip"
        ) from None
    return Decoded(_grey_if_equal(pixels), channels, frames)


def _frames(opened: Image.Image, path: Path) -> int:
    """Pages or frames of a file; 1 where its later pages are damaged, which does not concern the first.

    GIF and TIFF are counted by going through them, so in another opening, which leaves this one as it is.
    """
    if opened.format not in ("GIF", "TIFF"):
        return int(getattr(opened, "n_frames", 1))
    try:
        with Image.open(path) as again:
            return int(getattr(again, "n_frames", 1))
    except Exception:  # Pillow raises nearly anything on a damaged file
        return 1


def _to_array(image: Image.Image, white_is_zero: bool) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):
        grey = _from_16_bit(np.asarray(image))
        return 255 - grey if white_is_zero else grey  # Pillow itself inverts 8 bits only
    if image.mode == "F":
        raise DataError("holds floating-point pixels, whose range is unknown; save it with 8 or 16 bits")
    if image.has_transparency_data:
        return _on_black(np.asarray(image.convert("RGBA")))
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _from_16_bit(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    wide = values.astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise DataError(
            f"holds values from {wide.min()} to {wide.max()}, more than 16 bits; save it with 8 or 16 bits"
        )
    return ((wide + 128) // 257).astype(np.uint8)


def _on_black(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    colour, alpha = rgba[..., :3].astype(np.uint16), rgba[..., 3:].astype(np.uint16)
    return ((colour * alpha + 127) // 255).astype(np.uint8)


def _grey_if_equal(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.ndim == 2:
        return pixels
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    grey = np.array_equal(red, green) and np.array_equal(red, blue)
    return np.ascontiguousarray(red) if grey else pixels


def check_array(array: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """The pixels of a data set that gives arrays, in the form of `read_image`. Raises DataError."""
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if array.dtype != np.uint8 or not is_image or not array.size:
        raise DataError(
            f"{name}: the array is {array.dtype} {array.shape}; it must be uint8 of shape (H, W) or (H, W, 3)"
        )
    return _grey_if_equal(array)


def pixel_digest(pixels: NDArray[np.uint8]) -> str:
    """sha256 (hex) of the shape, as "H,W" or "H,W,3", a newline, and the bytes in row order."""
    sha = hashlib.sha256(f"{','.join(map(str, pixels.shape))}\n".encode())
    sha.update(np.ascontiguousarray(pixels).tobytes())
    return sha.hexdigest()


def resized_shape(height: int, width: int, short: int) -> tuple[int, int]:
    """(height, width) after the short side becomes `short`; the long side is rounded down."""
    if height <= width:
        return short, int(short * width / height)
    return int(short * height / width), short


def resize(pixels: NDArray[np.uint8], short: int) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3) to channels first (C, h, w), C = 1 or 3, by antialiased bilinear filtering.

    Equal to torchvision.transforms.v2.Resize(short) of the same PIL image.
    """
    ((copy,),) = resize_all([pixels], [short])
    return copy


def resize_all(
    images: Sequence[NDArray[np.uint8]], shorts: Sequence[int]
) -> list[tuple[NDArray[np.uint8], ...]]:
    """`resize` of every image to every short side, each straight from the original.

    Four grey images of one shape are resized as the four channels of one image, which takes a quarter less
    time. Pillow resizes each channel by itself, so the bits are the same.
    """
    if len(images) == 4 and len({image.shape for image in images}) == 1 and images[0].ndim == 2:
        merged = Image.merge("CMYK", [Image.fromarray(image) for image in images])
        resized = [_resized(merged, short).split() for short in shorts]
        return [tuple(_to_channels_first(grey) for grey in copies) for copies in zip(*resized, strict=True)]
    return [
        tuple(_to_channels_first(_resized(image, short)) for short in shorts)
        for image in map(Image.fromarray, images)
    ]


def _resized(image: Image.Image, short: int) -> Image.Image:
    height, width = resized_shape(image.height, image.width, short)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _to_channels_first(image: Image.Image) -> NDArray[np.uint8]:
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
