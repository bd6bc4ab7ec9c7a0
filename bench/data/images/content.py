"""Keys of the image store: which files a data set lists, and what these files contain.

Hashing every file at every start would take as long as reading the data set. So there are two keys: the
listing key needs only the size and the times of each file, the content key hashes the files. The store
remembers which listing has which content, and the values that its 16-bit files and DICOM files without a
window hold, from which their range follows: what a value looks like depends on all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.data.images.decode import REVISION, check_array, extent, pixel_digest
from bench.data.images.parallel import each, in_order
from bench.data.images.ranges import DICOM, WHOLE, WIDE, Extent, Extents, merged, ranges_of
from bench.errors import DataError, encodable
from bench.identity import digest
from bench.interfaces.dataset import Sample
from bench.interfaces.executor import Progress, Report

BATCH = 4  # images per call of a thread: as many grey ones as `resize_all` resizes together


@dataclass(frozen=True)
class DecodeTask:
    """One data set whose pixels are needed."""

    dataset: str
    samples: Sequence[Sample]
    root: Path  # of all data sets
    threads: int
    report: Report

    def report_progress(self, stage: str, done: int) -> None:
        total = len(self.samples)
        if done % 50 == 0 or done == total:
            self.report(Progress(unit=self.dataset, stage=stage, done=done, total=total))


class Content(NamedTuple):
    """What the files of a data set contain."""

    key: str  # of their ids and sha256
    extents: Extents  # of the files whose range the data set decides

    def pixels_key(self, bits: int) -> str:
        """Key of the decoded pixels: with another range, the same files give others. Where every value of 16
        bits is used, it is the key of the files, as it was before ranges were found."""
        ranges = ranges_of(self.extents, bits)
        decisive = {
            "bits": ranges.bits if WIDE in self.extents and ranges.bits != WHOLE.bits else None,
            "dicom": self.extents.get(DICOM),
        }
        known = {name: value for name, value in decisive.items() if value is not None}
        return digest([self.key, known])[:16] if known else self.key


def listing_key(task: DecodeTask) -> str:
    """Key of the files as the folder lists them: path, size and times. No file is opened."""
    root = f"{task.root.as_posix()}/"
    return digest([REVISION, [_listed(sample, root) for sample in task.samples]])[:16]


def _listed(sample: Sample, root: str) -> list[str | int]:
    if sample.array is not None:
        return [sample.id, _array_identity(sample)]
    path = path_of_sample(sample)
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    relative = path.as_posix().removeprefix(root)  # Path.relative_to takes ten times as long
    # The time when the inode changed is needed too: rsync and unzip give a new file the date of the old one.
    return [sample.id, encodable(relative), status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def read_content(task: DecodeTask) -> Content:
    """What the files contain. Reads every file, and decodes those whose range the data set decides; raises
    DataError, or ConfigError where what reads a format is not installed."""
    task.report_progress("read", 0)
    hashes: list[str] = []
    extents: list[Extent | None] = []
    for done, (sha256, values) in enumerate(in_order(each(_read), task.samples, BATCH, task.threads), 1):
        hashes.append(sha256)
        extents.append(values)
        task.report_progress("read", done)
    key = digest([REVISION, [[s.id, h] for s, h in zip(task.samples, hashes, strict=True)]])[:16]
    return Content(key, merged(extents))


def _read(sample: Sample) -> tuple[str, Extent | None]:
    """sha256 of a sample, and its values if the data set decides their range."""
    if sample.array is not None:
        return _array_identity(sample), None
    path = path_of_sample(sample)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest(), extent(path)
    except OSError as error:
        raise _unreadable(path, error) from None


def _array_identity(sample: Sample) -> str:
    assert sample.array is not None
    return sample.source or pixel_digest(check_array(sample.array, sample.id))


def path_of_sample(sample: Sample) -> Path:
    """The file of a sample that is not an array."""
    assert sample.path is not None  # `check_index` has refused a sample with neither path nor array
    return sample.path


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: cannot be read ({error.strerror}); fetch the data set again, or mend its index"
    )


def changed_while_read(task: DecodeTask) -> DataError:
    """The error for files that do not have the listing key any more that they had at the start."""
    return DataError(f"{task.root}: files changed while they were read; run the command again")
