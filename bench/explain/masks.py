"""The masks of an image, as what a network sees of it: resized and cut as the image was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.data.images.decode import read_image
from bench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.data.images.images import Images

WHITE = 128
"""The least level that is inside: files are white on black, and JPEG blurs their edge."""


def mask_of(images: Images, i: int, size: int) -> NDArray[np.bool_] | None:
    """(size, size), True inside any mask of image `i`; None where it has none, or nothing of one is in the
    part that is cut out.

    Resized to the nearest pixel from the file's own size, which must be that of the image. Raises DataError
    for a mask that cannot be read or is of another size.
    """
    from PIL import Image

    from bench.engine.batches import plan_evaluation

    if not images.masks[i]:
        return None
    whole = _union(images, i)
    view = images.view(size)
    _, height, width = view.shapes[i]
    resized = np.asarray(Image.fromarray(whole).resize((width, height), Image.Resampling.NEAREST))
    top, left, tall, wide = plan_evaluation(view, np.array([i]), size=size).boxes[0].tolist()
    cut = resized[top : top + tall, left : left + wide]
    if cut.shape != (size, size):
        cut = np.asarray(Image.fromarray(cut).resize((size, size), Image.Resampling.NEAREST))
    return cut if cut.any() else None


def _union(images: Images, i: int) -> NDArray[np.bool_]:
    original = images.originals[i]
    whole = np.zeros((original.height, original.width), dtype=bool)
    for path in images.masks[i]:
        levels = read_image(path)
        if levels.shape[:2] != whole.shape:
            raise DataError(
                f"{path}: the mask has {levels.shape[1]}x{levels.shape[0]} pixels, and its image "
                f"{images.ids[i]} has {original.width}x{original.height}; fetch the data set again, or "
                "remove the mask"
            )
        white = levels >= WHITE
        whole |= white.any(axis=2) if white.ndim == 3 else white
    return whole
