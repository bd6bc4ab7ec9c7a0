"""Folders and files that become part of a results folder: each is whole or absent, and what is there stays.

Several processes may do this to one folder at once: the first one's unit stays.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.errors import StoreError
from bench.files import cannot_write, remove_leftovers, replacing, sync_directory, temporary_beside
from bench.results import store
from bench.results.artefacts import LEFT_OUT

_CHUNK = 1 << 20
_BATCH = 500  # units that are synced together
_FEW = 100  # units that are synced file by file


class Copy(NamedTuple):
    """A folder or file that becomes part of the target."""

    source: Path
    target: Path
    names: tuple[str, ...]  # of the files; none for a file
    sha256: tuple[str, ...] = ()
    replaces: bool = False  # what is damaged in its place, which is set aside


def copy_into(target: Path, foundations: Collection[Copy], units: Collection[Copy]) -> None:
    """Copy what was planned to the results folder `target`, `foundations` before what cites them. Raises
    StoreError where the disk refuses, or a source changed since."""
    try:
        for folder in {copy.target.parent for copy in (*foundations, *units)}:
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
        for copy in foundations:
            _copy_file(copy)
        folders = [copy for copy in units if copy.names]
        for start in range(0, len(folders), _BATCH):
            _copy_folders(folders[start : start + _BATCH], target)
        for copy in units:
            if not copy.names:
                _copy_file(copy)
                Path(f"{copy.target}{LEFT_OUT}").unlink(missing_ok=True)
        _forget_failures(units, target)
    except OSError as error:
        raise cannot_write(target, error) from error


def _copy_file(copy: Copy) -> None:
    with replacing(copy.target) as file:
        _require(copy.source, _copied(copy.source, file.write), copy.sha256[0])


def _copy_folders(copies: Sequence[Copy], target: Path) -> None:
    """Several units: all are written and synced, then each becomes whole by a rename."""
    temporaries: list[tuple[Path, Copy]] = []
    at_once = hasattr(os, "sync") and len(copies) > _FEW  # it writes out what other programs wrote, too
    try:
        for copy in copies:
            temporary = temporary_beside(copy.target)
            temporary.mkdir(parents=True)
            temporaries.append((temporary, copy))
            for number, name in enumerate(copy.names):
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                with (temporary / name).open("wb") as file:
                    sha256 = _copied(copy.source / name, file.write)
                    if not at_once:
                        file.flush()
                        os.fsync(file.fileno())
                _require(copy.source / name, sha256, copy.sha256[number] if copy.sha256 else "")
        if at_once:
            os.sync()
        for temporary, copy in temporaries:
            if copy.replaces and not store.is_whole(copy.target):  # nobody has mended it since
                store.move_aside(target, copy.target)
            _rename(temporary, copy)
        for folder in {copy.target.parent for copy in copies}:
            sync_directory(folder)
    finally:
        for temporary, _ in temporaries:
            shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: Path, copy: Copy) -> None:
    try:
        temporary.rename(copy.target)
    except OSError:
        if not (copy.target / copy.names[0]).is_file():  # another process was first
            raise


def _forget_failures(units: Iterable[Copy], target: Path) -> None:
    """Failures of the target that its new units supersede."""
    for copy in units:
        if copy.names and copy.target.parent.parent.name in ("pretrain", "runs"):
            failure = target / "failures" / copy.target.parent.name / copy.target.name
            shutil.rmtree(failure, ignore_errors=True)


def _copied(source: Path, write: Callable[[bytes], object]) -> str:
    sha256 = hashlib.sha256()
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            write(chunk)
    return sha256.hexdigest()


def _require(source: Path, actual: str, stated: str) -> None:
    if stated and actual != stated:
        raise StoreError(f"{source}: was changed while it was merged; run the same command again")
