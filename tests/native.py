"""Small files in the native layouts of data sets."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def put(root: Path, *names: str) -> Path:
    """Tiny images of these names below `root`."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(root / name)
    return root


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
