"""Which files of a folder are images, in the order a person would list them."""

import re
from collections.abc import Iterable
from pathlib import Path

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def natural(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts "benign (2)" before "benign (10)"; the text itself decides between equals."""
    pieces = re.findall(r"[0-9]+|[^0-9]+", text)
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p.casefold()) for p in pieces], text


def is_image(path: Path) -> bool:
    """An image by its suffix; hidden files (macOS leaves "._x.png" in archives) are none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def folders_in(root: Path) -> list[Path]:
    """The folders directly in `root`, without hidden ones and the remains of macOS archives."""
    found = (p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX")))
    return in_order(found, root)


def images_below(folder: Path) -> list[Path]:
    """All images in `folder` and its subfolders."""
    return in_order((p for p in folder.rglob("*") if is_image(p)), folder)


def in_order(paths: Iterable[Path], root: Path) -> list[Path]:
    return sorted(paths, key=lambda p: natural(p.relative_to(root).as_posix()))
