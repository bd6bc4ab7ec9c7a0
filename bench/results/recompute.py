"""Scores and ensembles computed again from stored predictions, by another way than tables take.

The predictions are read by pandas and handed over in reverse order to each metric's reference
implementation, where it has one; an ensemble is combined again from what its members stored.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError, StoreError, UnknownName, describe
from bench.files import sha256_of
from bench.interfaces.predictions import Predictions
from bench.results.predictions_file import PREDICTIONS, read_predictions, remedy
from bench.results.record import Record
from bench.results.score import try_score
from bench.results.score_cache import FILE, ScoreCache, identities
from bench.results.verify import PARTS, Verification
from bench.study.spec import EnsembleSpec

if TYPE_CHECKING:
    from bench.interfaces.metric import Metric
    from bench.registry import Registry

TOLERANCE = 1e-9
"""What another order of the same sums may change."""


def recompute(results: Path, records: Sequence[Record], registry: Registry, found: Verification) -> None:
    """Compute every score and every ensemble again; what differs from what is kept or stored is added to
    `found`, and so is a metric that fails."""
    cache = ScoreCache(results)
    metrics = registry.metrics.all()
    known = identities(metrics, registry)
    done = {record.key: record for record in records if record.status == "done"}
    failing: dict[str, None] = {}
    for record in done.values():
        if record.kind == "pretrain" or record.path is None:
            continue
        try:
            _unit(record, record.path, cache, metrics, known, registry, found, failing)
            if isinstance(record.spec, EnsembleSpec):
                _ensemble(record, record.spec, done, registry, found)
        except (StoreError, OSError):
            continue  # which the files' own check has told
    for problem in failing:
        what, _, remedy = problem.rpartition("; ")
        found.add(results, what, remedy)


def _unit(
    record: Record,
    path: Path,
    cache: ScoreCache,
    metrics: Sequence[Metric],
    known: Mapping[str, str],
    registry: Registry,
    found: Verification,
    failing: dict[str, None],
) -> None:
    first = try_score(read_predictions(path, "test", record), metrics, registry)
    second = [dataclasses.replace(metric, score=metric.reference or metric.score) for metric in metrics]
    again = try_score(_read_again(path, "test"), second, registry)
    failing |= dict.fromkeys(first.problems.values())
    kept = cache.get(sha256_of(path / PREDICTIONS), known)
    for name, value in again.values.items():
        found.counts["scores"] += 1
        if name in first.values and not _same(first.values[name], value):
            found.add(
                path,
                f"metric {name!r} gives {first.values[name]!r}, and computed another way {value!r}",
                "repair the metric",
            )
        if name in kept and not _same(kept[name], value):
            found.add(
                cache.path,
                f"keeps {kept[name]!r} as {name!r} of {path}, which is {value!r}",
                f"delete {FILE.name}; scores are computed again",
            )


def _ensemble(
    record: Record, spec: EnsembleSpec, done: Mapping[str, Record], registry: Registry, found: Verification
) -> None:
    """Compare an ensemble's predictions with its members' combined again."""
    import numpy as np

    members = [done.get(member.key) for member in spec.members]
    whole = [member for member in members if member is not None and member.path is not None]
    if len(whole) < len(members) or record.path is None:
        return
    try:
        component = registry.ensembles.get(spec.ensemble.name)
    except UnknownName as error:
        found.unchecked.append(f"{record.path}: cannot be combined again ({error})")
        return
    try:
        each = {
            part: [read_predictions(m.path, part, m) for m in whole if m.path is not None] for part in PARTS
        }
        rule = component.fit(each["val"], registry.ensembles.params(spec.ensemble))
        for part, predictions in each.items():
            again = np.asarray(rule([p.probabilities for p in predictions]))
            stored = read_predictions(record.path, part, record).probabilities
            if again.shape != stored.shape or not np.allclose(again, stored, rtol=0, atol=TOLERANCE):
                found.add(
                    record.path,
                    f"its {part} predictions are not what its members give when combined again",
                    remedy(record.path),
                )
        found.counts["ensembles"] += 1
    except BenchError as error:
        found.add(record.path, f"cannot be combined again ({error})", "install the plugin it was made with")
    except Exception as error:  # whatever a third-party rule raises
        found.add(
            record.path, f"cannot be combined again ({describe(error)})", "repair the ensemble's plugin"
        )


def _read_again(path: Path, part: str) -> Predictions:
    """What `read_predictions` gives, by pandas and in reverse order."""
    import numpy as np
    import pandas as pd
    import pyarrow.parquet as pq

    file = path / PREDICTIONS
    frame = pd.read_parquet(file)
    frame = frame[frame["split"] == part].iloc[::-1]
    classes = tuple(json.loads(pq.read_schema(file).metadata[b"classes"]))
    return Predictions(
        classes=classes,
        ids=tuple(frame["id"]),
        groups=tuple(frame["group"]),
        labels=np.array([classes.index(name) for name in frame["label"]], dtype=np.int64),
        probabilities=frame[[f"p:{name}" for name in classes]].to_numpy(dtype=np.float64),
    )


def _same(first: float, second: float) -> bool:
    if math.isnan(first) or math.isnan(second):
        return math.isnan(first) and math.isnan(second)
    return math.isclose(first, second, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
