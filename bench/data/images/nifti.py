"""NIfTI files to 8-bit pixels: one slice of a volume. The only module that knows nibabel (the extra "nifti").

A volume is turned to the nearest of the orientations along its axes in which these point to the right, to the
front and up (RAS+), and its middle axial slice is read, shown as radiologists look at it: the front is up,
the patient's right on the left. Files with one slice are read as they are stored. Values from the 1st to the
99th percentile of the whole volume become 0 to 255, and what is not finite 0: scanners give MR no unit, so
that brightness can be compared within a volume alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERCENTILES = (1, 99)


def read_nifti(path: Path) -> tuple[NDArray[np.uint8], int]:
    """Pixels (H, W) of the middle axial slice, and how many such slices there are.

    Raises DataError if it holds several volumes or no grey values, ConfigError if nibabel is not installed,
    and whatever nibabel raises on a damaged file.
    """
    try:
        import nibabel
    except ImportError:
        from bench.registry import DISTRIBUTION

        raise ConfigError(
            f'NIfTI files are read by nibabel, which is not installed: pip install "{DISTRIBUTION}[nifti]"'
        ) from None
    image: Any = nibabel.load(path)
    if len(image.shape) < 2 or any(size > 1 for size in image.shape[3:]):
        raise DataError(
            f"has the shape {' x '.join(map(str, image.shape))}, no single volume or slice; save the volume "
            "that is meant (say, the mean over time, or the first one) as a file of its own"
        )
    if image.get_data_dtype().kind not in "iuf":
        raise DataError(
            f"holds values of type {image.get_data_dtype()}, no grey values; save its images as PNG, say"
        )
    if len(image.shape) == 2 or 1 in image.shape[:3]:
        values = image.get_fdata(dtype=np.float32)
        shown, slices = values.reshape(_slice_shape(image.shape)).T, 1
    else:
        volume = nibabel.as_closest_canonical(image.slicer[(..., *[0] * (len(image.shape) - 3))])
        values = volume.get_fdata(dtype=np.float32)
        slices = values.shape[2]
        shown = values[:, :, slices // 2].T[::-1, ::-1]
    return _to_8_bits(shown, values), slices


def _slice_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Columns and rows of a file that holds one slice: the axes that are longer than 1, in their order."""
    longer = [size for size in shape if size > 1]
    first, second = (*longer, 1, 1)[:2]
    return first, second


def _to_8_bits(shown: NDArray[np.float32], volume: NDArray[np.float32]) -> NDArray[np.uint8]:
    finite = volume[np.isfinite(volume)]
    if not finite.size:
        raise DataError("holds no finite value; replace the file, or remove it from the data set")
    low, high = map(float, np.percentile(finite, PERCENTILES, overwrite_input=True))  # a copy of its own
    if low == high:  # a mask, say
        low, high = float(finite.min()), float(finite.max())
    if low == high:
        return np.zeros(shown.shape, np.uint8)
    known = np.where(np.isfinite(shown), shown.astype(np.float64), low)
    share = np.clip((known - low) / (high - low), 0, 1)
    grey: NDArray[np.uint8] = np.floor(share * 255 + 0.5).astype(np.uint8)
    return grey
