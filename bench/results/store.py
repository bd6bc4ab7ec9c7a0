"""Result directories: where a unit's results lie, writing them at once, reading them back.

    results/runs/<data set>/<label>.<key>/      record.json, predictions.parquet
    results/pretrain/<data set>/<label>.<key>/  record.json, encoder files
    results/failures/<data set>/<label>.<key>/  record.json with reason and traceback

A directory is whole or absent (`bench.files`), and nothing is edited afterwards. The first of two writers
wins: both computed the same thing. Reading is tolerant about outcomes, strict about identity.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.errors import StoreError
from bench.files import cannot_write, new_directory, write_text
from bench.interfaces.predictions import Predictions
from bench.results.record import RECORD, Record, record_from_json, record_to_json
from bench.study.spec import UnitSpec

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTIONS = "predictions.parquet"
_PLACES = ("pretrain", "runs", "failures")
_LABEL_LENGTH = 150  # a file name may have 255 bytes; an ensemble of many members would exceed them


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
    return Path(_safe(spec.dataset.name)) / f"{_safe(spec.label)[:_LABEL_LENGTH]}.{spec.key}"


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
    whatever else belongs to the unit. If the unit is already there, it is left as it is. Raises
    StoreError where the disk refuses.
    """
    target = path_of(results, record.spec)
    try:
        with new_directory(target, RECORD) as directory:
            if predictions is not None:
                _write_predictions(directory / PREDICTIONS, predictions)
            if files is not None:
                files(directory)
            write_text(directory / RECORD, _to_text(record))
    except OSError as error:
        raise cannot_write(target, error) from error
    shutil.rmtree(failure_path(results, record.spec), ignore_errors=True)
    return target


def write_failure(results: Path, record: Record) -> Path:
    """Store why a unit failed, in place of what is known of an earlier failure. Returns its directory."""
    target = failure_path(results, record.spec)
    try:
        write_text(target / RECORD, _to_text(record))
    except OSError as error:
        raise cannot_write(target, error) from error
    return target


def _to_text(record: Record) -> str:
    return json.dumps(record_to_json(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _write_predictions(path: Path, parts: Mapping[str, Predictions]) -> None:
    """One row per image: split, id, group, label (class name), then "p:<class>" for every class."""
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
    return _read(path)


def read_failure(results: Path, spec: UnitSpec) -> Record | None:
    """The record of a unit's latest failure; None if there is none, or none that can be read."""
    path = failure_path(results, spec)
    try:
        return _read(path) if (path / RECORD).is_file() else None
    except StoreError:
        return None


def scan(results: Path) -> tuple[list[Record], list[str]]:
    """All records under `results`, in a fixed order, and a warning for each that had to be left out.

    A failure of a unit that is done by now is passed over.
    """
    records: dict[str, Record] = {}
    warnings: list[str] = []
    for path in _directories(results):
        try:
            record = _read(path)
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


def _read(path: Path) -> Record:
    file = path / RECORD
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        record = record_from_json(content, path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(file, error) from error
    if content.get("key") != record.key or path.name.rpartition(".")[2] != record.key:
        raise StoreError(
            f"{file}: its spec has key {record.key}, not the one it is stored under; {_remedy(path)}"
        )
    return record


def _unreadable(file: Path, error: Exception) -> StoreError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return StoreError(f"{file}: cannot be read ({reason[:160]}); {_remedy(file.parent)}")


def _remedy(path: Path) -> str:
    return f"delete {path} and repeat the command that made it"


def read_table(path: Path) -> pa.Table:
    """All stored predictions of the unit in directory `path`, as they are on disk. Raises StoreError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = path / PREDICTIONS
    try:
        with pq.ParquetFile(file) as parquet:
            return parquet.read()
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def read_predictions(path: Path, part: str) -> Predictions:
    """The predictions for one part of the split ("val", "test") of the unit stored in directory `path`.

    Raises StoreError if they are missing or damaged.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    file = path / PREDICTIONS
    table = read_table(path)
    try:
        classes = tuple(json.loads(table.schema.metadata[b"classes"]))
        table = table.filter(pc.equal(table["split"], part))
        index = {name: i for i, name in enumerate(classes)}
        labels = np.array([index[name] for name in table["label"].to_pylist()], dtype=np.int64)
        probabilities = [table[f"p:{name}"].to_numpy() for name in classes]
        ids, groups = (tuple(cast("list[str]", table[c].to_pylist())) for c in ("id", "group"))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error
    if not ids:
        raise StoreError(f"{file}: holds no predictions for the part {part!r}")
    return Predictions(
        classes=classes, ids=ids, groups=groups, labels=labels, probabilities=np.stack(probabilities, axis=1)
    )
