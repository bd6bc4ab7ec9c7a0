"""What is on disk of a data set, against what should be: counts, every image decoded, archives, files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.data.fetch.download import file_digest
from bench.data.fetch.fetch import unequal
from bench.data.fetch.local_state import is_unfinished, missing_files, read_record
from bench.data.images.decode import check_array, read_image
from bench.data.images.index import check_index
from bench.data.images.parallel import each, in_order
from bench.errors import DataError
from bench.interfaces.dataset import Archive, Dataset, Index, Sample
from bench.interfaces.executor import Progress, Report


@dataclass(frozen=True)
class Verification:
    """Everything that `bench data verify` found."""

    index: Index
    counts: Mapping[str, int]  # images a class, found
    expected: Mapping[str, int]  # images a class of the recognised version; empty if nobody says
    unreadable: tuple[str, ...]  # what is wrong with each image that cannot be decoded; names the file
    archives: Mapping[str, str]  # archives still there -> what is wrong with them, or ""
    missing: tuple[str, ...]  # files that came out of an archive and are gone, or of another size
    faults: tuple[str, ...]  # contradictions of the index, an interrupted fetch

    @property
    def differing(self) -> dict[str, tuple[int, int]]:
        """Class -> (found, expected) where they differ."""
        return unequal(self.counts, self.expected)

    @property
    def problems(self) -> list[str]:
        """One phrase for each kind of thing that is wrong; empty if all is well."""
        found = [
            (len(self.differing), "class counts differ from the expected version", "class count differs"),
            (len(self.unreadable), "images cannot be read", "image cannot be read"),
            (sum(map(bool, self.archives.values())), "archives are damaged", "archive is damaged"),
            (len(self.missing), "unpacked files are gone or cut short", "unpacked file is gone or cut short"),
            (len(self.faults), "further faults", "further fault"),
        ]
        return [f"{n} {one if n == 1 else many}" for n, many, one in found if n]


def verify(dataset: Dataset, params: Any, root: Path, threads: int, report: Report) -> Verification:
    """Look at all of a data set. Raises DataNotFound if it is not there, DataError if it has no index."""
    index = dataset.index(root, params)
    faults = []
    try:
        check_index(index, dataset.name)
    except DataError as error:
        faults.append(str(error))
    folder = root / dataset.name
    if is_unfinished(folder):
        faults.append(f"{folder}: a fetch was interrupted here; `bench data fetch {dataset.name}` goes on")
    listed = tuple(dataset.archives(params))
    records = [record for archive in listed if (record := read_record(folder, archive))]
    counts = Counter(sample.label for sample in index.samples)
    names = dict.fromkeys([*index.classes, *sorted(counts)])
    return Verification(
        index=index,
        counts={name: counts[name] for name in names},
        expected=index.expected or dataset.expected,
        unreadable=_unreadable(dataset.name, index, threads, report),
        archives=_archives(dataset.name, folder, listed, report),
        missing=tuple(name for record in records for name in missing_files(folder, record)),
        faults=tuple(faults),
    )


def _unreadable(name: str, index: Index, threads: int, report: Report) -> tuple[str, ...]:
    total = len(index.samples)
    found = []
    report(Progress(unit=name, stage="decode", done=0, total=total))
    for done, fault in enumerate(in_order(each(_fault), index.samples, 4, threads), 1):
        if fault:
            found.append(fault)
        if done % 50 == 0 or done == total:
            report(Progress(unit=name, stage="decode", done=done, total=total))
    return tuple(found)


def _fault(sample: Sample) -> str:
    """Why an image cannot be decoded; "" if it can."""
    try:
        if sample.path is not None:
            read_image(sample.path)
        elif sample.array is not None:
            check_array(sample.array, sample.id)
    except DataError as error:
        return str(error)
    return ""


def _archives(name: str, folder: Path, listed: tuple[Archive, ...], report: Report) -> dict[str, str]:
    """Archives that are still there, and how their checksums differ from what was recorded or published."""
    found = {}
    for archive in listed:
        path = folder / archive.name
        record = read_record(folder, archive) or {}
        known = str(record.get("checksum", "")) or ("" if archive.rebuilt else archive.checksum.lower())
        if path.is_file() and known:
            tell = partial(_tell, report, name, archive.name)
            checksum = file_digest(path, known.partition(":")[0], tell)
            found[archive.name] = "" if checksum == known else f"has {checksum}, recorded was {known}"
    return found


def _tell(report: Report, unit: str, file: str, done: int, total: int) -> None:
    report(Progress(unit=unit, stage=f"check {file}", done=done, total=total, in_bytes=True))
