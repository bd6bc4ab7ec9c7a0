"""Files and folders that are whole or absent, also after a crash or a power cut."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Replace `path` in one step; a reader sees the old content or the new. Raises OSError."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one step; a reader sees the old content or the new. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_directory(path.parent)


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote; None if it is absent, or damaged from outside."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sync_tree(directory: Path) -> None:
    """Bring everything below `directory` to disk.

    Where the system can sync all at once it does: one fsync a file takes minutes for 20,000 of them.
    """
    if hasattr(os, "sync"):
        os.sync()
        return
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make renames within `directory` durable."""
    if os.name == "nt":  # Windows cannot open a directory; its rename is durable without
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
