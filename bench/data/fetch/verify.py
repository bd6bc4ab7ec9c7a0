"""A data set on disk against what it should be: counts, every image decoded, archives, unpacked files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bench.data.fetch.download import file_digest
from bench.data.fetch.fetch import class_counts
from bench.data.fetch.local_state import byte_progress, is_unfinished, missing_files, read_record
from bench.data.images.decode import extent
from bench.data.images.index import check_index
from bench.data.images.parallel import each, in_order
from bench.data.images.ranges import WHOLE, Extent, Ranges, merged, notes_of
from bench.data.images.unreadable import look_at, may_be_left_out, with_passed_over
from bench.errors import DataError
from bench.interfaces.dataset import Dataset, Index, Sample
from bench.interfaces.executor import Progress, Report

Result = TypeVar("Result")


@dataclass(frozen=True)
class Verification:
    """The state of a data set on disk."""

    index: Index
    counts: Mapping[str, tuple[int, int]]  # class -> images there, images expected: see `class_counts`
    unreadable: tuple[str, ...]  # what is wrong with each image that cannot be decoded; names the file
    archives: Mapping[str, str]  # archives that are still there -> what is wrong with them, or ""
    missing: tuple[str, ...]  # files that came out of an archive and are gone, or have another size
    faults: tuple[str, ...]  # contradictions of the index, an interrupted fetch
    ranges: tuple[
        str, ...
    ] = ()  # which values of 16-bit files, and of DICOM files without a window, are black and white
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
    dataset: Dataset,
    params: Any,
    root: Path,
    threads: int,
    report: Report,
    select: Callable[[Index], Index] = lambda index: index,
    *,
    skip: bool = False,
) -> Verification:
    """Look at all that `select` leaves of a data set's index, which it is handed if it has no fault.

    With `skip`, images that cannot be decoded are no fault where a study may leave them out. Raises
    DataNotFound if the data set is not there, DataError if it has no index, ConfigError where what reads a
    format is not installed, and what `select` raises.
    """
    index = dataset.index(root, params)
    faults = []
    try:
        check_index(index, dataset.name)
    except DataError as error:
        faults.append(str(error))
    else:
        index = select(index)
    folder = root / dataset.name
    if is_unfinished(folder):
        faults.append(f"{folder}: a fetch was interrupted here; `bench data fetch {dataset.name}` goes on")
    looking = partial(_each_sample, index=index, name=dataset.name, threads=threads, report=report)
    # A range that is found holds all values, so that no file is unreadable because of it.
    looks = list(looking(partial(look_at, ranges=Ranges(index.bits or WHOLE.bits)), "decode"))
    faulty = {s.id: look.fault for s, look in zip(index.samples, looks, strict=True) if look.fault}
    bad = {s.id: faulty[s.id] for s in index.samples if s.id in faulty and look_at(s).fault}
    too_many = may_be_left_out(dataset.name, index.samples, bad) if skip else ""
    if too_many:
        faults.append(too_many)
    left_out = bad if skip and not too_many else {}
    read = replace(index, samples=tuple(s for s in index.samples if s.id not in bad))
    extents = merged(looking(_extent, "read", index=read))
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
    return Verification(
        index=index,
        counts=class_counts(index, dataset),
        unreadable=tuple(fault for id_, fault in faulty.items() if id_ not in left_out),
        archives=damages,
        missing=tuple(missing),
        faults=tuple(faults),
        ranges=notes_of(extents, index.bits),
        left_out=tuple(left_out.values()),
        passed_over=with_passed_over(index, (look.frames for look in looks), len(left_out)),
    )


def _each_sample(
    function: Callable[[Sample], Result], stage: str, index: Index, name: str, threads: int, report: Report
) -> Iterator[Result]:
    """What `function` gives for each image, in order."""
    total = len(index.samples)
    report(Progress(unit=name, stage=stage, done=0, total=total))
    for done, result in enumerate(in_order(each(function), index.samples, 4, threads), 1):
        yield result
        if done % 50 == 0 or done == total:
            report(Progress(unit=name, stage=stage, done=done, total=total))


def _extent(sample: Sample) -> Extent | None:
    """The values of an image, if the data set decides their range."""
    return None if sample.path is None else extent(sample.path)
