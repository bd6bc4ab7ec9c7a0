"""One archive of a data set, from its address to its place.

    .bench/unpacking/<file>/        what is being unpacked
           unpacking/<file>.json    its record as far as it goes: from where it was downloaded ("" if the user
                                    put it there), and all of it once that folder is whole and on disk

Only a whole folder is moved to its place. So whenever this is killed, the same call goes on, and nothing
half-unpacked ever lies there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.data.fetch import archives, local_state
from bench.data.fetch.download import Published, download, file_digest
from bench.data.fetch.local_state import STATE_FOLDER, OnProgress
from bench.errors import DataError
from bench.files import read_json, sync_directory, sync_tree, write_json
from bench.interfaces.dataset import Archive

StageProgress = Callable[[str], OnProgress]
"""Called with the name of a stage as it begins."""


def is_unpacked(archive: Archive) -> bool:
    """Whether an archive is to be unpacked: a table in a data set's list of files stays as it is."""
    return archive.unpack is not None and archives.is_archive(archive.name)


def install(archive: Archive, folder: Path, progress: StageProgress, keep: bool) -> list[str]:
    """Download `archive` unless it lies in the data set's `folder`, check it, unpack it, record it.

    `progress("unpack x.zip")` is called as a stage begins. `keep` leaves a downloaded file there after it is
    unpacked. Returns what the user should know. Raises DownloadError, DataError, or OSError of the disk.
    """
    target = folder / archive.name
    unpacking = folder / STATE_FOLDER / "unpacking" / archive.name
    draft = unpacking.with_name(f"{archive.name}.json")
    record = read_json(draft) or {}
    if "files" not in record or not unpacking.is_dir():
        record = _arrive(archive, target, draft, progress) | {"unpacked": archive.unpack or ""}
        _compare(archive, folder, record)
        if is_unpacked(archive):
            shutil.rmtree(unpacking, ignore_errors=True)
            extracted = archives.extract(target, unpacking, progress(f"unpack {archive.name}"))
            record["files"], record["contents"] = dict(extracted.files), extracted.contents
            record["nested"] = list(extracted.nested)
            sync_tree(unpacking)
            write_json(draft, record)
        else:
            place = folder / record["unpacked"] / archive.name
            place.parent.mkdir(parents=True, exist_ok=True)
            target.replace(place)  # where it is already, perhaps
            record["files"] = {archive.name: record["size"]}
    if unpacking.is_dir():
        archives.move_into_place(unpacking, folder / record["unpacked"])
    sync_directory(folder)
    write_json(local_state.record_path(folder, archive), record)
    if is_unpacked(archive) and record["url"] and not keep:
        target.unlink(missing_ok=True)
    draft.unlink(missing_ok=True)
    notes = []
    if archive.size and record["size"] != archive.size:
        notes.append(f"{archive.name} has {record['size']} bytes; {archive.size} were announced")
    if record.get("nested"):
        notes.append(f"{archive.name} holds archives, left packed: {', '.join(record['nested'])}")
    return notes


def _arrive(archive: Archive, target: Path, draft: Path, progress: StageProgress) -> dict[str, Any]:
    """Have the archive's file, with the published checksum; returns the first half of its record."""
    published = "" if archive.rebuilt else archive.checksum.lower()
    checksum = ""
    if target.is_file():
        url = str((read_json(draft) or {}).get("url", ""))
    else:
        draft.unlink(missing_ok=True)
        shows_end = archives.is_archive(archive.name) or archive.name.lower().endswith(".npz")
        known = Published(published, archive.size, archives.is_whole if shows_end else None)
        url = download(archive.urls, target, progress(f"download {archive.name}"), known)
        checksum = published
    write_json(draft, {"url": url})  # without what it says of an earlier unpacking
    if not checksum:
        algorithm = published.partition(":")[0] or "sha256"
        checksum = file_digest(target, algorithm, progress(f"check {archive.name}"))
    if published and checksum != published:
        raise DataError(
            f"{target}: its checksum is {checksum}, but {published} is published; delete it, or put an "
            "intact copy in its place, and run the same command again"
        )
    size = target.stat().st_size
    record = {"name": archive.name, "url": url, "size": size, "checksum": checksum, **local_state.stamp()}
    if archive.rebuilt and archives.is_archive(archive.name):
        record["contents"] = archives.contents_checksum(target, progress(f"check {archive.name}"))
    return record


def _compare(archive: Archive, folder: Path, record: dict[str, Any]) -> None:
    """Refuse a file that differs from the one recorded at the first download."""
    key = "contents" if archive.rebuilt else "checksum"
    what = "the checksum of its contents" if archive.rebuilt else "its checksum"
    earlier = local_state.read_record(folder, archive) or {}
    new, old = str(record.get(key, "")), str(earlier.get(key, ""))
    if old != new and old.partition(":")[0] == new.partition(":")[0]:
        raise DataError(
            f"{folder / archive.name}: {what} is {new}, but {old} was recorded on {earlier.get('date')}: the "
            "publisher changed the file, or this copy is damaged. To take this one, delete "
            f"{local_state.record_path(folder, archive)}; else delete the file itself; then run the same "
            "command again"
        )
