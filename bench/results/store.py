"""Result directories: where a unit's results lie, writing them at once, reading them back.

    results/runs/<data set>/<label>.<key>/      record.json, predictions.parquet
    results/pretrain/<data set>/<label>.<key>/  record.json, encoder files
    results/failures/<data set>/<label>.<key>/  record.json with reason and traceback
    results/.damaged/<place>/<data set>/...     what was none of these any more, moved out of the way

A directory is whole or absent (`bench.files`), and nothing is edited afterwards: the record ends with its own
checksum, and names size and checksum of each file beside it. A directory that is not whole any more does not
count as done. The first of two writers wins: both computed the same thing. Reading is tolerant about what
came out, strict about identity.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from bench.errors import StoreError
from bench.files import cannot_write, new_directory, write_text
from bench.interfaces.predictions import Predictions
from bench.results.artefacts import changed, describe, missized
from bench.results.predictions_file import PREDICTIONS, remedy, unreadable, write_predictions
from bench.results.predictions_file import read_predictions as read_predictions
from bench.results.predictions_file import read_table as read_table
from bench.results.record import (
    RECORD,
    VERSION,
    NewerRecord,
    Record,
    record_from_json,
    record_to_json,
)
from bench.results.seal import is_sealed, sealed_text
from bench.results.spec_json import Seen
from bench.study.spec import UnitSpec

log = logging.getLogger("bench")

DAMAGED = ".damaged"
_PLACES = ("pretrain", "runs", "failures")
LABEL_LENGTH = 150  # a file name may have 255 bytes; an ensemble of many members would exceed them


# --- places ------------------------------------------------------------------------------------------


def path_of(results: Path, spec: UnitSpec) -> Path:
    """The directory of a finished unit."""
    return results / ("pretrain" if spec.kind == "pretrain" else "runs") / _leaf(spec)


def failure_path(results: Path, spec: UnitSpec) -> Path:
    """The directory of the latest failure of a unit."""
    return results / "failures" / _leaf(spec)


def exists(results: Path, spec: UnitSpec) -> bool:
    """Whether the unit is done: its record can be read, the files it names have their sizes, and its
    predictions their checksum. An encoder's checksum is looked at when it is used (`sound`)."""
    return is_whole(path_of(results, spec))


