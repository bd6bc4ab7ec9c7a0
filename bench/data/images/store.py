"""Every image of a data set decoded once, into uint8 memory maps that concurrent runs share.

    scratch/images/<data set>/<pixels key>/<short side>/pixels.u8     images in sequence, each (C, h, w)
                                                        index.json    ids, sha256 of original pixels, shapes,
                                                                      sha256 of pixels.u8
                                                        checked.json  its size and time when that was checked
                              .sources/<listing key>.json             the content key of these files, and the
                                                                      values of those of unknown range

A folder is named by what the files contain and how their values are shown (`content.Content.pixels_key`): a
changed file or another range leads to another folder, and a copied or touched file does not. Every short side
has a folder of its own: one more is added without touching the others. A build holds the lock of its content
key, writes to `.building`, and renames when all is on disk. A `.building` whose lock is free was left by a
killed build; the next build removes it.

Stored pixels are hashed while they are written, and again before they are used if the file's size or time is
not what it was when they were last hashed. Pixels that were altered are decoded again, with a warning.

Decoding runs in threads: Pillow releases the interpreter lock while it decodes and resizes, so two threads do
1.9 times the work of one on two cores, and need no second import. `python -m benchmarks.store` measures it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.data.images.content import (
    BATCH,
    Content,
    DecodeTask,
    changed_while_read,
    listing_key,
    path_of_sample,
    read_content,
)
from bench.data.images.decode import check_array, decode, pixel_digest, resize_all
from bench.data.images.parallel import in_order
from bench.data.images.ranges import WIDE, Ranges, ranges_of
from bench.data.images.view import Original, View
from bench.errors import DataError, describe
from bench.files import read_json, sha256_of, sync_directory, write_json
from bench.interfaces.dataset import Sample
from bench.interfaces.executor import Environment, Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger("bench")

_BUFFER = 1 << 20  # bytes per write: few large writes take half the time of many small ones


class StoredPixels(NamedTuple):
    """The pixels of one data set. All sequences are of length N and in the order of its index."""

    sha256: tuple[str, ...]  # of the decoded pixels at full resolution
    originals: tuple[Original, ...]
    views: Mapping[int, View]  # by short side
    bits: int | None  # of the values in 16-bit files; None if there are no such files
    dicom: tuple[float, float] | None = None  # black and white of DICOM files without a window, if any


def open_views(
    dataset: str,
    samples: Sequence[Sample],
    environment: Environment,
    shorts: Sequence[int],
    report: Report,
    bits: int = 0,
) -> StoredPixels:
    """The pixels of `samples` with a view for every short side; decodes what is not stored yet.

    `bits` of the values in 16-bit files; 0: found from them. Raises DataError if a file cannot be used, or
    the store cannot be written; ConfigError where what reads a format is not installed.
    """
    task = DecodeTask(dataset, samples, environment.data, environment.threads, report)
    root = environment.scratch / "images" / dataset
    listing = listing_key(task)
    content = _remembered_content(task, root / ".sources" / f"{listing}.json")
    ranges = ranges_of(content.extents, bits)
    folder = root / content.pixels_key(bits)
    sides = {short: _read_side(folder / str(short)) for short in sorted(set(shorts))}
    if not all(sides.values()):
        _build(folder, list(sides), task, ranges, listing)
        sides = {short: _read_side(folder / str(short)) for short in sides}
    stored = {short: side for short, side in sides.items() if side is not None}
    if len(stored) < len(sides) or not stored:
        raise DataError(f"{folder}: was removed while it was read; run the command again")
    first = next(iter(stored.values()))
    views = {short: side.view for short, side in stored.items()}
    return StoredPixels(
        first.sha256,
        first.originals,
        views,
        ranges.bits if WIDE in content.extents else None,
        ranges.dicom,
    )


def _remembered_content(task: DecodeTask, memory: Path) -> Content:
    """What the files contain, from the file `memory` if files with this listing key have been read before."""
    known = read_json(memory) or {}
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):  # of before ranges, or damaged
        extents = {kind: (low, high) for kind, (low, high) in known["values"].items()}
        return Content(str(known["content"]), extents)
    content = read_content(task)
    if listing_key(task) != memory.stem:
        raise changed_while_read(task)
    with _storing(memory.parent):
        write_json(memory, {"content": content.key, "values": content.extents})
    return content


# --- reading -----------------------------------------------------------------------------------------


class _StoredSide(NamedTuple):
    """A data set at one short side."""

    sha256: tuple[str, ...]
    originals: tuple[Original, ...]
    view: View


def _read_side(folder: Path) -> _StoredSide | None:
    """What `folder` stores; None if it is absent or damaged."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        pixels = np.memmap(folder / "pixels.u8", dtype=np.uint8, mode="r")
        view = View(pixels, tuple((c, h, w) for c, h, w in index["shapes"]))
        originals = tuple(_original(sizes) for sizes in index["originals"])
    except (OSError, ValueError, KeyError, TypeError):  # absent, or damaged from outside: built again
        return None
    if len(pixels) != view.offsets[-1]:
        return None
    if not _unaltered(folder, index.get("pixels_sha256")):
        log.warning("%s: stored pixels were altered; the images are decoded again", folder)
        return None
    return _StoredSide(tuple(index["sha256"]), originals, view)


def _original(sizes: Sequence[int]) -> Original:
    """Raises ValueError for what an older version stored, which did not count frames."""
    if len(sizes) != len(Original._fields):
        raise ValueError(f"{len(sizes)} values of an original")
    return Original(*sizes)


