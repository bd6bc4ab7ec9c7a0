"""Results of several machines joined in one folder: nothing is overwritten, nothing is taken unread.

A merge is planned first, by reading every file of the sources, then done unit by unit: each becomes part of
the folder in one rename, foundations (splits, audits, pools) before the units that cite them. So a killed
merge leaves a sound folder, and the same command goes on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.data.audit.audit import read_audit
from bench.data.splits.manifest import read_named
from bench.data.splits.pool import load_pool
from bench.errors import BenchError, StoreError
from bench.files import cannot_write, remove_leftovers, replacing, sync_directory, temporary_beside
from bench.pack.contents import KEPT
from bench.results import store
from bench.results.artefacts import LEFT_OUT, changed, is_left_out
from bench.results.predictions_file import PREDICTIONS, read_predictions, read_table, select
from bench.results.record import RECORD, NewerRecord, Record
from bench.results.spec_json import Seen
from bench.results.verify import PARTS

_CHUNK = 1 << 20
_BATCH = 500  # units that are synced together
_FEW = 100  # units that are synced file by file


class Source(NamedTuple):
    """Where results come from: what the user calls it, and the results folder itself."""

    name: str
    results: Path


class _Copy(NamedTuple):
    """A folder or file that becomes part of the target."""

    source: Path
    target: Path
    names: tuple[str, ...]  # of the files; none for a file
    sha256: tuple[str, ...] = ()
    replaces: bool = False  # what is damaged in its place, which is set aside


@dataclass
class Merge:
    """What becomes of each thing in the sources.

    Attributes:
        counts: what there is, by what becomes of it: "new units", "units known already", ...
        conflicts: units that two machines made differently, and splits that they drew differently.
        refused: what a newer version of bench wrote.
        damaged: what is not what was stored, and is left out.
        notes: what else should be known.
    """

    counts: Counter[str] = field(default_factory=Counter)
    conflicts: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    foundations: list[_Copy] = field(default_factory=list)
    units: list[_Copy] = field(default_factory=list)

    @property
    def stops(self) -> bool:
        """Whether nothing is merged unless the user says that the rest may be."""
        return bool(self.conflicts or self.refused)

    @property
    def is_clean(self) -> bool:
        return not (self.conflicts or self.refused or self.damaged)


class _Known(NamedTuple):
    """A finished unit that will be in the target: the folder that it comes from, and of which source."""

    path: Path
    source: str


# --- planning ----------------------------------------------------------------------------------------


def plan_merge(sources: Sequence[Source], target: Path) -> Merge:
    """Read all of the sources and decide what is copied to the results folder `target`. Writes nothing."""
    merge = Merge()
    chosen: dict[str, _Known] = {}
    failures: dict[str, _Copy] = {}
    for source in sources:
        _plan_foundations(source, target, merge)
        for path, record in _records(source, merge):
            if record.status == "failed":
                _plan_failure(path, record, source, target, failures, merge)
            else:
                _plan_unit(path, record, source, target, chosen, merge)
    for key, copy in failures.items():
        if key in chosen or _has_unit(copy.target.name, copy.target.parent.name, target):
            merge.counts["failures of units that are done by now"] += 1
        else:
            merge.counts["new failures"] += 1
            merge.units.append(copy)
    return merge


def _records(source: Source, merge: Merge) -> Iterator[tuple[Path, Record]]:
    """The whole units of a source; the others are told."""
    seen = Seen()
    for path in store.directories(source.results):
        try:
            record = store.read_folder(path, seen)
        except NewerRecord as error:
            merge.refused.append(_told(source, path, str(error)))
            continue
        except StoreError as error:
            merge.damaged.append(_told(source, path, str(error)))
            continue
        if fault := _fault(path, record):
            merge.damaged.append(f"{source.name}: {_inside(source, path)}: {fault}")
            continue
        yield path, record


def _fault(path: Path, record: Record) -> str:
    """What is wrong with the files of a unit; "" if nothing."""
    if record.damage or record.status != "done":
        return record.damage
    artefacts = record.artefacts or {}
    for name in artefacts:
        if name != PREDICTIONS and is_left_out(path, name):
            continue
        if damage := changed(path, artefacts, name):
            return damage
    if record.kind != "pretrain":
        try:
            table = read_table(path)
            for part in PARTS:
                select(table, path, part)
        except StoreError as error:
            return str(error).removeprefix(f"{path / PREDICTIONS}: ").rpartition("; ")[0]
    return ""


def _plan_unit(
    path: Path, record: Record, source: Source, target: Path, chosen: dict[str, _Known], merge: Merge
) -> None:
    place = store.path_of(target, record.spec)
    known = chosen.get(record.key)
    replaces = False
    if known is None and place.exists():
        if store.exists(target, record.spec):
            known = _Known(place, str(target))
        else:
            replaces = True
    if known is None:
        merge.counts["new units"] += 1
        merge.units.append(_copy_of(path, record, place, replaces))
        if replaces:
            merge.notes.append(f"{place}: is damaged; it is moved to {store.DAMAGED}, and merged anew")
        chosen[record.key] = _Known(path, source.name)
        _plan_kept(path, place, source, target, merge)
        return
    chosen.setdefault(record.key, known)
    if _compare(path, record, source, known, place, merge):
        _plan_kept(path, place, source, target, merge)


def _compare(path: Path, record: Record, source: Source, known: _Known, place: Path, merge: Merge) -> bool:
    """One unit that two machines made: the same (True), or a conflict."""
    other = _read(known.path)
    if isinstance(other, str):
        merge.refused.append(f"{known.path}: {other}")
        return False
    if not _same_result(record, other):
        what = "encoders" if record.kind == "pretrain" else "predictions"
        merge.conflicts.append(
            f"{record.spec.label} ({record.key}): {source.name} and {known.source} have different {what}, "
            f"computed on {_arithmetic(record)} and on {_arithmetic(other)}"
        )
        return False
    merge.counts["units known already"] += 1
    for name in _lacking(known.path, path, record):
        merge.counts["files completed"] += 1
        sha256 = (record.artefacts or {})[name].sha256
        merge.units.append(_Copy(path / name, place / name, (), (sha256,)))
    return True


def _read(path: Path) -> Record | str:
    try:
        return store.read_folder(path)
    except StoreError as error:
        return str(error)


def _same_result(first: Record, second: Record) -> bool:
    """Whether two records of one unit are of the same bytes, or at least of the same predictions."""
    one, other = ({n: a.sha256 for n, a in (r.artefacts or {}).items()} for r in (first, second))
    if one == other and (one or first.kind == "pretrain"):
        return True
    if first.kind == "pretrain" or first.path is None or second.path is None:
        return False
    import numpy as np

    for part in PARTS:
        a, b = (read_predictions(r.path, part, r) for r in (first, second) if r.path is not None)
        if (a.ids, a.classes, a.groups) != (b.ids, b.classes, b.groups):
            return False
        if not (np.array_equal(a.labels, b.labels) and np.array_equal(a.probabilities, b.probabilities)):
            return False
    return True


def _arithmetic(record: Record) -> str:
    made = record.provenance
    return f"{made.arithmetic or 'an unknown device'} ({made.hardware.get('cpu') or 'unknown processor'})"


def _lacking(known: Path, path: Path, record: Record) -> list[str]:
    """Files that a unit was merged without, and that are here."""
    names = record.artefacts or {}
    return [name for name in names if is_left_out(known, name) and (path / name).is_file()]


def _copy_of(path: Path, record: Record, place: Path, replaces: bool) -> _Copy:
    names, sums = [RECORD], [""]
    stated = record.artefacts
    for name in stated if stated is not None else _beside(path):
        left_out = is_left_out(path, name)
        names.append(f"{name}{LEFT_OUT}" if left_out else name)
        sums.append("" if left_out or stated is None else stated[name].sha256)
    return _Copy(path, place, tuple(names), tuple(sums), replaces)


def _beside(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir() if file.is_file() and file.name != RECORD)


def _plan_kept(path: Path, place: Path, source: Source, target: Path, merge: Merge) -> None:
    """What was kept of a unit's networks, where the target has nothing of it."""
    folder = source.results / KEPT / path.relative_to(source.results)
    own = target / KEPT / place.relative_to(target)
    if folder.is_dir() and not own.exists() and all(copy.target != own for copy in merge.units):
        names = sorted(file.name for file in folder.iterdir() if file.is_file())
        merge.counts["new kept networks"] += 1
        merge.units.append(_Copy(folder, own, tuple(names)))


