"""Result directories: where a unit's results lie, writing them at once, reading them back.

    results/runs/<data set>/<label>.<key>/      record.json, predictions.parquet
    results/pretrain/<data set>/<label>.<key>/  record.json, encoder files
    results/failures/<data set>/<label>.<key>/  record.json with reason and traceback

A directory is written under a temporary name beside its target, synced to disk and renamed, so it is
whole or absent; nothing is edited afterwards. The first of two writers wins: both computed the same
thing. A writer killed half-way leaves a directory called `.writing-...`, which everything here
ignores and a later writer removes. Reading is tolerant about outcomes, strict about identity.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.durable import sync_directory, write_text
from bench.errors import StoreError
from bench.spec import UnitSpec, key, to_json, unit_from_json

if TYPE_CHECKING:
    from bench.types import Predictions

VERSION = 1
RECORD = "record.json"
PREDICTIONS = "predictions.parquet"
_PLACES = ("pretrain", "runs", "failures")
_LABEL_LENGTH = 150  # a file name may have 255 bytes; an ensemble of many members would exceed them
_TEMPORARY = ".writing-"


@dataclass(frozen=True)
class Record:
    """What is stored about one unit."""

    kind: str  # "pretrain", "run" or "ensemble"
    key: str
    spec: UnitSpec
    status: str  # "done" or "failed"
    path: Path  # its directory
    content: Mapping[str, Any]  # the whole record.json


# --- places ------------------------------------------------------------------------------------------


def path_of(results: Path, spec: UnitSpec) -> Path:
    """The directory of a finished unit."""
    return results / ("pretrain" if spec.kind == "pretrain" else "runs") / _leaf(spec)


def failure_path(results: Path, spec: UnitSpec) -> Path:
    """The directory of the latest failure of a unit."""
    return results / "failures" / _leaf(spec)


def exists(results: Path, spec: UnitSpec) -> bool:
    """Whether the unit is done."""
    return (path_of(results, spec) / RECORD).is_file()


def _leaf(spec: UnitSpec) -> Path:
    return Path(_safe(spec.dataset.name)) / f"{_safe(spec.label)[:_LABEL_LENGTH]}.{key(spec)}"


def _safe(name: str) -> str:
    """`name` with what some file system or shell takes amiss replaced; the key keeps leaves distinct."""
    return re.sub(r"-+(?=\.|$)", "", re.sub(r"[^A-Za-z0-9._+-]+", "-", name)).lstrip(".") or "_"


# --- writing -----------------------------------------------------------------------------------------


def write(
    results: Path,
    spec: UnitSpec,
    content: Mapping[str, Any],
    *,
    predictions: Mapping[str, Predictions] | None = None,
    files: Callable[[Path], None] | None = None,
) -> Path:
    """Store a finished unit, all of it or nothing, and forget its failure. Returns its directory.

    `predictions` maps parts of the split to what the unit says about them; `files(directory)` writes
    whatever else belongs to the unit. If the unit is already there, it is left as it is. Raises
    StoreError where the disk refuses.
    """
    target = path_of(results, spec)
    temporary = target.parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
        if predictions is not None:
            _write_predictions(temporary / PREDICTIONS, predictions)
        if files is not None:
            files(temporary)
        _write_json(temporary / RECORD, _with_identity(spec, "done", content))
        _sync(temporary)
        _publish(temporary, target)
    except OSError as error:
        raise _refused(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(failure_path(results, spec), ignore_errors=True)
    _sweep(target.parent)
    return target


def _sweep(folder: Path) -> None:
    """Remove what killed writers left; an hour keeps clear of those still at work."""
    for left in folder.glob(f"{_TEMPORARY}*"):
        try:
            if time.time() - left.stat().st_mtime > 3600:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:  # its writer has just finished
            continue


def write_failure(
    results: Path, spec: UnitSpec, reason: str, traceback: str, content: Mapping[str, Any]
) -> Path:
    """Store why a unit failed, in place of what is known of an earlier failure. Returns its directory."""
    target = failure_path(results, spec)
    record = _with_identity(spec, "failed", {**content, "reason": reason, "traceback": traceback})
    temporary = target / f"{_TEMPORARY}{uuid.uuid4().hex}"
    try:
        target.mkdir(parents=True, exist_ok=True)
        try:
            _write_json(temporary, record)
            temporary.replace(target / RECORD)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(target, error) from error
    return target


def _with_identity(spec: UnitSpec, status: str, content: Mapping[str, Any]) -> dict[str, Any]:
    identity: dict[str, Any] = {
        "version": VERSION,
        "kind": spec.kind,
        "key": key(spec),
        "spec": to_json(spec),
    }
    identity["status"] = status
    return {**identity, **content, **identity}


def _publish(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError:
        if not (target / RECORD).is_file():
            raise
        return  # another writer was first
    sync_directory(target.parent)


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises StoreError where the disk refuses."""
    try:
        write_text(path, text)
    except OSError as error:
        raise _refused(path, error) from error


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    with path.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def _plain(value: Any) -> Any:
    """`value` as JSON has it: no nan (a diverged loss is null), no numpy scalars, no paths."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if type(value).__module__ == "numpy":
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sync(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    sync_directory(directory)


def _refused(target: Path, error: OSError) -> StoreError:
    reason = error.strerror or str(error)
    return StoreError(f"{target}: cannot be written ({reason}); make room or choose another --results")


def _write_predictions(path: Path, parts: Mapping[str, Predictions]) -> None:
    """One row an image: split, id, group, label (class name), then "p:<class>" for every class."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    classes = _common_classes(parts)
    columns: dict[str, list[str]] = {"split": [], "id": [], "group": [], "label": []}
    for part, predictions in parts.items():
        columns["split"] += [part] * len(predictions.ids)
        columns["id"] += predictions.ids
        columns["group"] += predictions.groups
        columns["label"] += [classes[i] for i in predictions.labels]
    stacked = np.concatenate([np.asarray(p.probabilities, dtype=np.float64) for p in parts.values()])
    if stacked.shape != (len(columns["id"]), len(classes)):
        raise StoreError(
            f"{len(columns['id'])} images of {len(classes)} classes have probabilities of shape "
            f"{stacked.shape}; they must be (images, classes)"
        )
    arrays = [pa.array(values, pa.string()) for values in columns.values()]
    arrays += [pa.array(stacked[:, i], pa.float64()) for i in range(len(classes))]
    table = pa.table(arrays, names=[*columns, *(f"p:{c}" for c in classes)])
    table = table.replace_schema_metadata({"classes": json.dumps(classes)})
    pq.write_table(table, path, use_dictionary=list(columns))


