"""What `bench data fetch` writes down in a data set's folder: the consent, and what each archive left there.

root/<name>/.bench/consent.json            which licence was agreed to, when
                   archives/<file>.json    checksum, address and unpacked files of each installed archive
                   download.json           when the data set's own client was run
                   unpacking/              archives that are not installed yet: see `install`
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.errors import DataError
from bench.files import read_json
from bench.interfaces.dataset import Archive
from bench.interfaces.executor import Progress, Report

STATE_FOLDER = ".bench"

OnProgress = Callable[[int, int], None]
"""Called with the bytes that are done and the bytes in all; 0 in all if that is not known."""


def byte_progress(report: Report, dataset: str, stage: str) -> OnProgress:
    """An `OnProgress` that reports a stage of a data set's fetch."""
    return lambda done, total: report(
        Progress(unit=dataset, stage=stage, done=done, total=total, in_bytes=True)
    )


def stamp() -> dict[str, str]:
    """When something was recorded, and by which version of bench."""
    from bench import __version__

    return {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", "bench": __version__}


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError, which must be one of the disk, into a DataError that says what to do."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be written ({error.strerror or error}); make room, or "
            "choose another --data, and run the same command again"
        ) from None


def record_path(folder: Path, archive: Archive) -> Path:
    """Where the record of an installed archive lies."""
    return folder / STATE_FOLDER / "archives" / f"{archive.name}.json"


def read_record(folder: Path, archive: Archive) -> dict[str, Any] | None:
    """The record of an installed archive; None if it was not installed."""
    return read_json(record_path(folder, archive))


def is_installed(folder: Path, archive: Archive) -> bool:
    """Whether an archive was installed and each of its files is still there with its size."""
    record = read_record(folder, archive)
    return record is not None and not missing_files(folder, record)


def missing_files(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Files of an installed archive that are gone, or have another size."""
    home = folder / record.get("unpacked", "")
    return [name for name, size in record.get("files", {}).items() if file_size(home / name) != size]


def file_size(path: Path) -> int:
    """Bytes of a file; -1 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def is_unfinished(folder: Path) -> bool:
    """Whether a fetch was interrupted in this folder."""
    return any(folder.glob("*.part")) or any((folder / STATE_FOLDER / "unpacking").glob("*/"))


def read_consent(folder: Path) -> dict[str, Any]:
    """The consent that was recorded for this folder; empty if there is none."""
    return read_json(folder / STATE_FOLDER / "consent.json") or {}