def done(results: Path, units: Iterable[UnitSpec]) -> set[str]:
    """The keys of those units that are done, with one listing of each folder."""
    listed: dict[Path, set[str]] = {}
    keys = set()
    seen = Seen()
    for unit in units:
        path = path_of(results, unit)
        folder = path.parent
        if folder not in listed:
            listed[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
        if path.name in listed[folder] and is_whole(path, seen):
            keys.add(unit.key)
    return keys


def sound(results: Path, spec: UnitSpec) -> bool:
    """Whether the unit is done and every file it names has its checksum. Reads them all."""
    path = path_of(results, spec)
    if not is_whole(path):
        return False
    try:
        artefacts = read_folder(path).artefacts or {}
    except StoreError:  # of a newer version
        return True
    return not any(changed(path, artefacts, name) for name in artefacts if name != PREDICTIONS)


def set_aside(results: Path, spec: UnitSpec) -> Path | None:
    """Move what lies in the place of a unit that is not done to results/.damaged, and say so. Returns where
    it is now; None if nothing is in the way. Raises StoreError where the disk refuses."""
    return move_aside(results, path_of(results, spec))


def move_aside(results: Path, path: Path) -> Path | None:
    """The same of a folder below `results` that is not whole any more."""
    if not path.exists():
        return None
    place = results / DAMAGED / path.relative_to(results)
    for number in range(1, 10_000):
        target = place.with_name(f"{place.name}-{number}")
        if target.exists():
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        except FileNotFoundError:  # another process has just moved it
            return None
        except OSError as error:
            raise cannot_write(target, error) from error
        log.warning("%s is damaged; it was moved to %s and is made again", path, target)
        return target
    raise StoreError(f"{place.parent}: holds 10,000 damaged copies of one unit; empty it")


def was_set_aside(results: Path, spec: UnitSpec) -> bool:
    """Whether a damaged copy of this unit was moved away at some time."""
    place = results / DAMAGED / path_of(results, spec).relative_to(results)
    return (place.parent / f"{place.name}-1").exists()


def is_whole(path: Path, seen: Seen | None = None) -> bool:
    """Whether a folder is that of a unit that is done, as `exists` says it."""
    try:
        record = read_folder(path, seen)
    except NewerRecord:  # not ours to judge, and certainly not to replace
        return True
    except StoreError:
        return False
    if record.status != "done" or record.damage:
        return False
    return not changed(path, record.artefacts or {}, PREDICTIONS)


def _leaf(spec: UnitSpec) -> Path:
    return Path(_safe(spec.dataset.name)) / f"{_safe(spec.label)[:LABEL_LENGTH]}.{spec.key}"


def _safe(name: str) -> str:
    """`name` with what some file system or shell takes amiss replaced; the key keeps leaves distinct."""
    return re.sub(r"-+(?=\.|$)", "", re.sub(r"[^A-Za-z0-9._+-]+", "-", name)).lstrip(".") or "_"


# --- writing -----------------------------------------------------------------------------------------


def write(
    results: Path,
    record: Record,
    *,
    predictions: Mapping[str, Predictions] | None = None,
    files: Callable[[Path], None] | None = None,
) -> Path:
    """Store a finished unit, all of it or nothing, and forget its failure. Returns its directory.

    `predictions` maps parts of the split to what the unit says about them; `files(directory)` writes
    whatever else belongs to the unit. If the unit is already there, it is left as it is; what is there and
    not whole is moved away. Raises StoreError for predictions that are no distributions, and where the disk
    refuses.
    """
    target = path_of(results, record.spec)
    try:
        with new_directory(target, RECORD) as directory:
            rows = {}
            if predictions is not None:
                rows[PREDICTIONS] = write_predictions(directory / PREDICTIONS, predictions)
            if files is not None:
                files(directory)
            stored = dataclasses.replace(record, artefacts=describe(directory, rows), version=VERSION)
            write_text(directory / RECORD, sealed_text(record_to_json(stored)))
            if target.exists() and not is_whole(target):
                set_aside(results, record.spec)
    except OSError as error:
        raise cannot_write(target, error) from error
    forget_failure(results, record.spec)
    return target


def write_failure(results: Path, record: Record) -> Path:
    """Store why a unit failed, in place of what is known of an earlier failure. Returns its directory."""
    target = failure_path(results, record.spec)
    try:
        write_text(target / RECORD, sealed_text(record_to_json(record)))
    except OSError as error:
        raise cannot_write(target, error) from error
    return target


# --- reading -----------------------------------------------------------------------------------------


def read(results: Path, spec: UnitSpec) -> Record:
    """The record of a finished unit. Raises StoreError if it is missing or cannot be read."""
    path = path_of(results, spec)
    if not (path / RECORD).is_file():
        raise StoreError(f"{path / RECORD}: no such record; {spec.label} is not done")
    return read_folder(path)


def read_failure(results: Path, spec: UnitSpec) -> Record | None:
    """The record of a unit's latest failure; None if there is none, or none that can be read."""
    path = failure_path(results, spec)
    try:
        return read_folder(path) if (path / RECORD).is_file() else None
    except StoreError:
        return None


def forget_failure(results: Path, spec: UnitSpec) -> None:
    """Remove what is known of a unit's failures."""
    shutil.rmtree(failure_path(results, spec), ignore_errors=True)


def scan(results: Path) -> tuple[list[Record], list[str]]:
    """All records under `results`, in a fixed order, and a warning for each that had to be left out.

    A failure of a unit that is done by now is passed over. A unit whose files are missing or of another size
    is there, with its `damage`, and a warning too.
    """
    records: dict[str, Record] = {}
    warnings: list[str] = []
    seen = Seen()
    for path in directories(results):
        try:
            record = read_folder(path, seen)
        except StoreError as error:
            warnings.append(f"{error} (left out)")
            continue
        if record.damage:
            warnings.append(f"{path}: {record.damage}; {remedy(path)}")
        known = records.setdefault(record.key, record)
        if known is not record and known.status == record.status:
            warnings.append(f"{path}: a second copy of {known.path}; delete one (left out)")
    return list(records.values()), warnings


def directories(results: Path) -> Iterator[Path]:
    """The folder of every unit that is done or failed, in a fixed order."""
    for place in _PLACES:
        for folder in _folders(results / place):
            yield from _folders(folder)


def _folders(folder: Path) -> list[Path]:
    """The folders in `folder` by name, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError:
        return []
    return [folder / name for name in names]


def read_folder(path: Path, seen: Seen | None = None) -> Record:
    """The record of the unit in this folder. Raises StoreError if it cannot be read or is another unit's."""
    file = path / RECORD
    try:
        with open(file, "rb") as stored:
            text = stored.read()
        content = json.loads(text)
        record = record_from_json(content, path, seen)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise unreadable(file, error) from error
    if content.get("key") != record.key or path.name.rpartition(".")[2] != record.key:
        raise StoreError(
            f"{file}: its spec has key {record.key}, not the one it is stored under; {remedy(path)}"
        )
    if record.version > 1 and not is_sealed(text):
        raise StoreError(f"{file}: was edited since it was written (its sha256 differs); {remedy(path)}")
    if record.artefacts and (damage := missized(path, record.artefacts)):
        record = dataclasses.replace(record, damage=damage)
    return record
