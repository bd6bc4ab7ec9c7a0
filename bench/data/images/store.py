"""Every image of a data set decoded once, into uint8 memory maps that concurrent runs share.

    scratch/images/<data set>/<key>/<short side>/pixels.u8    images after one another, each (C, h, w)
                                                 index.json   ids, sha256 of the original pixels, shapes
                              .sources/<key>.json             which files, unchanged since, have which content

`key` names the content: ids and sha256 of the files. Files are hashed when their path, size or a time of
change is new; so a changed file means another folder, and a copied or touched one does not. Every short side
has a folder of its own: one more is added without touching the others. A build holds the lock of its key,
writes to `.building` and renames when all is on disk; whatever stands in `.building` while the lock is free
was left by a killed build and goes.

Decoding runs in threads: Pillow leaves the interpreter lock while it decodes and resizes, so two threads do
1.9 times the work of one on two cores, and need no second import. `python -m benchmarks.store` measures it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.data.images.decode import REVISION, check_array, decode, pixel_digest, resize_all
from bench.data.images.parallel import each, in_order
from bench.errors import DataError
from bench.files import read_json, sync_directory, write_json
from bench.identity import digest
from bench.interfaces.dataset import Sample
from bench.interfaces.executor import Environment, Progress, Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 4  # images a thread takes at once: as many greys as `resize_all` resizes together
_BUFFER = 1 << 20  # bytes to a write: few large writes take half the time of many small ones


@dataclass(frozen=True, eq=False)
class View:
    """All images at one short side, as views of a memory map."""

    pixels: NDArray[np.uint8]  # (total bytes,)
    shapes: tuple[tuple[int, int, int], ...]  # (C, h, w) an image, C = 1 (grey) or 3

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(N + 1,) where each image begins in `pixels`, and where the last one ends."""
        return np.cumsum([0, *(c * h * w for c, h, w in self.shapes)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, i: int) -> NDArray[np.uint8]:
        """uint8 (C, h, w); a read-only view, nothing is copied."""
        shape = self.shapes[i]  # raises IndexError past the end, which ends a `for`
        start = int(self.offsets[i if i >= 0 else i + len(self)])
        return self.pixels[start : start + shape[0] * shape[1] * shape[2]].reshape(shape)


class Original(NamedTuple):
    """What an image was before it was resized."""

    height: int  # pixels, as a viewer shows it
    width: int
    channels: int  # stored in the file: 1 grey or palette, 2 grey and alpha, 3, 4
    bytes: int  # of the file; 0 for an array that came without one


class Stored(NamedTuple):
    """One data set's pixels. All sequences are of length N and in the index's order."""

    sha256: tuple[str, ...]  # of the decoded pixels at full resolution
    originals: tuple[Original, ...]
    views: Mapping[int, View]  # by short side


@dataclass(frozen=True)
class _Work:
    """One data set to decode: its samples, who hears of it, and in how many threads."""

    dataset: str
    samples: Sequence[Sample]
    root: Path
    threads: int
    report: Report

    def tell(self, stage: str, done: int) -> None:
        total = len(self.samples)
        if done % 50 == 0 or done == total:
            self.report(Progress(unit=self.dataset, stage=stage, done=done, total=total))


def open_views(
    dataset: str, samples: Sequence[Sample], environment: Environment, shorts: Sequence[int], report: Report
) -> Stored:
    """The pixels of `samples` with a view for every short side; decodes what is not stored yet.

    Raises DataError if a file cannot be used, or the store not be written.
    """
    work = _Work(dataset, samples, environment.data, environment.threads, report)
    place = environment.scratch / "images" / dataset
    source = _source_key(work)
    store = place / _content_key(work, place / ".sources" / f"{source}.json")
    found = {short: _read(store / str(short)) for short in sorted(set(shorts))}
    if not all(found.values()):
        _build(store, list(found), work, source)
        found = {short: _read(store / str(short)) for short in found}
    stored = {short: entry for short, entry in found.items() if entry is not None}
    if len(stored) < len(found) or not stored:
        raise DataError(f"{store}: was removed while it was read; run the command again")
    first = next(iter(stored.values()))
    return Stored(first.sha256, first.originals, {short: entry.view for short, entry in stored.items()})


# --- keys --------------------------------------------------------------------------------------------


def _source_key(work: _Work) -> str:
    """Names the files as they lie there, without opening any."""
    root = f"{work.root.as_posix()}/"
    return digest([REVISION, [_source(s, root) for s in work.samples]])[:16]


def _source(sample: Sample, root: str) -> list[str | int]:
    if sample.array is not None:
        return [sample.id, _array_source(sample)]
    path = _path(sample)
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    inside = path.as_posix().removeprefix(root)  # Path.relative_to takes ten times as long
    # The time of change of the inode too: rsync and unzip give a new file the old one's date.
    return [sample.id, inside, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _content_key(work: _Work, known: Path) -> str:
    """Names what the files hold; taken from `known` if these very files were hashed before."""
    if key := str((read_json(known) or {}).get("content", "")):
        return key
    work.tell("read", 0)
    hashes = []
    for done, found in enumerate(in_order(each(_content), work.samples, BATCH, work.threads), 1):
        hashes.append(found)
        work.tell("read", done)
    key = digest([REVISION, [[s.id, h] for s, h in zip(work.samples, hashes, strict=True)]])[:16]
    if f"{_source_key(work)}.json" != known.name:
        raise _changed(work)
    with _storable(known.parent):
        write_json(known, {"content": key})
    return key


def _content(sample: Sample) -> str:
    if sample.array is not None:
        return _array_source(sample)
    path = _path(sample)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _array_source(sample: Sample) -> str:
    assert sample.array is not None
    return sample.source or pixel_digest(check_array(sample.array, sample.id))


def _path(sample: Sample) -> Path:
    assert sample.path is not None  # check_index saw to it
    return sample.path


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: cannot be read ({error.strerror}); fetch the data set again, or mend its index"
    )


def _changed(work: _Work) -> DataError:
    return DataError(f"{work.root}: files changed while they were read; run the command again")


# --- reading and building ----------------------------------------------------------------------------


class _Entry(NamedTuple):
    sha256: tuple[str, ...]
    originals: tuple[Original, ...]
    view: View


def _read(folder: Path) -> _Entry | None:
    """What is stored at one short side; None if nothing whole is there."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        pixels = np.memmap(folder / "pixels.u8", dtype=np.uint8, mode="r")
        view = View(pixels, tuple((c, h, w) for c, h, w in index["shapes"]))
        originals = tuple(Original(*sizes) for sizes in index["originals"])
    except (OSError, ValueError, KeyError, TypeError):  # absent, or damaged from outside: built again
        return None
    if len(pixels) != view.offsets[-1]:
        return None
    return _Entry(tuple(index["sha256"]), originals, view)


def _build(store: Path, shorts: Sequence[int], work: _Work, source: str) -> None:
    """Add the short sides that are not there. Concurrent builders of one key take turns."""
    building = store / ".building"
    with _storable(store), _locked(store, work), _removed(building):
        missing = [short for short in shorts if _read(store / str(short)) is None]
        if not missing:
            return
        _write(building, missing, work)
        if _source_key(work) != source:
            raise _changed(work)
        for short in missing:
            shutil.rmtree(store / str(short), ignore_errors=True)  # only ever a damaged one
            os.rename(building / str(short), store / str(short))
        sync_directory(store)


@contextlib.contextmanager
def _storable(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise DataError(
            f"{folder}: images cannot be stored ({error.strerror or error}); free some space there, "
            "or choose another results folder"
        ) from None


@contextlib.contextmanager
def _locked(store: Path, work: _Work) -> Iterator[None]:
    """Hold the lock of a key; whoever has to wait is told for what."""
    from filelock import FileLock, Timeout

    lock = FileLock(store / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        work.tell("wait for another run to decode", 0)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _removed(folder: Path) -> Iterator[None]:
    """No `folder` before, none after."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(building: Path, shorts: Sequence[int], work: _Work) -> None:
    """Decode everything into a folder a short side, and bring it to disk."""
    sha256: list[str] = []
    originals: list[Original] = []
    shapes: dict[int, list[tuple[int, ...]]] = {short: [] for short in shorts}
    with contextlib.ExitStack() as stack:
        files = {}
        for short in shorts:
            (building / str(short)).mkdir(parents=True)
            files[short] = stack.enter_context((building / str(short) / "pixels.u8").open("wb", _BUFFER))
        work.tell("decode", 0)
        decoded = in_order(partial(decode_samples, shorts=shorts), work.samples, BATCH, work.threads)
        for done, (sha, original, copies) in enumerate(decoded, 1):
            sha256.append(sha)
            originals.append(original)
            for short, copy in zip(shorts, copies, strict=True):
                files[short].write(copy.data)
                shapes[short].append(copy.shape)
            work.tell("decode", done)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    ids = [s.id for s in work.samples]
    for short in shorts:
        index = {"ids": ids, "sha256": sha256, "originals": originals, "shapes": shapes[short]}
        with (building / str(short) / "index.json").open("w", encoding="utf-8") as text:
            text.write(json.dumps(index))  # json.dump takes six times as long
            text.flush()
            os.fsync(text.fileno())
        sync_directory(building / str(short))


class DecodedSample(NamedTuple):
    """One image, ready to be stored."""

    sha256: str
    original: Original
    copies: tuple[NDArray[np.uint8], ...]  # (C, h, w) a short side


def decode_samples(samples: Sequence[Sample], shorts: Sequence[int]) -> list[DecodedSample]:
    """Decode images and resize each to every short side. Raises DataError."""
    pixels, originals = zip(*map(_decode, samples), strict=True)
    copies = resize_all(pixels, shorts)
    return [DecodedSample(pixel_digest(p), o, c) for p, o, c in zip(pixels, originals, copies, strict=True)]


def _decode(sample: Sample) -> tuple[NDArray[np.uint8], Original]:
    if sample.array is not None:
        pixels, size = check_array(sample.array, sample.id), 0
        channels = 1 if sample.array.ndim == 2 else 3
    else:
        pixels, channels = decode(_path(sample))
        size = _path(sample).stat().st_size
    return pixels, Original(pixels.shape[0], pixels.shape[1], channels, size)