def _common_classes(parts: Mapping[str, Predictions]) -> tuple[str, ...]:
    known = {p.classes for p in parts.values()}
    if len(known) != 1:
        raise StoreError(f"the parts of one unit must share their classes; these differ: {sorted(known)}")
    return known.pop()


# --- reading -----------------------------------------------------------------------------------------


def read(results: Path, spec: UnitSpec) -> Record:
    """The record of a finished unit. Raises StoreError if it is missing or cannot be read."""
    path = path_of(results, spec)
    if not (path / RECORD).is_file():
        raise StoreError(f"{path / RECORD}: no such record; {spec.label} is not done")
    return _load(path)


def scan(results: Path) -> tuple[list[Record], list[str]]:
    """All records under `results`, in a fixed order, and a warning for each that had to be left out.

    A failure of a unit that is done by now is passed over.
    """
    records: dict[str, Record] = {}
    warnings: list[str] = []
    for path in _directories(results):
        try:
            record = _load(path)
        except StoreError as error:
            warnings.append(f"{error} (left out)")
            continue
        known = records.setdefault(record.key, record)
        if known is not record and known.status == record.status:
            warnings.append(f"{path}: a second copy of {known.path}; delete one (left out)")
    return list(records.values()), warnings


def _directories(results: Path) -> Iterator[Path]:
    for place in _PLACES:
        for path in sorted((results / place).glob("*/*")):
            if path.is_dir() and not path.name.startswith("."):
                yield path


def _load(path: Path) -> Record:
    file = path / RECORD
    remedy = f"delete {path} and repeat the command that made it"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        kind, version = content["kind"], content["version"]
        if version > VERSION:
            raise StoreError(f"{file}: version {version} of the record is newer than this bench; update it")
        spec = unit_from_json(kind, content["spec"])
        status = {"done": "done", "failed": "failed"}[content["status"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise StoreError(f"{file}: cannot be read ({reason[:160]}); {remedy}") from error
    found = key(spec)
    if content.get("key") != found or path.name.rpartition(".")[2] != found:
        raise StoreError(f"{file}: its spec has key {found}, not the one it is stored under; {remedy}")
    return Record(kind, found, spec, status, path, content)


def read_predictions(path: Path, part: str) -> Predictions:
    """The predictions for one part of the split ("val", "test") of the unit stored in directory `path`.

    Raises StoreError if they are missing or damaged.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from bench.types import Predictions

    file = path / PREDICTIONS
    try:
        with pq.ParquetFile(file) as parquet:
            table = parquet.read()
        classes = tuple(json.loads(table.schema.metadata[b"classes"]))
        table = table.filter(pc.equal(table["split"], part))
        index = {name: i for i, name in enumerate(classes)}
        labels = np.array([index[name] for name in table["label"].to_pylist()], dtype=np.int64)
        probabilities = [table[f"p:{name}"].to_numpy() for name in classes]
        ids, groups = (tuple(cast("list[str]", table[c].to_pylist())) for c in ("id", "group"))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        remedy = f"delete {path} and repeat the command that made it"
        raise StoreError(f"{file}: cannot be read ({reason[:160]}); {remedy}") from error
    if not ids:
        raise StoreError(f"{file}: holds no predictions for the part {part!r}")
    return Predictions(classes, ids, groups, labels, np.stack(probabilities, axis=1))