def _plan_failure(
    path: Path, record: Record, source: Source, target: Path, failures: dict[str, _Copy], merge: Merge
) -> None:
    place = store.failure_path(target, record.spec)
    if place.exists() or record.key in failures:
        merge.counts["failures known already"] += 1
    else:
        failures[record.key] = _Copy(path, place, (RECORD,))


def _has_unit(leaf: str, dataset: str, target: Path) -> bool:
    return any((target / place / dataset / leaf / RECORD).is_file() for place in ("pretrain", "runs"))


# --- what units stand on -----------------------------------------------------------------------------


def _plan_foundations(source: Source, target: Path, merge: Merge) -> None:
    for folder, read in (("splits", _split_hash), ("audits", _audit_hash), ("pools", _pool_hash)):
        for path in sorted((source.results / folder).glob("*/*.json")):
            try:
                hash_ = read(path)
            except BenchError as error:
                merge.damaged.append(_told(source, path, str(error)))
                continue
            place = target / path.relative_to(source.results)
            if any(copy.target == place for copy in merge.foundations) or place.exists():
                merge.counts[f"{folder} known already"] += 1
                continue
            if folder == "splits" and (other := _rival(path, place, merge)):
                merge.conflicts.append(
                    f"{source.name}: {_inside(source, path)} and {other.name} are different splits for one "
                    "request; results under both cannot share a table"
                )
                continue
            merge.counts[f"new {folder}"] += 1
            merge.foundations.append(_Copy(path, place, (), (_sha256(path),)))
            assert hash_


