"""A small copy of BUSI as it is downloaded, masks and all: bright lesions on speckle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 80  # of an image, pixels
CLASSES = ("benign", "malignant", "normal")


def lesions(root: Path, each: int = 20) -> Path:
    """So many images of each class below `root`, named and laid out as the download is. Gives the root.

    The lesions of benign images are round, those of malignant ones square. Masks of normal images are black;
    the first benign image has two masks. benign (2) has its lesion in the upper left quarter.
    """
    random = np.random.default_rng(0)
    home = root / "Dataset_BUSI_with_GT"
    for name in CLASSES:
        (home / name).mkdir(parents=True)
        for number in range(1, each + 1):
            texture = np.kron(random.normal(size=(SIDE // 4, SIDE // 4)), np.ones((4, 4)))
            levels = 70 + 12 * texture + 8 * random.normal(size=(SIDE, SIDE))
            mask = np.zeros((SIDE, SIDE), dtype=bool) if name == "normal" else _lesion(name, number, random)
            levels[mask] += 40 + 30 * random.normal(size=int(mask.sum()))
            path = home / name / f"{name} ({number}).png"
            Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(path)
            _save_masks(path, mask, two=name == "benign" and number == 1)
    return root


def _lesion(name: str, number: int, random: np.random.Generator) -> np.ndarray:
    y, x = (18, 18) if (name, number) == ("benign", 2) else random.integers(18, SIDE - 18, 2)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    if name == "benign":
        return (rows - y) ** 2 + (columns - x) ** 2 < 12**2
    return (abs(rows - y) < 11) & (abs(columns - x) < 11)


def _save_masks(path: Path, mask: np.ndarray, two: bool) -> None:
    parts = [mask]
    if two:
        left = np.arange(SIDE)[None, :] < SIDE // 2
        parts = [mask & left, mask & ~left]
    for number, part in enumerate(parts):
        suffix = f"_{number}" if number else ""
        levels = np.where(part, 255, 0).astype(np.uint8)
        Image.fromarray(levels).save(path.with_name(f"{path.stem}_mask{suffix}.png"))
