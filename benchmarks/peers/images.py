"""The images that every contestant is given: files in a folder per class, below train, val and test."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench import DataError, Index

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
SHARES = {"val": 0.1, "test": 0.2}  # of each class; the rest is for training


@dataclass(frozen=True)
class Images:
    """A data set that is laid out.

    Attributes:
        folder: with train, val and test.
        classes: number of them.
        counts: images by part.
    """

    folder: Path
    classes: int
    counts: dict[str, int]


def write_png(index: Index, folder: Path) -> Path:
    """Write images that are held in memory as files, one folder per class, and return `folder`."""
    from PIL import Image

    for number, sample in enumerate(index.samples):
        assert sample.array is not None, "only generated images are written"
        target = folder / sample.label / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sample.array.squeeze()).save(target)
    return folder


def lay_out(source: Path, target: Path, batch: int) -> Images:
    """Links in `target` to the images in `source`, which has a folder per class, or such below train and val.

    Training gets a whole number of batches, so that programs that drop a short one do as many steps; what
    remains is tested on. Masks (BUSI's files with "_mask" in their name) are left out. Raises DataError.
    """
    given = (source / "train").is_dir() and (source / "val").is_dir()
    parts = _given(source) if given else _drawn(source)
    train = parts["train"]
    kept = len(train) // batch * batch
    if not kept or not parts["val"]:
        few = f"{len(train)} images for training and {len(parts['val'])} for validation"
        raise DataError(f"{source}: {few}; a batch of {batch} and one are needed")
    random.Random(0).shuffle(train)
    parts["test"] += train[kept:]
    del train[kept:]
    for part, files in parts.items():
        for file in files:
            link = target / part / file.parent.name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())
    classes = {file.parent.name for files in parts.values() for file in files}
    return Images(target, len(classes), {part: len(files) for part, files in parts.items()})


def _given(source: Path) -> dict[str, list[Path]]:
    return {part: _images(source.glob(f"{part}/*/*")) for part in ("train", "val", "test")}


def _drawn(source: Path) -> dict[str, list[Path]]:
    """A split that is the same each time, with all classes in each part."""
    parts: dict[str, list[Path]] = {"train": [], "val": [], "test": []}
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        files = _images(folder.iterdir())
        random.Random(folder.name).shuffle(files)
        for part, share in SHARES.items():
            number = round(share * len(files))
            parts[part] += files[:number]
            del files[:number]
        parts["train"] += files
    return parts


def _images(paths: Iterable[Path]) -> list[Path]:
    found = (p for p in paths if p.suffix.lower() in SUFFIXES and not re.search(r"_mask|^\.", p.name))
    return sorted(found)
