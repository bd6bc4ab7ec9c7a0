"""`bench data fetch` without its screen: what there is to fetch, consent to the licence, and the fetching.

Nothing is fetched without consent. An archive counts as installed while every file that came out of it is
there; so what a user deletes is fetched again, and what was interrupted goes on. A checksum that nobody has
published is recorded the first time and compared from then on.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.data.fetch import local_state
from bench.data.fetch.connection import SCHEMES, address_fault
from bench.data.fetch.download import DownloadError, part_of
from bench.data.fetch.install import install, is_unpacked
from bench.data.fetch.local_state import STATE_FOLDER, disk_errors, file_size, is_installed
from bench.errors import ConfigError, DataError, DataNotFound, PluginError
from bench.files import write_json
from bench.interfaces.dataset import Archive, Dataset, Index
from bench.interfaces.executor import Report

_CHECKSUM = re.compile(r"(sha256:[0-9a-fA-F]{64}|md5:[0-9a-fA-F]{32})?")
SPACE_MARGIN = 1.05  # disk space that must be free, as a multiple of what is known to be needed


@dataclass(frozen=True)
class FetchTask:
    """What `bench data fetch` is to do for one data set."""

    dataset: Dataset
    params: Any
    root: Path
    archives: tuple[Archive, ...]
    pending: tuple[Archive, ...]  # those that are not installed
    index: Index | None  # of what lies there before anything is fetched

    @property
    def folder(self) -> Path:
        return self.root / self.dataset.name

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing to do: all of it was fetched, or lies there as the user put it."""
        if self.index is None:
            return False
        is_recorded = any(local_state.read_record(self.folder, archive) for archive in self.archives)
        if is_recorded or self.was_downloaded:
            return not self.pending
        return not count_differences(self.index, self.dataset)

    @property
    def was_downloaded(self) -> bool:
        """Whether the data set's own client was run here."""
        return (self.folder / STATE_FOLDER / "download.json").is_file()


def plan_fetch(dataset: Dataset, params: Any, root: Path) -> FetchTask:
    """What there is to fetch. Raises ConfigError for a data set that nobody can fetch, DataError for a data
    root whose own images would be taken for it."""
    archives = tuple(dataset.archives(params))
    if not archives and dataset.download is None:
        raise ConfigError(f"{dataset.name} has no download; {dataset.fetch or 'see its documentation'}")
    for archive in archives:
        check_archive(archive, dataset.name)
    try:
        index = dataset.index(root, params)
    except DataError:
        index = None
    if index is not None and only_looks_like(dataset, index, root):
        raise DataError(
            f"{root}: holds {len(index.samples)} images in the layout of {dataset.name}, which would be "
            "found in place of those fetched; choose another --data, or move them away"
        )
    pending = tuple(archive for archive in archives if not is_installed(root / dataset.name, archive))
    return FetchTask(dataset, params, root, archives, pending, index)


def check_archive(archive: Archive, name: str) -> None:
    """Raise PluginError if a data set describes an archive in a way that cannot be fetched."""
    unpack = Path(archive.unpack or "")
    faults = {
        "must be a plain file name": Path(archive.name).name != archive.name or not archive.name.strip("."),
        "needs an address": not archive.urls,
        "has an address that is neither http nor https": not all(
            url.lower().startswith(tuple(f"{scheme}://" for scheme in SCHEMES)) for url in archive.urls
        ),
        **{
            f"has the address {url!r}, which {fault}": True
            for url in archive.urls
            if (fault := address_fault(url))
        },
        'has a checksum that is neither "sha256:HEX" nor "md5:HEX"': not _CHECKSUM.fullmatch(
            archive.checksum
        ),
        "is to be unpacked outside of its data set's folder": unpack.is_absolute() or ".." in unpack.parts,
    }
    for fault, is_present in faults.items():
        if is_present:
            raise PluginError(f"{name}: the archive {archive.name!r} {fault}; mend the plugin")


def class_counts(index: Index, dataset: Dataset) -> dict[str, tuple[int, int]]:
    """Class -> (images there, images expected), the same number twice where nobody says what to expect."""
    counts = Counter(sample.label for sample in index.samples)
    expected = index.expected or dataset.expected or counts
    names = [*index.classes, *sorted(counts), *expected]
    return {name: (counts[name], expected.get(name, 0)) for name in names}


