"""Decode one image file to 8-bit pixels, and resize 8-bit pixels. Imports numpy and Pillow only; what reads
DICOM and NIfTI is imported with the first such file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from bench.data.images.image_files import DICOM, HEAD, has_dicom_magic, is_nifti
from bench.data.images.ranges import WHOLE, WIDE, Extent, Ranges
from bench.data.images.shape import check_shape
from bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

REVISION = 2  # raise when the same file would now give other pixels


_WHITE_IS_ZERO = (262, 0)  # the TIFF tag PhotometricInterpretation and its value WhiteIsZero
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_GREY_16_BITS = bytes((16, 0))  # bit depth and colour type of a PNG, at byte 24


class Decoded(NamedTuple):
    """The content of one image file."""

    pixels: NDArray[np.uint8]  # (H, W) or (H, W, 3)
    channels: int  # stored in the file: 1 grey or palette, 2 grey and alpha, 3, 4
    frames: int = 1  # pages, frames or slices in the file, of which one was read


def read_image(path: Path, ranges: Ranges = WHOLE) -> NDArray[np.uint8]:
    """The pixels of a file, as `decode` gives them. Raises as `decode` does."""
    return decode(path, ranges).pixels


def decode(path: Path, ranges: Ranges = WHOLE) -> Decoded:
    """Decode a file to uint8 (H, W) if it is grey, else (H, W, 3).

    - The EXIF orientation is applied. Of several frames the first is read.
    - 16 bits: 0 is mapped to 0 and 2**bits - 1 to 255, and rounded, whatever the maximum of the image, so
      that brightness stays comparable between images. `ranges` says how many bits the data set has.
    - Transparent pixels are composited on black, the background of medical images.
    - Palette, CMYK and other colour spaces become RGB; equal R, G and B are one grey channel.
    - DICOM and NIfTI: see `dicom.read_dicom` and `nifti.read_nifti`.

    Raises DataError if the file cannot be decoded, holds floating-point or 32-bit values or values beyond its
    range, or has a side more than `shape.LONGEST` times the other; ConfigError where what reads its format is
    not installed.
    """
    with _blaming(path):
        head = head_of(path)
        if is_dicom(path, head):
            from bench.data.images.dicom import read_dicom

            pixels, channels, frames = read_dicom(path, ranges.dicom)
        elif is_nifti(path):
            from bench.data.images.nifti import read_nifti

            pixels, frames = read_nifti(path)
            channels = 1
        else:
            pixels, channels, frames = _read_by_pillow(path, ranges.bits)
        check_shape(*pixels.shape[:2])
    return Decoded(_grey_if_equal(pixels), channels, frames)


def extent(path: Path) -> Extent | None:
    """The lowest and highest value of a file whose range the data set decides. None for other files, and for
    those that `decode` refuses whatever the range.

    Raises ConfigError where what reads its format is not installed.
    """
    try:
        head = head_of(path)
        if is_dicom(path, head):
            from bench.data.images.dicom import dicom_extent

            return dicom_extent(path)
        if is_nifti(path) or _has_8_bits(head):
            return None
        with Image.open(path) as opened:
            if not _range_is_unknown(opened):
                return None
            check_shape(opened.height, opened.width)
            values = np.asarray(opened)
            low, high = int(values.min()), int(values.max())
            return Extent(WIDE, low, high) if _fit_16_bits(low, high) else None
    except ConfigError:
        raise
    except Exception:  # a damaged file, which `decode` reports
        return None


def head_of(path: Path) -> bytes:
    """The first bytes of a file, enough to know its format."""
    with path.open("rb") as file:
        return file.read(HEAD)


def is_dicom(path: Path, head: bytes) -> bool:
    """Whether it is DICOM, by its first bytes or its name."""
    return has_dicom_magic(head) or path.suffix.lower() in DICOM


def _has_8_bits(head: bytes) -> bool:
    """Whether the first bytes alone say that it is no grey file of 16 bits."""
    return head.startswith(_JPEG) or (head.startswith(_PNG) and head[24:26] != _GREY_16_BITS)


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a file within the block becomes an error that names it."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such image file; fetch the data set again, or mend its index") from None
    except Exception as error:  # Pillow raises nearly anything on a damaged file
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(
            f"{path}: cannot be read as an image ({reason}); "
            "replace the file with an intact copy, remove it from the data set, or leave out such files "
            "by --on-bad-image skip"
        ) from None


def _read_by_pillow(path: Path, bits: int) -> tuple[NDArray[np.uint8], int, int]:
    """The pixels of a file, its channels, and how many pages or frames it has."""
    with Image.open(path) as opened:
        check_shape(opened.height, opened.width)  # before its pixels are decoded
        channels = len(opened.getbands())
        frames = _frames(opened, path)
        white_is_zero = getattr(opened, "tag_v2", {}).get(_WHITE_IS_ZERO[0]) == _WHITE_IS_ZERO[1]
        bits = bits if _range_is_unknown(opened) else 16
        ImageOps.exif_transpose(opened, in_place=True)
        return _to_array(opened, white_is_zero, bits), channels, frames


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


def _range_is_unknown(image: Image.Image) -> bool:
    """Whether it holds more than 8 bits of unknown range. A PGM file states its range, to which Pillow
    scales."""
    return image.mode.startswith("I") and image.format != "PPM"


def _to_array(image: Image.Image, white_is_zero: bool, bits: int) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):
        grey = _from_16_bit(np.asarray(image), bits)
        return 255 - grey if white_is_zero else grey  # Pillow itself inverts 8 bits only
    if image.mode == "F":
        raise DataError("holds floating-point pixels, whose range is unknown; save it with 8 or 16 bits")
    if image.has_transparency_data:
        return _on_black(np.asarray(image.convert("RGBA")))
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _from_16_bit(values: NDArray[np.generic], bits: int) -> NDArray[np.uint8]:
    wide = values.astype(np.int64)
    low, high, white = int(wide.min()), int(wide.max()), 2**bits - 1
    if not _fit_16_bits(low, high):
        raise DataError(f"holds values from {low} to {high}, more than 16 bits; save it with 8 or 16 bits")
    if high > white:
        raise DataError(
            f"holds the value {high}, more than the {bits} bits that were set (0 to {white}); set bits to "
            f"{high.bit_length()} or more, or to 0 to have the range found"
        )
    grey: NDArray[np.uint8] = ((wide * 255 + white // 2) // white).astype(np.uint8)
    return grey


def _fit_16_bits(low: int, high: int) -> bool:
    return low >= 0 and high <= 65535


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
    try:
        check_shape(*array.shape[:2])
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
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
