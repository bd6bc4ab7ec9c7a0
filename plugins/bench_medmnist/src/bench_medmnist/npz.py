"""Arrays of an npz file without holding them in memory.

A compressed member cannot be mapped, so it is copied once, in pieces, to a file beside the npz:

    breastmnist_224.train_images.<crc32>-<bytes>.npy

Checksum and size come from the npz's own directory, so a replaced npz means other files. A copy is written
to a hidden `.part` file under a lock, checked against the checksum, and renamed when all is on disk.
"""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
from filelock import FileLock

from bench import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read(npz: Path, name: str) -> NDArray[Any]:
    """A small member, in memory. Raises DataError if the file is damaged or has no such member."""
    _entry(npz, name)
    try:
        with np.load(npz, allow_pickle=False) as arrays:
            array: NDArray[Any] = arrays[name]
    except (BadZipFile, zlib.error, ValueError, EOFError) as error:
        raise _damaged(npz, error) from None
    return array


def mapped(npz: Path, name: str) -> tuple[NDArray[Any], str]:
    """A member as a read-only map of its copy on disk, and what identifies its content.

    Raises DataError if the file is damaged, or no copy can be written beside it.
    """
    entry = _entry(npz, name)
    stamp = f"{entry.CRC:08x}-{entry.file_size}"
    copy = npz.with_name(f"{npz.stem}.{name}.{stamp}.npy")
    if not _is_whole(copy, entry):
        _unpack(npz, entry, copy)
    try:
        array = np.load(copy, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise _damaged(npz, error) from None
    return np.asarray(array), f"{npz.name}:{name}:{stamp}"  # rows of a plain view are cheaper than a memmap's


def _entry(npz: Path, name: str) -> ZipInfo:
    try:
        with ZipFile(npz) as archive:
            return archive.getinfo(f"{name}.npy")
    except KeyError:
        raise DataError(f"{npz}: holds no array {name}; fetch the official file again") from None
    except (BadZipFile, OSError) as error:
        raise _damaged(npz, error) from None


def _is_whole(copy: Path, entry: ZipInfo) -> bool:
    return copy.is_file() and copy.stat().st_size == entry.file_size


def _unpack(npz: Path, entry: ZipInfo, copy: Path) -> None:
    part = copy.with_name(f".{copy.name}.part")
    try:
        with FileLock(copy.with_name(f".{copy.name}.lock")):
            if _is_whole(copy, entry):  # another process was first
                return
            try:
                with ZipFile(npz) as archive, archive.open(entry) as packed, part.open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)  # the end of `packed` checks its CRC
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(part, copy)
            finally:
                part.unlink(missing_ok=True)
    except (BadZipFile, zlib.error, EOFError) as error:
        raise _damaged(npz, error) from None
    except OSError as error:
        raise DataError(
            f"{npz}: cannot be unpacked beside it ({error.strerror or error}); it takes "
            f"{entry.file_size:,} bytes there: free some space, or put the file where you may write"
        ) from None


def _damaged(npz: Path, error: Exception) -> DataError:
    return DataError(f"{npz}: is not a whole npz file ({error}); fetch it again")