def count_differences(index: Index, dataset: Dataset) -> dict[str, tuple[int, int]]:
    """Class -> (images there, images expected) where the two differ."""
    return {name: pair for name, pair in class_counts(index, dataset).items() if pair[0] != pair[1]}


def image_folder(index: Index, root: Path) -> Path:
    """The folder that holds all files of an index; `root` if it has none."""
    parents = {str(sample.path.parent) for sample in index.samples if sample.path}
    if len({os.path.isabs(parent) for parent in parents}) > 1:  # which have nothing in common as they are
        parents = set(map(os.path.abspath, parents))
    return Path(os.path.commonpath(parents)) if parents else root


def only_looks_like(dataset: Dataset, index: Index, root: Path) -> bool:
    """Whether what was found may be anybody's images: they lie at the data root itself, in a layout that
    others use too (a folder per class), and are not as many as the data set has."""
    is_at_root = image_folder(index, root).absolute() == root.absolute()
    has_files = any(sample.path for sample in index.samples)
    return is_at_root and has_files and bool(count_differences(index, dataset))


def has_consent(task: FetchTask) -> bool:
    """Whether this licence text has been agreed to for this copy."""
    return local_state.read_consent(task.folder).get("licence") == task.dataset.licence


def record_consent(task: FetchTask, how: str) -> None:
    """Write down what was agreed to, by `how` ("asked" or "--yes"). Raises DataError."""
    consent = {
        "licence": task.dataset.licence,
        "citation": task.dataset.citation,
        "home": task.dataset.home,
        "urls": [archive.urls[0] for archive in task.archives],
        "consent": how,
        **local_state.stamp(),
    }
    with disk_errors(task.folder):
        write_json(task.folder / STATE_FOLDER / "consent.json", consent)


def fetch_dataset(task: FetchTask, report: Report, *, keep: bool = False) -> list[str]:
    """Install every pending archive; returns what the user should know. `keep` archives after unpacking.

    A file of an archive's name that lies in the folder already is taken in place of a download, and stays.
    Raises DataError or DataNotFound; what has arrived is kept, and the same call goes on.
    """
    from filelock import FileLock, Timeout

    state = task.folder / STATE_FOLDER
    progress = partial(local_state.byte_progress, report, task.dataset.name)
    notes: list[str] = []
    with disk_errors(task.folder):
        state.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(state / ".lock", timeout=0):
                _check_disk_space(task)
                for archive in task.pending:
                    if not is_installed(task.folder, archive):  # by a process that held the lock before
                        notes += install(archive, task.folder, progress, keep)
                if task.dataset.download is not None and (task.index is None or not task.was_downloaded):
                    task.dataset.download(task.folder, task.params)
                    write_json(state / "download.json", local_state.stamp())
        except Timeout:
            raise DataError(
                f"{task.folder}: another `bench data fetch` is at work here; wait for it to end"
            ) from None
        except DownloadError as error:
            raise DataNotFound(f"{error}\n{_manual_steps(task)}") from None
    return notes


def _check_disk_space(task: FetchTask) -> None:
    """Refuse what cannot fit, as far as sizes are known. Unpacked images need as much as packed ones."""
    needed = 0
    for archive in task.pending:
        target = task.folder / archive.name
        arrived = max(file_size(target), file_size(part_of(target)), 0)
        needed += max(archive.size - arrived, 0) + (archive.size if is_unpacked(archive) else 0)
    free = shutil.disk_usage(task.folder).free
    if needed * SPACE_MARGIN > free:
        raise DataError(
            f"{task.folder}: {task.dataset.name} needs about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB "
            "are free; make room, or choose another --data"
        )


def _manual_steps(task: FetchTask) -> str:
    """What a user can do without a connection from this machine."""
    lines = [f"by hand: {task.dataset.fetch}"] if task.dataset.fetch else []
    lines.append(f"or put these into {task.folder} and run the same command again; it checks and unpacks:")
    return "\n".join(lines + [f"  {archive.name}  {' or '.join(archive.urls)}" for archive in task.pending])
