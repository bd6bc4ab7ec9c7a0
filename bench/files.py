"""Files and folders that are whole or absent, also after a crash or a power cut.

Everything that must not be half-written is written here: under a temporary name beside its place, synced to
disk, then renamed. A writer killed half-way leaves only the temporary name, which nobody reads.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bench.errors import StoreError

UNFINISHED = ".writing-"
"""How the temporary name of a folder begins."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into that takes the place of `path` when the block ends without an error.

    A reader sees the old content or the new. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with synced(beside) as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_directory(path.parent)


@contextmanager
def synced(path: Path) -> Iterator[IO[bytes]]:
    """A new file to write into that is on disk when the block ends. Raises OSError."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def new_directory(target: Path, marker: str) -> Iterator[Path]:
    """A folder to fill that becomes `target` when the block ends without an error.

    The first of two writers wins: where `target` holds the file `marker` by then, it stays. What killed
    writers left beside it is removed. Raises OSError.
    """
    temporary = target.parent / f"{UNFINISHED}{uuid.uuid4().hex}"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
        sync_directory(temporary)
        try:
            temporary.rename(target)
        except OSError:
            if not (target / marker).is_file():
                raise
        sync_directory(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _remove_unfinished(target.parent)


def _remove_unfinished(folder: Path) -> None:
    """Remove what killed writers left; an hour keeps clear of those still at work."""
    for left in folder.glob(f"{UNFINISHED}*"):
        try:
            if time.time() - left.stat().st_mtime > 3600:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:  # its writer has just finished
            continue


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one step. Raises OSError."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace `path` in one step. Raises OSError."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_result(path: Path, text: str) -> None:
    """Replace a file of the results folder in one step. Raises StoreError where the disk refuses."""
    try:
        write_text(path, text)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error that says what to do about results that cannot be written."""
    reason = error.strerror or str(error)
    return StoreError(f"{path}: cannot be written ({reason}); make room or choose another --results")


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote; None if it is absent, or damaged from outside."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sync_tree(directory: Path) -> None:
    """Bring everything below `directory` to disk.

    Where the system can sync all at once it does: one fsync per file takes minutes for 20,000 of them.
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
