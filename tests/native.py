"""Small files in the native layouts of data sets."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image


def put(root: Path, *names: str) -> Path:
    """Tiny images of these names below `root`."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(root / name)
    return root


def image_bytes(suffix: str) -> bytes:
    """A tiny image in the format of `suffix` (".png", ".jpg"), to be written many times."""
    file = io.BytesIO()
    Image.new("L", (4, 4)).save(file, format=Image.registered_extensions()[suffix])
    return file.getvalue()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
