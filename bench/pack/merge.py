"""Results of several machines joined in one folder: nothing is overwritten, nothing is taken unread.

A merge is planned here, by reading every file of the sources, then done unit by unit (`copies`): each becomes
part of the folder in one rename, foundations (splits, audits, pools) before the units that cite them. So a
killed merge leaves a sound folder, and the same command goes on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.data.audit.audit import read_audit
from bench.data.splits.manifest import read_named
from bench.data.splits.pool import load_pool
from bench.errors import BenchError, StoreError
from bench.files import sha256_of
from bench.pack.copies import Copy
from bench.results import kept, store
from bench.results.artefacts import LEFT_OUT, changed, is_left_out
from bench.results.predictions_file import PREDICTIONS, read_predictions, read_table, select
from bench.results.record import RECORD, NewerRecord, Record
from bench.results.spec_json import Seen
from bench.results.verify import PARTS


class Source(NamedTuple):
    """Where results come from: what the user calls it, and the results folder itself."""

    name: str
    results: Path


@dataclass
class Merge:
    """What becomes of each thing in the sources.

    Attributes:
        counts: what there is, by what becomes of it: "new units", "units known already", ...
        conflicts: units that two machines made differently, and splits that they drew differently.
        refused: what a newer version of bench wrote.
        damaged: what is not what was stored, and is left out.
        notes: what else should be known.
        foundations: what is copied before the units that cite it, by its place in the target.
        units: what is copied then: units, files of units, kept networks, failures.
    """

    counts: Counter[str] = field(default_factory=Counter)
    conflicts: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    foundations: dict[Path, Copy] = field(default_factory=dict)
    units: dict[Path, Copy] = field(default_factory=dict)

    @property
    def stops(self) -> bool:
        """Whether nothing is merged unless the user says that the rest may be."""
        return bool(self.conflicts or self.refused)

    @property
    def is_clean(self) -> bool:
        return not (self.conflicts or self.refused or self.damaged)

    def copy(self, copy: Copy) -> None:
        self.units[copy.target] = copy


class _Known(NamedTuple):
    """A finished unit that will be in the target: the folder that it comes from, and of which source."""

    path: Path
    source: str


def plan_merge(sources: Sequence[Source], target: Path) -> Merge:
    """Read all of the sources and decide what is copied to the results folder `target`. Writes nothing."""
    merge = Merge()
    chosen: dict[str, _Known] = {}
    failures: dict[str, Copy] = {}
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
            merge.copy(copy)
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
        merge.copy(_copy_of(path, record, place, replaces))
        if replaces:
            merge.notes.append(f"{place}: is damaged; it is moved to {store.DAMAGED}, and merged anew")
        chosen[record.key] = _Known(path, source.name)
        _plan_kept(path, record, source, target, merge)
        return
    chosen.setdefault(record.key, known)
    if there := _compare(path, record, source, known, place, merge):
        _plan_kept(path, there, source, target, merge)


def _compare(
    path: Path, record: Record, source: Source, known: _Known, place: Path, merge: Merge
) -> Record | None:
    """One unit that two machines made: the record that stays if both are the same; None for a conflict."""
    try:
        other = store.read_folder(known.path)
    except StoreError as error:
        merge.refused.append(str(error))
        return None
    if not _same_result(record, other):
        what = "encoders" if record.kind == "pretrain" else "predictions"
        merge.conflicts.append(
            f"{record.spec.label} ({record.key}): {source.name} and {known.source} have different {what}, "
            f"computed on {_arithmetic(record)} and on {_arithmetic(other)}"
        )
        return None
    merge.counts["units known already"] += 1
    for name, stated in (other.artefacts or {}).items():
        completes = is_left_out(known.path, name) and (path / name).is_file()
        if completes and (record.artefacts or {}).get(name) == stated and place / name not in merge.units:
            merge.counts["files completed"] += 1
            merge.copy(Copy(path / name, place / name, (), (stated.sha256,)))
    return other


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


def _copy_of(path: Path, record: Record, place: Path, replaces: bool) -> Copy:
    names, sums = [RECORD], [""]
    stated = record.artefacts
    for name in stated if stated is not None else _beside(path):
        left_out = is_left_out(path, name)
        names.append(f"{name}{LEFT_OUT}" if left_out else name)
        sums.append("" if left_out or stated is None else stated[name].sha256)
    return Copy(path, place, tuple(names), tuple(sums), replaces)


def _beside(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir() if file.is_file() and file.name != RECORD)


def _plan_kept(path: Path, there: Record, source: Source, target: Path, merge: Merge) -> None:
    """What was kept of a unit's networks, where the target has nothing of it; `there` is the record that the
    target will have."""
    folder = source.results / kept.FOLDER / path.relative_to(source.results)
    own = kept.path_of(target, there.spec)
    if not folder.is_dir() or own.exists() or own in merge.units:
        return
    try:
        known = kept.read(folder)
        fault = kept.changed(folder, known)
        if not fault and known.result != kept.result_of(there):
            fault = "belongs to another result than the stored one"
    except StoreError as error:
        merge.damaged.append(_told(source, folder, str(error)))
        return
    if fault:
        merge.damaged.append(f"{source.name}: {_inside(source, folder)}: {fault}")
        return
    weights = kept.weights_of(known.kind)
    names = sorted(file.name for file in folder.iterdir() if file.is_file())
    sums = (known.file.sha256 if name == weights else "" for name in names)
    merge.counts["new kept networks"] += 1
    merge.copy(Copy(folder, own, tuple(names), tuple(sums)))


def _plan_failure(
    path: Path, record: Record, source: Source, target: Path, failures: dict[str, Copy], merge: Merge
) -> None:
    place = store.failure_path(target, record.spec)
    if place.exists() or record.key in failures:
        merge.counts["failures known already"] += 1
    else:
        failures[record.key] = Copy(path, place, (RECORD,))


def _has_unit(leaf: str, dataset: str, target: Path) -> bool:
    return any((target / place / dataset / leaf / RECORD).is_file() for place in ("pretrain", "runs"))


# --- what units stand on -----------------------------------------------------------------------------


def _plan_foundations(source: Source, target: Path, merge: Merge) -> None:
    for folder, check in (("splits", read_named), ("audits", read_audit), ("pools", _check_pool)):
        for path in sorted((source.results / folder).glob("*/*.json")):
            try:
                check(path)
            except BenchError as error:
                merge.damaged.append(_told(source, path, str(error)))
                continue
            place = target / path.relative_to(source.results)
            if place in merge.foundations or place.exists():
                merge.counts[f"{folder} known already"] += 1
                continue
            if folder == "splits" and (other := _rival(place, merge)):
                merge.conflicts.append(
                    f"{source.name}: {_inside(source, path)} and {other.name} are different splits for one "
                    "request; results under both cannot share a table"
                )
                continue
            merge.counts[f"new {folder}"] += 1
            merge.foundations[place] = Copy(path, place, (), (sha256_of(path),))


def _check_pool(path: Path) -> None:
    split, _, hash_ = path.stem.partition(".")
    load_pool(path.parents[2], path.parent.name, split, hash_)


def _rival(place: Path, merge: Merge) -> Path | None:
    """A manifest that answers the same request by another split."""
    request = place.name.rpartition(".json")[0].rpartition(".")[0]
    if request.endswith(".given"):
        return None
    planned = [each for each in merge.foundations if each.parent == place.parent]
    there = [*planned, *place.parent.glob(f"{request}.*.json")]
    return next(
        (each for each in there if each.name.startswith(f"{request}.") and each.name != place.name), None
    )


def _told(source: Source, path: Path, text: str) -> str:
    """What an error says, without its remedy, which is for who made the results."""
    what = text.rpartition("; ")[0] or text
    inside = what.replace(f"{source.results}{os.sep}", "")
    return f"{source.name}: {inside}" if inside != what else f"{source.name}: {_inside(source, path)}: {what}"


def _inside(source: Source, path: Path) -> str:
    return path.relative_to(source.results).as_posix()
