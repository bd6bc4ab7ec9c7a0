"""`bench data fetch` without its screen: what there is to fetch, consent to the licence, and the fetching.

Nothing is fetched without consent. An archive counts as there while every file that came out of it is; so
what a user deletes is fetched again, and what was interrupted goes on. A checksum that nobody has published
is recorded the first time and compared from then on.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data.fetch.archives import PRIVATE
from bench.data.fetch.download import DownloadError, is_web, part_of
from bench.data.fetch.install import Installation, is_unpacked
from bench.data.fetch.local_state import is_whole, on_disk, read_consent, read_record, size_of, stamp
from bench.errors import ConfigError, DataError, DataNotFound, PluginError
from bench.files import write_json
from bench.interfaces.dataset import Archive, Dataset, Index
from bench.interfaces.executor import Report

_CHECKSUM = re.compile(r"(sha256:[0-9a-fA-F]{64}|md5:[0-9a-fA-F]{32})?")
ROOM = 1.05  # disk space asked for, in parts of what is known to be needed


@dataclass(frozen=True)
class FetchTask:
    """What `bench data fetch` is to do for one data set."""

    dataset: Dataset
    params: Any
    root: Path
    archives: tuple[Archive, ...]
    pending: tuple[Archive, ...]  # those that are not there, whole
    found: Index | None  # what the data set's index finds before anything is fetched

    @property
    def folder(self) -> Path:
        return self.root / self.dataset.name

    @property
    def complete(self) -> bool:
        """Whether there is nothing to do: all of it was fetched, or lies there as the user put it."""
        if self.found is None:
            return False
        recorded = any(read_record(self.folder, a) for a in self.archives) or self.was_downloaded
        if recorded:
            return not self.pending
        return not differences(self.found, self.dataset)

    @property
    def was_downloaded(self) -> bool:
        return (self.folder / PRIVATE / "download.json").is_file()

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(archive.urls[0] for archive in self.archives if archive.urls)


def plan(dataset: Dataset, params: Any, root: Path) -> FetchTask:
    """What there is to fetch. Raises ConfigError for a data set that nobody can fetch."""
    listed = tuple(dataset.archives(params))
    if not listed and dataset.download is None:
        words = dataset.fetch or "see its documentation"
        raise ConfigError(f"{dataset.name} has no download; {words}")
    for archive in listed:
        check_archive(archive, dataset.name)
    folder = root / dataset.name
    pending = tuple(archive for archive in listed if not is_whole(folder, archive))
    return FetchTask(dataset, params, root, listed, pending, find(dataset, params, root))


def check_archive(archive: Archive, name: str) -> None:
    """Raise PluginError if a data set describes an archive in a way that cannot be fetched."""
    faults = {
        "must be a plain file name": Path(archive.name).name != archive.name or not archive.name.strip("."),
        "needs an address": not archive.urls,
        "has an address that is neither http nor https": not all(map(is_web, archive.urls)),
        'has a checksum that is neither "sha256:HEX" nor "md5:HEX"': not _CHECKSUM.fullmatch(
            archive.checksum
        ),
        "is to be unpacked outside of its data set's folder": not _is_inside(archive.unpack or ""),
    }
    for fault, wrong in faults.items():
        if wrong:
            raise PluginError(f"{name}: the archive {archive.name!r} {fault}; mend the plugin")


def _is_inside(folder: str) -> bool:
    path = Path(folder)
    return not path.is_absolute() and ".." not in path.parts


def find(dataset: Dataset, params: Any, root: Path) -> Index | None:
    """The data set's index, or None if it has none here."""
    try:
        return dataset.index(root, params)
    except DataError:
        return None


def differences(index: Index, dataset: Dataset) -> dict[str, tuple[int, int]]:
    """Class -> (images found, images expected) where the two differ; empty if nothing is expected."""
    counts = Counter(sample.label for sample in index.samples)
    return unequal(
        {name: counts[name] for name in [*index.classes, *counts]}, index.expected or dataset.expected
    )


def unequal(counts: Mapping[str, int], expected: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Class -> (found, expected) where they differ; empty if nothing is expected."""
    names = dict.fromkeys([*counts, *expected]) if expected else {}
    pairs = {name: (counts.get(name, 0), expected.get(name, 0)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def where(index: Index, root: Path) -> Path:
    """The folder that holds all files of an index; `root` if it has none."""
    parents = {str(sample.path.parent) for sample in index.samples if sample.path}
    return Path(os.path.commonpath(parents)) if parents else root


# --- consent -----------------------------------------------------------------------------------------


def has_consent(task: FetchTask) -> bool:
    """Whether this licence text has been agreed to for this copy."""
    given = read_consent(task.folder)
    return bool(given) and given.get("licence") == task.dataset.licence


def record_consent(task: FetchTask, how: str) -> None:
    """Write down what was agreed to, by `how` ("asked" or "--yes"). Raises DataError."""
    dataset = task.dataset
    given = {
        "licence": dataset.licence,
        "citation": dataset.citation,
        "home": dataset.home,
        "urls": list(task.urls),
        "consent": how,
        **stamp(),
    }
    with on_disk(task.folder):
        write_json(task.folder / PRIVATE / "consent.json", given)


# --- fetching ----------------------------------------------------------------------------------------


def carry_out(task: FetchTask, report: Report, *, keep: bool = False) -> list[str]:
    """Bring every pending archive; returns what the user should know. `keep` archives after unpacking.

    A file of an archive's name that lies in the folder already is taken in place of a download, and stays.
    Raises DataError or DataNotFound; what has arrived is kept, and the same call goes on.
    """
    from filelock import FileLock, Timeout

    private = task.folder / PRIVATE
    with on_disk(task.folder):
        private.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(private / ".lock", timeout=0):
                return _carry_out(task, report, keep)
        except Timeout:
            raise DataError(
                f"{task.folder}: another `bench data fetch` is at work here; wait for it to end"
            ) from None


def _carry_out(task: FetchTask, report: Report, keep: bool) -> list[str]:
    _check_room(task)
    notes: list[str] = []
    for archive in task.pending:
        if is_whole(task.folder, archive):  # by a run that held the lock before
            continue
        try:
            notes += Installation(task.dataset.name, task.folder, archive, report).bring(keep)
        except DownloadError as error:
            raise DataNotFound(f"{error}\n{by_hand(task)}") from None
    if task.dataset.download is not None and (task.found is None or not task.was_downloaded):
        task.dataset.download(task.folder, task.params)
        write_json(task.folder / PRIVATE / "download.json", stamp())
    return notes


def _check_room(task: FetchTask) -> None:
    """Refuse what cannot fit, as far as sizes are known. Unpacking takes as much again, images being packed
    already."""
    needed = 0
    for archive in task.pending:
        here = max(size_of(task.folder / archive.name), size_of(part_of(task.folder / archive.name)), 0)
        needed += max(archive.size - here, 0) + (archive.size if is_unpacked(archive) else 0)
    free = shutil.disk_usage(task.folder).free
    if needed * ROOM > free:
        raise DataError(
            f"{task.folder}: {task.dataset.name} needs about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB "
            "are free; make room, or choose another --data"
        )


def by_hand(task: FetchTask) -> str:
    """What a user can do without a connection from this machine."""
    lines = [f"by hand: {task.dataset.fetch}"] if task.dataset.fetch else []
    if task.pending:
        lines.append(
            f"or put these into {task.folder} and run the same command again; it checks and unpacks:"
        )
        lines += [f"  {a.name}  {' or '.join(a.urls) or task.dataset.home}" for a in task.pending]
    return "\n".join(lines)
