"""Files and folders that are complete or absent, also after a crash or a power cut.

What must never be half-written is written here: under a temporary name in the same folder, synced to disk,
then renamed. A killed writer leaves only the temporary name, which nobody reads. It says whose it is
(.writing-HOST-PID-...), so that the next run can remove it (`remove_leftovers`).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bench.errors import StoreError

_UNFINISHED = re.compile(r"\.writing-(?P<host>.*)-(?P<pid>\d+)-[0-9a-f]{32}")
_AT_WORK = 60.0  # seconds for which a temporary file is left alone, whoever wrote it
_GONE = 24 * 3600.0  # seconds after which the writer on another machine is taken to be gone


def temporary_beside(path: Path) -> Path:
    """A new name in the folder of `path`, for what will be renamed to it."""
    return path.with_name(f".writing-{host_name()}-{os.getpid()}-{uuid.uuid4().hex}")


def host_name() -> str:
    """The name of this machine, as file names carry it."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", platform.node())[:60] or "_"


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders in `folder` whose writers are gone."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        unfinished = [(e.path, m) for e in entries if (m := _UNFINISHED.fullmatch(e.name))]
    for name, written in unfinished:
        path = Path(name)
        try:
            age = time.time() - path.stat().st_mtime
        except OSError:  # its writer has just renamed it
            continue
        here = written["host"] == host_name()
        if age > _GONE or (here and age > _AT_WORK and not is_running(int(written["pid"]))):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def is_running(pid: int) -> bool:
    """Whether this machine has a process of this number that has not ended: one may be left until its parent
    takes note of its end."""
    if os.name == "nt":  # there os.kill would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return psutil.pid_exists(pid)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write into, which replaces `path` when the block ends without an error.

    A reader sees either the old content or the new. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
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

    Of two writers the first one wins: if `target` contains the file `marker` by then, it stays. Raises
    OSError.
    """
    temporary = temporary_beside(target)
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
