"""Files and folders that are complete or absent, also after a crash or a power cut.

What must never be half-written is written here: under a temporary name in the same folder, synced to disk,
then renamed. A killed writer leaves only the temporary name, which nobody reads.
"""

from __future__ import annotations

import hashlib
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
"""The beginning of a temporary folder's name."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write into, which replaces `path` when the block ends without an error.

    A reader sees either the old content or the new. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with synced(temporary) as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


@contextmanager
def synced(path: Path) -> Iterator[IO[bytes]]:
    """Give a new file to write into, which is on disk when the block ends. Raises OSError."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def new_directory(target: Path, marker: str) -> Iterator[Path]:
    """Give a folder to fill, which becomes `target` when the block ends without an error.

    Of two writers the first one wins: if `target` contains the file `marker` by then, it stays. Folders that
    killed writers left are removed. Raises OSError.
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
    """Remove the folders of killed writers. Younger than an hour, they may belong to a running one."""
    for unfinished in folder.glob(f"{UNFINISHED}*"):
        try:
            if time.time() - unfinished.stat().st_mtime > 3600:
                shutil.rmtree(unfinished, ignore_errors=True)
        except FileNotFoundError:  # its writer has just renamed it
            continue


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one step. Raises OSError."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace `path` in one step. Raises OSError."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_result(path: Path, text: str) -> None:
    """Replace a file of the results folder in one step. Raises StoreError if it cannot be written."""
    try:
        write_text(path, text)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error that says what to do about results that cannot be written."""
    reason = error.strerror or str(error)
    return StoreError(f"{path}: cannot be written ({reason}); make room or choose another --results")


def read_json(path: Path) -> dict[str, Any] | None:
    """The object that `write_json` wrote; None if the file is absent or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sync_tree(directory: Path) -> None:
    """Sync everything below `directory` to disk.

    Syncs the whole system if that is possible, because one fsync per file takes minutes for 20,000 files.
    """
    if hasattr(os, "sync"):
        os.sync()
        return
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Sync to disk which names `directory` contains, so that a rename survives a power cut."""
    if os.name == "nt":  # Windows cannot open a directory, and does not need it
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
