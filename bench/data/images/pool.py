"""A folder of images without labels, which a pretraining may see beside those of its data set.

Its images are opened together with the data set's, as one list: so the audit compares each with each, and a
batch can show both.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.images.image_files import PILLOW, is_image_file, without_masks
from bench.data.images.images import Images
from bench.data.images.index import check_index, first_few
from bench.errors import ConfigError
from bench.identity import digest
from bench.interfaces.dataset import Index, Sample

HIDDEN = (".", "__MACOSX")  # how names begin that are passed over
NO_LABEL = "(no label)"
UNITED = "+pool"  # ends the name of a data set with a pool
SETTING = "protocol.pretrain.extra"


def images_below(folder: Path) -> list[Path]:
    """All images in a folder and below it, without hidden ones and masks of others, in the order of names.

    Raises ConfigError if there is no such folder, it cannot be read, or it holds no image.
    """
    said = f"{SETTING} = {str(folder)!r}"
    if not folder.is_dir():
        raise ConfigError(f"{said}: {'is no folder' if folder.exists() else 'no such folder'}; name another")
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise ConfigError(f"{said}: {error.filename} cannot be read ({error.strerror}); change its mode")

    for where, folders, files in os.walk(folder, onerror=refuse, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(HIDDEN)]
        shown = (Path(where, name) for name in files if not name.startswith(HIDDEN))
        found += filter(is_image_file, shown)
    found = without_masks(sorted(found)).images
    if not found:
        raise ConfigError(
            f"{said}: no images in it ({', '.join(sorted(PILLOW))}, DICOM, NIfTI); name another"
        )
    return found


def united_index(index: Index, folder: Path) -> Index:
    """The images of a data set, then those of a pool, each a group of its own with a label of their own.

    Raises ConfigError as `images_below` does, and where the folder holds images of the data set itself.
    """
    paths = images_below(folder)
    root = folder.resolve()
    own = [sample.id for sample in index.samples if sample.path and root in sample.path.resolve().parents]
    if own:
        raise ConfigError(
            f"{SETTING} = {str(folder)!r}: holds {len(own)} images of the data set itself "
            f"({first_few(own)}); name a folder of other images"
        )
    prefix = "pool/"
    while any(sample.id.startswith(prefix) for sample in index.samples):
        prefix = f"pool {prefix}"
    pool = [
        Sample(id=f"{prefix}{path.relative_to(folder).as_posix()}", label=NO_LABEL, path=path)
        for path in paths
    ]
    united = replace(index, classes=(*index.classes, NO_LABEL), samples=(*index.samples, *pool))
    check_index(united, SETTING)
    return united


def pool_content(united: Images, first: int) -> str:
    """Identity of a pool, which begins at position `first` of the united images: 16 hex digits of the sha256
    of its decoded pixels, whatever its files are called."""
    return digest(sorted(united.sha256[first:]))[:16]


def pool_images(united: Images, first: int, left_out: Sequence[str]) -> NDArray[np.int64]:
    """Positions of the pool's images without those whose pixels have a sha256 among `left_out`, in an order
    that depends on pixels alone: another name for a file changes no batch."""
    without = set(left_out)
    kept = [i for i in range(first, len(united)) if united.sha256[i] not in without]
    return np.array(sorted(kept, key=lambda i: united.sha256[i]), dtype=np.int64)
