"""Images of a data set, decoded once into uint8 memory maps that concurrent runs share.

    scratch/images/<data set>/<key>/<short side>/pixels.u8    images after one another, each (C, h, w)
                                                 index.json   ids, sha256 of the original pixels, shapes

`key` names the source files by path, size and time of change, so a changed file means another folder.
Every short side has a folder of its own: one more is added without touching the others. A build holds the
lock of its key, writes to `.building` and renames when all is on disk; whatever stands in `.building`
while the lock is free was left by a killed build and goes. Labels, groups and parts are not stored: they
come from the data set's index each time, so a corrected label needs no decoding.

Decoding runs in threads: Pillow leaves the interpreter lock while it decodes and resizes, which on real
images was faster than processes (1.9 against 1.5 times one thread on two cores) and needs no second import.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.data.pixels import REVISION, check_array, pixel_digest, read_image, resize
from bench.errors import DataError
from bench.spec import digest
from bench.types import Dataset, Index, Progress, Report, Sample, Workplace

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Images", "View", "prepare", "read_image"]

PARTS = ("train", "val", "test")


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


@dataclass(frozen=True, eq=False)
class Images:
    """A data set whose pixels are at hand. All sequences are of length N and in the index's order."""

    dataset: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: NDArray[np.int64]  # (N,) indices into classes
    groups: tuple[str, ...]  # never empty: an image without a group is a group of its own
    parts: tuple[str, ...]  # "train", "val", "test", or "" where the data set does not say
    sha256: tuple[str, ...]  # of the decoded pixels at full resolution
    version: str
    views: Mapping[int, View]

    def __len__(self) -> int:
        return len(self.ids)

    def view(self, short: int) -> View:
        """The images with their short side at `short` pixels, one of those `prepare` was asked for."""
        return self.views[short]

    @cached_property
    def content(self) -> str:
        """sha256 (hex) of what the data set is: its (id, pixels, label, group), in any order."""
        names = (self.classes[label] for label in self.labels)
        return digest(sorted(map(list, zip(self.ids, self.sha256, names, self.groups, strict=True))))


def prepare(
    dataset: Dataset, params: Any, workplace: Workplace, shorts: Sequence[int], report: Report
) -> Images:
    """The images of `dataset`, with a view for every short side; decodes what is not stored yet.

    Raises DataNotFound if the data set is not there, DataError if its index or a file cannot be used.
    """
    index = dataset.index(workplace.data, params)
    check_index(index, dataset.name)
    key = _source_key(index.samples, workplace.data)
    store = workplace.scratch / "images" / dataset.name / key
    found = {short: _read(store / str(short)) for short in sorted(set(shorts))}
    if not all(found.values()):
        work = Work(dataset.name, report, workplace.threads)
        _build(store, index.samples, workplace.data, list(found), work)
        found = {short: _read(store / str(short)) for short in found}
    stored = {short: entry for short, entry in found.items() if entry is not None}
    if len(stored) < len(found) or not stored:
        raise DataError(f"{store}: was removed while it was read; run the command again")
    number = {name: i for i, name in enumerate(index.classes)}
    return Images(
        dataset=dataset.name,
        classes=index.classes,
        ids=tuple(s.id for s in index.samples),
        labels=np.array([number[s.label] for s in index.samples], dtype=np.int64),
        groups=_groups(index.samples),
        parts=tuple(s.part for s in index.samples),
        sha256=next(iter(stored.values()))[0],
        version=index.version,
        views={short: view for short, (_, view) in stored.items()},
    )


def _groups(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Group names, a lone image's made of its id and unlike any other group's."""
    taken = {s.group for s in samples}

    def alone(name: str) -> str:
        while name in taken:
            name = f"{name} (alone)"
        return name

    return tuple(s.group or alone(s.id) for s in samples)


# --- the index ---------------------------------------------------------------------------------------


def check_index(index: Index, name: str) -> None:
    """Raise DataError, with the first few offenders, if a data set's index contradicts itself."""
    if not index.samples:
        raise DataError(f"{name}: no images were found; check the data root and the layout of its folders")
    times = Counter(s.id for s in index.samples)
    faults = {
        "have an id that another image has too": [i for i, count in times.items() if count > 1],
        f"have a label that is not among the classes {', '.join(index.classes)}": [
            f"{s.id} ({s.label})" for s in index.samples if s.label not in index.classes
        ],
        "have not exactly one of path and array": [
            s.id for s in index.samples if (s.path is None) == (s.array is None)
        ],
        f"have a part other than {', '.join(PARTS)}": [
            f"{s.id} ({s.part})" for s in index.samples if s.part and s.part not in PARTS
        ],
    }
    for fault, offenders in faults.items():
        if offenders:
            raise DataError(
                f"{name}: {len(offenders)} images {fault}: {first_few(offenders)}; mend the index"
            )
    if empty := set(index.classes) - {s.label for s in index.samples}:
        raise DataError(
            f"{name}: no image of class {', '.join(sorted(empty))}; complete the data set, "
            "or remove the class (an empty folder?)"
        )


def first_few(items: Sequence[str], limit: int = 5) -> str:
    return ", ".join(items[:limit]) + (f" and {len(items) - limit} more" if len(items) > limit else "")


def _source_key(samples: Sequence[Sample], root: Path) -> str:
    return digest([REVISION, [_source(s, root) for s in samples]])[:16]


def _source(sample: Sample, root: Path) -> list[str | int]:
    if sample.array is not None:
        return [sample.id, sample.source or pixel_digest(check_array(sample.array, sample.id))]
    assert sample.path is not None  # check_index saw to it
    path = sample.path
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); fetch the data set again, or mend its index"
        ) from None
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    return [sample.id, inside.as_posix(), status.st_size, status.st_mtime_ns]


