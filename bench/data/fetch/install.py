"""One archive of a data set, from its address to its place.

    .bench/arrived/<file>.json    where a file that is not unpacked yet was downloaded from
           unpacking/<file>/      half unpacked: of no use to anyone
           unpacked/<file>/       whole and on disk, about to be moved, with <file>.json that says what it is

So whenever this is killed, the same call goes on, and nothing half-unpacked ever lies at its place.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data.fetch import archives
from bench.data.fetch.archives import PRIVATE, Extracted
from bench.data.fetch.download import download, file_digest
from bench.data.fetch.local_state import read_record, record_path, stamp
from bench.errors import DataError
from bench.files import read_json, sync_directory, sync_tree, write_json
from bench.interfaces.dataset import Archive
from bench.interfaces.executor import Progress, Report


def is_unpacked(archive: Archive) -> bool:
    """Whether an archive is to be unpacked: a table in a data set's list of files stays as it is."""
    return archive.unpack is not None and archives.is_archive(archive.name)


@dataclass(frozen=True)
class Installation:
    """One archive on its way."""

    dataset: str
    folder: Path  # the data set's
    archive: Archive
    report: Report

    @property
    def target(self) -> Path:
        return self.folder / self.archive.name

    def tell(self, stage: str) -> archives.Tell:
        def told(done: int, total: int) -> None:
            unit, what = self.dataset, f"{stage} {self.archive.name}"
            self.report(Progress(unit=unit, stage=what, done=done, total=total, in_bytes=True))

        return told

    def bring(self, keep: bool) -> list[str]:
        """Download unless it is there, check, unpack, record; returns what the user should know."""
        manifest = self.waiting.with_name(f"{self.waiting.name}.json")
        record = read_json(manifest) if self.waiting.is_dir() else None
        if record is None:
            record = self._arrived()
            if is_unpacked(self.archive):
                record |= self._unpacked(record, manifest)
            else:
                record |= self._placed(record)
        if self.waiting.is_dir():
            archives.settle(self.waiting, self.folder / record["unpacked"])
        sync_directory(self.folder)
        write_json(record_path(self.folder, self.archive), record)
        if is_unpacked(self.archive) and record["url"] and not keep:
            self.target.unlink(missing_ok=True)
        manifest.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)
        return self._notes(record)

    @property
    def waiting(self) -> Path:
        """Where the archive lies unpacked and whole before it is moved to its place."""
        return self.folder / PRIVATE / "unpacked" / self.archive.name

    @property
    def origin(self) -> Path:
        """Says, while it is not unpacked yet, that a file was downloaded and not put there by the user."""
        return self.folder / PRIVATE / "arrived" / f"{self.archive.name}.json"

    def _arrived(self) -> dict[str, Any]:
        """The archive's file is there and checked: the first half of its record."""
        pinned = "" if self.archive.rebuilt else self.archive.checksum.lower()
        if not self.target.is_file():
            self.origin.unlink(missing_ok=True)
            url = download(self.archive.urls, self.target, self.tell("download"), checksum=pinned)
            write_json(self.origin, {"url": url})
            checksum = pinned or file_digest(self.target, tell=self.tell("check"))
        else:
            url = str((read_json(self.origin) or {}).get("url", ""))
            algorithm = pinned.partition(":")[0] or "sha256"
            checksum = file_digest(self.target, algorithm, self.tell("check"))
            if pinned and checksum != pinned:
                raise DataError(
                    f"{self.target}: its checksum is {checksum}, but {pinned} is published; delete it, or "
                    "put an intact copy in its place, and run the same command again"
                )
        if not self.archive.rebuilt:
            self._compare("checksum", checksum)
        size = self.target.stat().st_size
        return {"name": self.archive.name, "url": url, "size": size, "checksum": checksum, **stamp()}

    def _compare(self, what: str, found: str) -> None:
        """Refuse a file that differs from the one recorded at the first download."""
        record = read_record(self.folder, self.archive) or {}
        known = str(record.get(what, ""))
        if known.partition(":")[0] == found.partition(":")[0] and known != found:
            path = record_path(self.folder, self.archive)
            raise DataError(
                f"{self.target}: its {what} is {found}, but {known} was recorded on {record.get('date')}: "
                "the publisher changed the file, or this copy is damaged. To take this one, delete "
                f"{path}; else delete the file itself; then run the same command again"
            )

    def _unpacked(self, record: Mapping[str, Any], manifest: Path) -> dict[str, Any]:
        """Unpack to `waiting`, whole or not at all: the second half of the record."""
        half = self.folder / PRIVATE / "unpacking" / self.archive.name
        for left in (half, self.waiting):
            shutil.rmtree(left, ignore_errors=True)
        extracted = archives.extract(self.target, half, self.tell("unpack"))
        try:
            more = self._about(extracted)
        except DataError:
            shutil.rmtree(half, ignore_errors=True)
            raise
        sync_tree(half)
        write_json(manifest, {**record, **more})
        half.rename(self.waiting)
        sync_directory(self.waiting.parent)
        return more

    def _about(self, extracted: Extracted) -> dict[str, Any]:
        if self.archive.rebuilt:
            self._compare("contents", extracted.contents)
        return {
            "unpacked": self.archive.unpack,
            "files": dict(extracted.files),
            "contents": extracted.contents,
            "nested": list(extracted.nested),
        }

    def _placed(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A file that is not to be unpacked, at its place."""
        more: dict[str, Any] = {"unpacked": self.archive.unpack or ""}
        if self.archive.rebuilt and archives.is_archive(self.archive.name):
            more["contents"] = archives.contents(self.target, self.tell("check"))
            self._compare("contents", more["contents"])
        place = self.folder / more["unpacked"] / self.archive.name
        if place != self.target:
            place.parent.mkdir(parents=True, exist_ok=True)
            self.target.replace(place)
        return {**more, "files": {self.archive.name: record["size"]}}

    def _notes(self, record: Mapping[str, Any]) -> list[str]:
        notes = []
        if self.archive.size and record["size"] != self.archive.size:
            notes.append(
                f"{self.archive.name} has {record['size']} bytes; {self.archive.size} were announced"
            )
        if nested := record.get("nested"):
            notes.append(f"{self.archive.name} holds archives, left packed: {', '.join(nested)}")
        return notes
