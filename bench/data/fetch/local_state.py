"""What of a data set's official download is there: the records that `bench data fetch` leaves.

root/<name>/.bench/consent.json           which licence was agreed to, when
                   archives/<file>.json   checksum, address and unpacked files of every archive
                   download.json          that the data set's own client has been here
                   arrived/, unpacking/, unpacked/    archives on their way: see `bring`
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.data.fetch.archives import PRIVATE
from bench.errors import DataError
from bench.files import read_json
from bench.interfaces.dataset import Archive


def stamp() -> dict[str, str]:
    """When something was recorded, and by which bench."""
    from bench import __version__

    return {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", "bench": __version__}


@contextlib.contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into a DataError that says what to do."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be written ({error.strerror or error}); make room, or "
            "choose another --data, and run the same command again"
        ) from None


def record_path(folder: Path, archive: Archive) -> Path:
    """Where the record of a fetched archive lies."""
    return folder / PRIVATE / "archives" / f"{archive.name}.json"


def read_record(folder: Path, archive: Archive) -> dict[str, Any] | None:
    """What is known of an archive that was fetched; None if it was not."""
    return read_json(record_path(folder, archive))


def is_whole(folder: Path, archive: Archive) -> bool:
    """Whether an archive was fetched and every file of it is still there, as far as sizes tell."""
    record = read_record(folder, archive)
    return record is not None and not missing_files(folder, record)


def missing_files(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Files of a fetched archive that are gone, or of another size."""
    home = folder / record.get("unpacked", "")
    return [name for name, size in record.get("files", {}).items() if size_of(home / name) != size]


def size_of(path: Path) -> int:
    """Bytes of a file; -1 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def is_unfinished(folder: Path) -> bool:
    """Whether a fetch was interrupted in this folder."""
    return any(folder.glob("*.part")) or any(
        any((folder / PRIVATE / name).glob("*")) for name in ("unpacking", "unpacked")
    )


def read_consent(folder: Path) -> dict[str, Any]:
    """The consent that was given for this folder; empty if none was."""
    return read_json(folder / PRIVATE / "consent.json") or {}
