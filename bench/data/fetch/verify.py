"""A data set on disk against what it should be: counts, every image decoded, archives, unpacked files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.data.fetch.download import file_digest
from bench.data.fetch.fetch import class_counts
from bench.data.fetch.local_state import byte_progress, is_unfinished, missing_files, read_record
from bench.data.images.index import check_index
from bench.data.images.parallel import each, in_order
from bench.data.images.unreadable import FRAMES, KIND, Look, look_at, may_be_left_out
from bench.errors import DataError
from bench.interfaces.dataset import Dataset, Index
from bench.interfaces.executor import Progress, Report


@dataclass(frozen=True)
class Verification:
    """The state of a data set on disk."""

    index: Index
    counts: Mapping[str, tuple[int, int]]  # class -> images there, images expected: see `class_counts`
    unreadable: tuple[str, ...]  # what is wrong with each image that cannot be decoded; names the file
    archives: Mapping[str, str]  # archives that are still there -> what is wrong with them, or ""
    missing: tuple[str, ...]  # files that came out of an archive and are gone, or have another size
    faults: tuple[str, ...]  # contradictions of the index, an interrupted fetch
    left_out: tuple[
        str, ...
    ] = ()  # like `unreadable`, of images that a study with --on-bad-image skip leaves out
    passed_over: Mapping[str, int] = field(
        default_factory=dict
    )  # kind -> files, or frames, that are no images

    @property
    def problems(self) -> list[str]:
        """One phrase for each kind of thing that is wrong; empty if all is well."""
        differing = sum(present != expected for present, expected in self.counts.values())
        problems = [
            (differing, "class counts differ from the expected version", "class count differs"),
            (len(self.unreadable), "images cannot be read", "image cannot be read"),
            (sum(map(bool, self.archives.values())), "archives are damaged", "archive is damaged"),
            (len(self.missing), "unpacked files are gone or cut short", "unpacked file is gone or cut short"),
            (len(self.faults), "further faults", "further fault"),
        ]
        return [f"{n} {one if n == 1 else many}" for n, many, one in problems if n]


def verify_dataset(
    dataset: Dataset, params: Any, root: Path, threads: int, report: Report, *, skip: bool = False
) -> Verification:
    """Look at all of a data set. With `skip`, images that cannot be decoded are no fault where a study may
    leave them out. Raises DataNotFound if it is not there, DataError if it has no index."""
    index = dataset.index(root, params)
    faults = []
    try:
        check_index(index, dataset.name)
    except DataError as error:
        faults.append(str(error))
    folder = root / dataset.name
    if is_unfinished(folder):
        faults.append(f"{folder}: a fetch was interrupted here; `bench data fetch {dataset.name}` goes on")
    looks = list(_looks(dataset.name, index, threads, report))
    faulty = {s.id: look.fault for s, look in zip(index.samples, looks, strict=True) if look.fault}
    too_many = may_be_left_out(dataset.name, index.samples, faulty) if skip else ""
    if too_many:
        faults.append(too_many)
    leave_out = skip and not too_many
    left_out = tuple(faulty.values()) if leave_out else ()
    unreadable = () if leave_out else tuple(faulty.values())
    damages: dict[str, str] = {}
    missing: list[str] = []
    for archive in dataset.archives(params):
        record = read_record(folder, archive) or {}
        missing += missing_files(folder, record)
        recorded = str(record.get("checksum", "")) or ("" if archive.rebuilt else archive.checksum.lower())
        if recorded and (folder / archive.name).is_file():
            on_progress = byte_progress(report, dataset.name, f"check {archive.name}")
            actual = file_digest(folder / archive.name, recorded.partition(":")[0], on_progress)
            damages[archive.name] = "" if actual == recorded else f"has {actual}, recorded was {recorded}"
    counts = class_counts(index, dataset)
    frames = sum(look.frames - 1 for look in looks)
    passed_over = {
        **index.passed_over,
        **({FRAMES: frames} if frames else {}),
        **({KIND: len(left_out)} if left_out else {}),
    }
    return Verification(
        index=index,
        counts=counts,
        unreadable=unreadable,
        archives=damages,
        missing=tuple(missing),
        faults=tuple(faults),
        left_out=left_out,
        passed_over=passed_over,
    )


def _looks(name: str, index: Index, threads: int, report: Report) -> Iterator[Look]:
    """What decoding each image shows."""
    total = len(index.samples)
    report(Progress(unit=name, stage="decode", done=0, total=total))
    for done, look in enumerate(in_order(each(look_at), index.samples, 4, threads), 1):
        yield look
        if done % 50 == 0 or done == total:
            report(Progress(unit=name, stage="decode", done=done, total=total))
