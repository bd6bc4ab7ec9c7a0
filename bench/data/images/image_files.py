"""Which files are images: by their names, and DICOM files that are not named so by their first bytes.

The one place that says so, for the core and for plugins. `decode` may still find that such a file is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

PILLOW = frozenset(
    {
        *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff"),
        ".webp",
    }
)
JPEG_2000 = frozenset({".j2k", ".jp2"})  # read where Pillow was built with OpenJPEG
DICOM = frozenset({".dcm", ".dicom"})
NIFTI = (".nii", ".nii.gz")
MASK = re.compile(r"(.+)_(?:mask|segmentation)(?:_[0-9]+)?", re.IGNORECASE)  # names without their suffix
HEAD = 132  # bytes that tell whether a file is DICOM


def is_image_file(path: Path) -> bool:
    """Whether it is a file that is read as an image: by its suffix, in capitals or not, or because it is
    DICOM without one. Hidden files are not: macOS leaves "._x.png" in archives."""
    name = path.name.lower()
    if name.startswith(".") or not path.is_file():  # a pipe would keep us waiting
        return False
    return _has_image_suffix(path) or _is_bare_dicom(path)


def is_dicom_file(path: Path) -> bool:
    """Whether a file that `is_image_file` is DICOM."""
    return path.suffix.lower() in DICOM or _is_bare_dicom(path)


def is_nifti(path: Path) -> bool:
    """Whether it is NIfTI by its name."""
    return path.name.lower().endswith(NIFTI)


def has_dicom_magic(head: bytes) -> bool:
    """Whether the first `HEAD` bytes are those of a DICOM file."""
    return head[128:HEAD] == b"DICM"


def _has_image_suffix(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in JPEG_2000:
        return reads_jpeg_2000()
    return suffix in PILLOW or suffix in DICOM or is_nifti(path)


@cache
def reads_jpeg_2000() -> bool:
    """Whether Pillow was built with what reads JPEG 2000."""
    from PIL import features

    return bool(features.check("jpg_2000"))


def _is_bare_dicom(path: Path) -> bool:
    """Whether it is DICOM as scanners and archives name it: "IM0001", or by a number such as 1.2.840.10008.5.
    A DICOMDIR lists such files and holds no image."""
    if not re.fullmatch(r"(\.[0-9]+)?", path.suffix) or path.name.upper() == "DICOMDIR":
        return False
    try:
        with path.open("rb") as file:
            return has_dicom_magic(file.read(HEAD))
    except OSError:  # not ours to read, and not known to be an image
        return False


# --- masks ---------------------------------------------------------------------------------------------


class MasksApart(NamedTuple):
    """Images without masks, which are named after the image they are of."""

    images: list[Path]  # in the order given
    masks: list[Path]  # "x_mask.png" beside an image "x.*"
    lone: list[Path]  # named like masks, but of no image beside them: among `images` too


def without_masks(images: Sequence[Path]) -> MasksApart:
    """Tell masks from images: x_mask.*, x_mask_1.* and x_segmentation.* are masks where an image x.* lies
    beside them."""
    known = {(path.parent, _stem(path).casefold()) for path in images}
    found = MasksApart([], [], [])
    for path in images:
        named = MASK.fullmatch(_stem(path))
        if named and (path.parent, named[1].casefold()) in known:
            found.masks.append(path)
            continue
        found.images.append(path)
        if named:
            found.lone.append(path)
    return found


def masks_of(images: Iterable[Path], masks: Iterable[Path]) -> dict[Path, tuple[Path, ...]]:
    """The masks of each image that has any: those in its folder that are named after it (`without_masks`), in
    the order given."""
    named: dict[tuple[Path, str], list[Path]] = {}
    for mask in masks:
        if found := MASK.fullmatch(_stem(mask)):
            named.setdefault((mask.parent, found[1].casefold()), []).append(mask)
    known = ((image, named.get((image.parent, _stem(image).casefold()))) for image in images)
    return {image: tuple(own) for image, own in known if own}


def names_mask(path: Path) -> bool:
    """Whether a file is named as masks are, of whatever image."""
    return bool(MASK.fullmatch(_stem(path)))


def _stem(path: Path) -> str:
    """The name without its suffix, which may be .nii.gz."""
    return path.name[: -len(".nii.gz")] if path.name.lower().endswith(".nii.gz") else path.stem
