"""The file of a unit's predictions: one row per image of the validation and test parts.

Columns are split, id, group, label (class name), then "p:<class>" for every class.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.errors import StoreError
from bench.interfaces.predictions import Predictions
from bench.results.artefacts import altered
from bench.results.distribution import fault
from bench.results.record import Record

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTIONS = "predictions.parquet"


class DamagedPredictions(StoreError):
    """Stored predictions that can be read, and are not what a unit predicted; `cause` is a phrase."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(f"{path / PREDICTIONS}: {cause}; {remedy(path)}")
        self.cause = cause


# --- writing -----------------------------------------------------------------------------------------


def write_predictions(path: Path, parts: Mapping[str, Predictions]) -> dict[str, int]:
    """Write the predictions of each part; returns how many images each has. Raises StoreError for
    predictions that are no distributions, OSError where the disk refuses."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    classes = _common_classes(parts)
    columns: dict[str, list[str]] = {"split": [], "id": [], "group": [], "label": []}
    for part, predictions in parts.items():
        if problem := fault(predictions.probabilities, len(predictions.ids), len(classes)):
            raise StoreError(f"{part} part: {problem}; predictions that are no distributions are not stored")
        columns["split"] += [part] * len(predictions.ids)
        columns["id"] += predictions.ids
        columns["group"] += predictions.groups
        columns["label"] += [classes[i] for i in predictions.labels]
    stacked = np.concatenate([np.asarray(p.probabilities, dtype=np.float64) for p in parts.values()])
    arrays = [pa.array(values, pa.string()) for values in columns.values()]
    arrays += [pa.array(stacked[:, i], pa.float64()) for i in range(len(classes))]
    table = pa.table(arrays, names=[*columns, *(f"p:{c}" for c in classes)])
    table = table.replace_schema_metadata({"classes": json.dumps(classes)})
    pq.write_table(table, path, use_dictionary=list(columns))
    return {part: len(predictions.ids) for part, predictions in parts.items()}


def _common_classes(parts: Mapping[str, Predictions]) -> tuple[str, ...]:
    known = {p.classes for p in parts.values()}
    if len(known) != 1:
        raise StoreError(f"the parts of one unit must share their classes; these differ: {sorted(known)}")
    return known.pop()


# --- reading -----------------------------------------------------------------------------------------


def read_table(path: Path, sha256: str = "") -> pa.Table:
    """All stored predictions of the unit in directory `path`, as they are on disk.

    Raises StoreError if they cannot be read, or are not those with this checksum.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = path / PREDICTIONS
    try:
        content = file.read_bytes()
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise DamagedPredictions(path, altered(PREDICTIONS))
        with pq.ParquetFile(pa.BufferReader(content)) as parquet:
            return parquet.read(use_threads=False)  # they cost more than such a small file
    except (OSError, pa.ArrowException) as error:
        raise unreadable(file, error) from error


def read_predictions(path: Path, part: str, record: Record | None = None) -> Predictions:
    """The predictions for one part of the split ("val", "test") of the unit stored in directory `path`.

    Raises StoreError if they are missing or damaged, or not those that `record` was stored with.
    """
    stated = (record.artefacts or {}).get(PREDICTIONS) if record else None
    table = read_table(path, stated.sha256 if stated else "")
    predictions = select(table, path, part)
    if record and record.version == 1 and (problem := _miscounted(predictions, part, record)):
        raise DamagedPredictions(path, problem)
    return predictions


def select(table: pa.Table, path: Path, part: str) -> Predictions:
    """The rows of one part of the table of the unit in `path`. Raises StoreError as `read_predictions`."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    file = path / PREDICTIONS
    try:
        classes = tuple(json.loads(table.schema.metadata[b"classes"]))
        table = table.filter(pc.equal(table["split"], part))
        index = {name: i for i, name in enumerate(classes)}
        labels = np.array([index[name] for name in table["label"].to_pylist()], dtype=np.int64)
        probabilities = np.stack([table[f"p:{name}"].to_numpy() for name in classes], axis=1)
        ids, groups = (tuple(cast("list[str]", table[c].to_pylist())) for c in ("id", "group"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, pa.ArrowException) as error:
        raise unreadable(file, error) from error
    if not ids:
        raise StoreError(f"{file}: holds no predictions for the part {part!r}")
    if len(set(ids)) < len(ids):
        raise DamagedPredictions(path, f"has two rows of one image in the part {part!r}")
    if problem := fault(probabilities, len(ids), len(classes)):
        raise DamagedPredictions(path, f"holds {problem}, in the part {part!r}")
    return Predictions(classes=classes, ids=ids, groups=groups, labels=labels, probabilities=probabilities)


def _miscounted(predictions: Predictions, part: str, record: Record) -> str:
    """Where a record without checksums counts other images of a class; "" where it fits."""
    counts = (record.data.counts if record.data else {}).get(part)
    if not counts:
        return ""
    present = Counter(predictions.classes[i] for i in predictions.labels.tolist())
    for name in dict.fromkeys([*counts, *present]):
        stated = counts[name].images if name in counts else 0
        if present[name] != stated:
            return f"has {present[name]} {part} images of {name}, the record counts {stated}"
    return ""


def unreadable(file: Path, error: Exception) -> StoreError:
    """The error for a file of a unit that cannot be read."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return StoreError(f"{file}: cannot be read ({reason[:160]}); {remedy(file.parent)}")


def remedy(path: Path) -> str:
    """What to do about a damaged unit in the directory `path`."""
    return f"delete {path} and repeat the command that made it"