def _rival(path: Path, place: Path, merge: Merge) -> Path | None:
    """A manifest that answers the same request by another split."""
    request = path.name.rpartition(".json")[0].rpartition(".")[0]
    if request.endswith(".given"):
        return None
    planned = [copy.target for copy in merge.foundations if copy.target.parent == place.parent]
    there = [*planned, *place.parent.glob(f"{request}.*.json")]
    return next(
        (each for each in there if each.name.startswith(f"{request}.") and each.name != path.name), None
    )


def _split_hash(path: Path) -> str:
    return read_named(path).hash


def _audit_hash(path: Path) -> str:
    return read_audit(path).hash


def _pool_hash(path: Path) -> str:
    split, _, hash_ = path.stem.partition(".")
    return load_pool(path.parents[2], path.parent.name, split, hash_).hash


# --- doing -------------------------------------------------------------------------------------------


def do_merge(merge: Merge, target: Path) -> None:
    """Copy what was planned. Raises StoreError where the disk refuses, or a source changed since."""
    try:
        for folder in {copy.target.parent for copy in (*merge.foundations, *merge.units)}:
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
        for copy in merge.foundations:
            _copy_file(copy)
        folders = [copy for copy in merge.units if copy.names]
        for start in range(0, len(folders), _BATCH):
            _copy_folders(folders[start : start + _BATCH], target)
        for copy in merge.units:
            if not copy.names:
                _copy_file(copy)
                Path(f"{copy.target}{LEFT_OUT}").unlink(missing_ok=True)
        _forget_failures(merge.units, target)
    except OSError as error:
        raise cannot_write(target, error) from error


def _copy_file(copy: _Copy) -> None:
    with replacing(copy.target) as file:
        _require(copy.source, _copied(copy.source, file.write), copy.sha256[0])


def _copy_folders(copies: Sequence[_Copy], target: Path) -> None:
    """Several units: all are written and synced, then each becomes whole by a rename."""
    temporaries: list[tuple[Path, _Copy]] = []
    at_once = hasattr(os, "sync") and len(copies) > _FEW  # it writes out what other programs wrote, too
    try:
        for copy in copies:
            temporary = temporary_beside(copy.target)
            temporary.mkdir(parents=True)
            temporaries.append((temporary, copy))
            for number, name in enumerate(copy.names):
                with (temporary / name).open("wb") as file:
                    sha256 = _copied(copy.source / name, file.write)
                    if not at_once:
                        file.flush()
                        os.fsync(file.fileno())
                _require(copy.source / name, sha256, copy.sha256[number] if copy.sha256 else "")
        if at_once:
            os.sync()
        for temporary, copy in temporaries:
            if copy.replaces:
                _set_aside(copy.target, target)
            _rename(temporary, copy)
        for folder in {copy.target.parent for copy in copies}:
            sync_directory(folder)
    finally:
        for temporary, _ in temporaries:
            shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: Path, copy: _Copy) -> None:
    try:
        temporary.rename(copy.target)
    except OSError:
        if not (copy.target / copy.names[0]).is_file():  # another process was first
            raise


def _set_aside(path: Path, target: Path) -> None:
    try:
        record = store.read_folder(path)
        store.set_aside(target, record.spec)
    except StoreError:  # its record cannot tell
        place = target / store.DAMAGED / path.relative_to(target)
        place.parent.mkdir(parents=True, exist_ok=True)
        number = next(n for n in range(1, 10_000) if not place.with_name(f"{place.name}-{n}").exists())
        path.rename(place.with_name(f"{place.name}-{number}"))


def _forget_failures(units: Iterable[_Copy], target: Path) -> None:
    """Failures of the target that its new units supersede."""
    for copy in units:
        if copy.names and copy.target.parent.parent.name in ("pretrain", "runs"):
            failure = target / "failures" / copy.target.parent.name / copy.target.name
            shutil.rmtree(failure, ignore_errors=True)


def _copied(source: Path, write: Callable[[bytes], object]) -> str:
    sha256 = hashlib.sha256()
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            write(chunk)
    return sha256.hexdigest()


def _require(source: Path, actual: str, stated: str) -> None:
    if stated and actual != stated:
        raise StoreError(f"{source}: was changed while it was merged; run the same command again")


def _sha256(path: Path) -> str:
    return _copied(path, lambda chunk: None)


def _told(source: Source, path: Path, text: str) -> str:
    """What an error says, without its remedy, which is for who made the results."""
    what = text.rpartition("; ")[0] or text
    inside = what.replace(f"{source.results}{os.sep}", "")
    return f"{source.name}: {inside}" if inside != what else f"{source.name}: {_inside(source, path)}: {what}"


def _inside(source: Source, path: Path) -> str:
    return path.relative_to(source.results).as_posix()
