"""What could tell a class beside the picture: marks burnt into it, and what its file says of itself.

Both become features of a shortcut probe (`shortcuts`). A network sees marks; it does not see what a file says
(EXIF, PNG text, device, compression), but classes that differ there come from other devices or hands, and
that shows in the pixels too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from bench.data.images.decode import head_of, is_dicom
from bench.data.images.dicom import dicom_says
from bench.data.images.parallel import each, in_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELLS = 4  # per side of the grid in which marks are counted
BRIGHT = 200  # least grey level of a letter, ruler or caliper
DARK = 80  # most grey levels around it, on average
LARGEST_MARK = 80  # pixels of a copy of short side 128
COLOURFUL = 40  # by which the channels of a pixel of a coloured mark differ
GREY = 12  # by which those of half of all pixels differ at most, in a grey picture
MOST_STRINGS = 64  # that probes of metadata see
RARE = 5  # files in which a string must be, and in which it must not be, to tell anything
LONGEST = 80  # characters kept of a string


def mark_features(pixels: NDArray[np.uint8], grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(3 * CELLS**2,) what looks like marks in a picture (C, h, w) of short side 128, by cell of a grid.

    For each cell: the number of small bright spots on a dark ground, as letters and rulers are; their share
    of its area; and the share of coloured pixels if the picture is grey otherwise. `grey` is its copy (h, w).
    """
    import cv2

    bright = (grey >= BRIGHT).astype(np.uint8)
    count, _, stats, centres = cv2.connectedComponentsWithStats(bright, connectivity=8)
    around = cv2.blur(grey, (21, 21))
    spots = np.zeros((2, CELLS, CELLS), dtype=np.float32)
    for number in range(1, count):
        x, y = centres[number]
        area = int(stats[number, cv2.CC_STAT_AREA])
        if area <= LARGEST_MARK and around[int(y), int(x)] <= DARK:
            cell = int(y * CELLS / grey.shape[0]), int(x * CELLS / grey.shape[1])
            spots[(0, *cell)] += 1
            spots[(1, *cell)] += area
    spots[1] /= grey.size / CELLS**2
    return np.concatenate([spots.ravel(), _coloured(pixels).ravel()])


def _coloured(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(CELLS, CELLS) share of coloured pixels of a picture (C, h, w) that is grey otherwise, or zeros."""
    import cv2

    shares = np.zeros((CELLS, CELLS), dtype=np.float32)
    if pixels.shape[0] == 1:
        return shares
    spread = pixels.max(axis=0) - pixels.min(axis=0)
    if np.median(spread) > GREY:
        return shares
    coloured = (spread >= COLOURFUL).astype(np.float32)
    return np.asarray(cv2.resize(coloured, (CELLS, CELLS), interpolation=cv2.INTER_AREA), dtype=np.float32)


def metadata_features(paths: Sequence[Path | None], threads: int) -> NDArray[np.float32] | None:
    """(N, F) whether each file says each of the F strings that some say and some do not; None if there are no
    such strings. Files that cannot be opened, and arrays (None), say nothing."""
    said = list(in_order(each(_strings), paths, 64, threads))
    counts = Counter(string for strings in said for string in strings)
    telling = [(n, string) for string, n in counts.items() if RARE <= n <= len(paths) - RARE]
    if not telling:
        return None
    chosen = [string for _, string in sorted(telling, key=lambda item: (-item[0], item[1]))[:MOST_STRINGS]]
    return np.array([[string in strings for string in chosen] for strings in said], dtype=np.float32)


def _strings(path: Path | None) -> frozenset[str]:
    """What a file says of itself beside its pixels and their number, as "name=value"."""
    if path is None:
        return frozenset()
    try:
        if is_dicom(path, head_of(path)):
            return frozenset(string[:LONGEST] for string in dicom_says(path))
        with Image.open(path) as image:
            return frozenset(string[:LONGEST] for string in _said(image))
    except Exception:  # Pillow and pydicom raise nearly anything on a broken header
        return frozenset()


def _said(image: Image.Image) -> Iterator[str]:
    yield f"format={image.format}"
    yield f"mode={image.mode}"
    for tag, setting in image.getexif().items():
        name = ExifTags.TAGS.get(tag, str(tag))
        if name not in ("ImageWidth", "ImageLength", "ExifOffset"):
            yield f"exif {name}={setting}"
    for key, value in image.info.items():
        if key in ("exif", "icc_profile", "photoshop", "xmp"):
            yield f"{key}={hashlib.sha256(_bytes(value)).hexdigest()[:12]}"
        elif isinstance(value, str | int | float | tuple):
            yield f"{key}={value}"
    tables = getattr(image, "quantization", None)
    if isinstance(tables, Mapping):  # of a JPEG: its quality, and whose program wrote it
        yield f"quantization={hashlib.sha256(repr(sorted(tables.items())).encode()).hexdigest()[:12]}"


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
