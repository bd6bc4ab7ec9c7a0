"""Keys of the image store: which files a data set lists, and what these files contain.

Hashing every file at every start would take as long as reading the data set. So there are two keys: the
listing key needs only the size and the times of each file, the content key hashes the files. The store
remembers which listing has which content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.images.decode import REVISION, check_array, pixel_digest
from bench.data.images.parallel import each, in_order
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


def content_key(task: DecodeTask) -> str:
    """Key of what the files contain: their ids and sha256. Reads every file; raises DataError."""
    task.report_progress("read", 0)
    hashes = []
    for done, sha256 in enumerate(in_order(each(_sha256), task.samples, BATCH, task.threads), 1):
        hashes.append(sha256)
        task.report_progress("read", done)
    return digest([REVISION, [[s.id, h] for s, h in zip(task.samples, hashes, strict=True)]])[:16]


def _sha256(sample: Sample) -> str:
    if sample.array is not None:
        return _array_identity(sample)
    path = path_of_sample(sample)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
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