def _unaltered(folder: Path, sha256: str | None) -> bool:
    """Whether the pixels have their checksum. They are read only if the file may have changed since it was
    last looked at. True for a store of before checksums."""
    file = folder / "pixels.u8"
    if sha256 is None or read_json(folder / "checked.json") == _stamp(file):
        return True
    if sha256_of(file) != sha256:
        return False
    with contextlib.suppress(OSError):  # a folder that cannot be written to is hashed each time
        write_json(folder / "checked.json", _stamp(file))
    return True


def _stamp(file: Path) -> dict[str, int]:
    status = file.stat()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def check_stored(folder: Path) -> str | None:
    """What is wrong with the pixels stored in the folder of one short side, as a phrase; "" if nothing, None
    if they were stored before checksums were. Reads all of them."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        size = sum(c * h * w for c, h, w in index["shapes"])
        stated = index.get("pixels_sha256")
        file = folder / "pixels.u8"
        if file.stat().st_size != size:
            return f"pixels.u8 has {file.stat().st_size} bytes, {size} were stored"
        if stated is None:
            return None
        return "" if sha256_of(file) == stated else "stored pixels were altered (their sha256 differs)"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"cannot be read ({describe(error)})"


# --- building ----------------------------------------------------------------------------------------


def _build(folder: Path, shorts: Sequence[int], task: DecodeTask, ranges: Ranges, listing: str) -> None:
    """Add the short sides that are missing. Concurrent builders of one content key take turns."""
    building = folder / ".building"
    with _storing(folder), _locked(folder, task), _temporary(building):
        missing = [short for short in shorts if _read_side(folder / str(short)) is None]
        if not missing:
            return
        _write(building, missing, task, ranges)
        if listing_key(task) != listing:
            raise changed_while_read(task)
        for short in missing:
            shutil.rmtree(folder / str(short), ignore_errors=True)  # exists only if it was damaged
            os.rename(building / str(short), folder / str(short))
        sync_directory(folder)


@contextlib.contextmanager
def _storing(folder: Path) -> Iterator[None]:
    """Make `folder`; an OSError within the block becomes a DataError that says what to do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise DataError(
            f"{folder}: images cannot be stored ({error.strerror or error}); free some space there, "
            "or choose another results folder"
        ) from None


@contextlib.contextmanager
def _locked(folder: Path, task: DecodeTask) -> Iterator[None]:
    """Hold the lock of a content key; a run that has to wait for it reports so."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        task.report_progress("wait for another run to decode", 0)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    """Remove `folder` before and after the block."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(building: Path, shorts: Sequence[int], task: DecodeTask, ranges: Ranges) -> None:
    """Decode everything into one folder per short side, synced to disk."""
    sha256: list[str] = []
    originals: list[Original] = []
    shapes: dict[int, list[tuple[int, ...]]] = {short: [] for short in shorts}
    checksums = {short: hashlib.sha256() for short in shorts}
    with contextlib.ExitStack() as stack:
        files = {}
        for short in shorts:
            (building / str(short)).mkdir(parents=True)
            files[short] = stack.enter_context((building / str(short) / "pixels.u8").open("wb", _BUFFER))
        task.report_progress("decode", 0)
        decode_batch = partial(_decode_samples, shorts=shorts, ranges=ranges)
        decoded = in_order(decode_batch, task.samples, BATCH, task.threads)
        for done, (sha, original, copies) in enumerate(decoded, 1):
            sha256.append(sha)
            originals.append(original)
            for short, copy in zip(shorts, copies, strict=True):
                files[short].write(copy.data)
                checksums[short].update(copy.data)
                shapes[short].append(copy.shape)
            task.report_progress("decode", done)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    ids = [sample.id for sample in task.samples]
    for short in shorts:
        index = {
            "ids": ids,
            "sha256": sha256,
            "originals": originals,
            "shapes": shapes[short],
            "pixels_sha256": checksums[short].hexdigest(),
        }
        write_json(building / str(short) / "checked.json", _stamp(building / str(short) / "pixels.u8"))
        with (building / str(short) / "index.json").open("w", encoding="utf-8") as text:
            text.write(json.dumps(index))  # json.dump takes six times as long
            text.flush()
            os.fsync(text.fileno())
        sync_directory(building / str(short))


class _DecodedSample(NamedTuple):
    """One image, ready to be stored."""

    sha256: str
    original: Original
    copies: tuple[NDArray[np.uint8], ...]  # (C, h, w), one per short side


def _decode_samples(samples: Sequence[Sample], shorts: Sequence[int], ranges: Ranges) -> list[_DecodedSample]:
    """Decode images and resize each to every short side. Raises DataError."""
    pixels, originals = zip(*(_decode(sample, ranges) for sample in samples), strict=True)
    copies = resize_all(pixels, shorts)
    return [_DecodedSample(pixel_digest(p), o, c) for p, o, c in zip(pixels, originals, copies, strict=True)]


def _decode(sample: Sample, ranges: Ranges) -> tuple[NDArray[np.uint8], Original]:
    """The pixels of a sample at full resolution, and what its file stores."""
    if sample.array is not None:
        pixels, size, frames = check_array(sample.array, sample.id), 0, 1
        channels = 1 if sample.array.ndim == 2 else 3
    else:
        path = path_of_sample(sample)
        pixels, channels, frames = decode(path, ranges)
        size = path.stat().st_size
    return pixels, Original(pixels.shape[0], pixels.shape[1], channels, size, frames)
