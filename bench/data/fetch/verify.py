"""A data set on disk against what it should be: counts, every image decoded, archives, unpacked files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bench.data.fetch.download import file_digest
from bench.data.fetch.fetch import class_counts
from bench.data.fetch.local_state import byte_progress, is_unfinished, missing_files, read_record
from bench.data.images.decode import check_array, extent, read_image
from bench.data.images.index import check_index
from bench.data.images.parallel import each, in_order
from bench.data.images.ranges import Extent, Ranges, merged, notes_of, ranges_of
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
) -> Verification:
    """Look at all that `select` leaves of a data set's index, which it is handed if it has no fault. Raises
    DataNotFound if it is not there, DataError if it has no index, and what `select` raises."""
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
    extents = merged(looking(_extent, "read"))
    ranges = ranges_of(extents, index.bits)
    unreadable = tuple(filter(None, looking(partial(_fault, ranges=ranges), "decode")))
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
    notes = notes_of(extents, index.bits)
    return Verification(index, counts, unreadable, damages, tuple(missing), tuple(faults), notes)


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


def _fault(sample: Sample, ranges: Ranges) -> str:
    """Why an image cannot be decoded; "" if it can."""
    try:
        if sample.path is not None:
            read_image(sample.path, ranges)
        elif sample.array is not None:
            check_array(sample.array, sample.id)
    except DataError as error:
        return str(error)
    return ""