@dataclass(frozen=True)
class Work:
    """Decoding of one data set: who hears of it, and in how many threads."""

    dataset: str
    report: Report
    threads: int

    def tell(self, done: int, total: int) -> None:
        self.report(Progress(unit=self.dataset, stage="decode", done=done, total=total))


# --- the store ---------------------------------------------------------------------------------------


def _read(folder: Path) -> tuple[tuple[str, ...], View] | None:
    """The sha256 of every image and their view; None if nothing whole is there."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        pixels = np.memmap(folder / "pixels.u8", dtype=np.uint8, mode="r")
    except (OSError, ValueError):  # absent, or damaged from outside: built again
        return None
    view = View(pixels, tuple((c, h, w) for c, h, w in index["shapes"]))
    return (tuple(index["sha256"]), view) if len(pixels) == view.offsets[-1] else None


def _build(store: Path, samples: Sequence[Sample], root: Path, shorts: Sequence[int], work: Work) -> None:
    """Add the short sides that are not there. Concurrent builders of one key take turns."""
    from filelock import FileLock

    building = store / ".building"
    try:
        store.mkdir(parents=True, exist_ok=True)
        with FileLock(store / ".lock"), _removed(building):
            missing = [short for short in shorts if _read(store / str(short)) is None]
            if missing:
                _write(building, samples, missing, work)
                if _source_key(samples, root) != store.name:
                    raise DataError(f"{root}: files changed while they were read; run the command again")
            for short in missing:
                shutil.rmtree(store / str(short), ignore_errors=True)  # only ever a damaged one
                os.rename(building / str(short), store / str(short))
    except OSError as error:
        raise DataError(
            f"{store}: images cannot be stored ({error.strerror or error}); free some space there, "
            "or choose another results folder"
        ) from None


@contextlib.contextmanager
def _removed(folder: Path) -> Iterator[None]:
    """No `folder` before, none after."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(building: Path, samples: Sequence[Sample], shorts: Sequence[int], work: Work) -> None:
    sha256: list[str] = []
    shapes: dict[int, list[tuple[int, ...]]] = {short: [] for short in shorts}
    with contextlib.ExitStack() as stack:
        files = {}
        for short in shorts:
            (building / str(short)).mkdir(parents=True)
            files[short] = stack.enter_context((building / str(short) / "pixels.u8").open("wb"))
        work.tell(0, len(samples))
        for done, (sha, copies) in enumerate(_decoded(samples, shorts, work.threads), 1):
            sha256.append(sha)
            for short, copy in zip(shorts, copies, strict=True):
                files[short].write(copy.data)
                shapes[short].append(copy.shape)
            if done % 50 == 0 or done == len(samples):
                work.tell(done, len(samples))
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    for short in shorts:
        index = {"ids": [s.id for s in samples], "sha256": sha256, "shapes": shapes[short]}
        with (building / str(short) / "index.json").open("w", encoding="utf-8") as text:
            json.dump(index, text)
            text.flush()
            os.fsync(text.fileno())


Decoded = tuple[str, list["NDArray[np.uint8]"]]


def _decode(sample: Sample, shorts: Sequence[int]) -> Decoded:
    if sample.array is not None:
        pixels = check_array(sample.array, sample.id)
    else:
        assert sample.path is not None
        pixels = read_image(sample.path)
    return pixel_digest(pixels), [resize(pixels, short) for short in shorts]


def _decoded(samples: Sequence[Sample], shorts: Sequence[int], workers: int) -> Iterator[Decoded]:
    """Decode in order, a few images ahead of the writer, so that memory stays flat."""
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[Decoded]] = deque()
        try:
            for sample in samples:
                ahead.append(pool.submit(_decode, sample, shorts))
                if len(ahead) > 4 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
