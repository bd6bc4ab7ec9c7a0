"""A results folder as pandas frames."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StoreError, describe
from bench.identity import Ref, to_json
from bench.registry import installed
from bench.results import store
from bench.results.predictions_file import PREDICTIONS as STORED
from bench.results.record import Record
from bench.results.score import try_score
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec
from bench.study.study import Names, split_names

if TYPE_CHECKING:
    import pandas as pd

    from bench.interfaces.metric import Metric

log = logging.getLogger("bench")

Types = Mapping[str, Any]
"""Column -> dtype. Text is `str`, which is pandas' own text type from version 3 on and object before."""

IDENTITY: Types = {
    "key": str,
    "kind": str,
    "dataset": str,
    "images": str,
    "model": str,
    "method": str,
    "settings": str,
    "round": "int64",
    "split": str,
}
RUNS: Types = {
    **IDENTITY,
    "protocol": str,
    "status": str,
    "reason": str,
    "seconds": "float64",
    "steps": "Int64",
    "images_per_second": "float64",
    "peak_memory": "Int64",
    "latency": "float64",
    "energy": "float64",
    "macs": "Int64",
    "params": "Int64",
    "device": str,
    "path": str,
}
PREDICTIONS: Types = {"key": str, "part": str, "id": str, "group": str, "label": str}
HISTORY: Types = {
    "key": str,
    "kind": str,
    "epoch": "int64",
    "loss": "float64",
    "validation_accuracy": "float64",
}


@dataclass(frozen=True, repr=False)
class Results:
    """What is stored in a results folder, as frames that share the column `key`.

    Rows of `runs` and `rounds` that agree in dataset, images, model, method and settings are rounds of one
    method under one protocol; nothing else may be averaged.

    Attributes:
        folder: the results folder.
        records: all records, in a fixed order.
        warnings: what had to be left out, and why.
        metrics: what `rounds` has a column for.
    """

    folder: Path
    records: tuple[Record, ...]
    warnings: tuple[str, ...]
    metrics: tuple[Metric, ...]

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per unit (pretraining, run or ensemble), failed ones too.

        Columns: key; kind ("pretrain", "run", "ensemble"); dataset; images (what tables call the images:
        the start of their content hash); model; method; settings (the values that differ from the defaults,
        say "strategy.patch=32, finetune.epochs=6"); round (from 0); split (hash of the split manifest);
        protocol (name; "+" where values were changed); status ("done", "failed", "damaged"); reason of a
        failure or damage;
        seconds and steps of the training; what it used, where that was measured: images_per_second,
        peak_memory (bytes), latency (seconds a forward pass of one image) and energy (joules, also of units
        that worked beside it; `records` say by which counter, and of how many); macs and params of the
        network for one image; device; path.
        """
        return _frame(_each(self.records, _about), RUNS)

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """One row per finished run or ensemble: what `runs` says of it up to split, and one column per
        metric, computed on the test part (nan where a metric is not defined or cannot be computed, or the
        predictions cannot be read; the log says why)."""
        rows = _each(self._predicted, lambda record: {**_identity(record), **self._scores(record)})
        return _frame(rows, {**IDENTITY, **{metric.name: "float64" for metric in self.metrics}})

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row per unit and image of the validation and test parts: key, part ("val", "test"), id, group,
        label (the true class), and a column "p:<class>" per class (nan where the unit's data set does not
        have that class). Predictions that cannot be read are left out, and the log says why."""
        import pandas as pd

        frames = [_frame([], PREDICTIONS)]
        for record in self._predicted:
            stated = (record.artefacts or {}).get(STORED)
            try:
                table = store.read_table(_folder(record), stated.sha256 if stated else "")
            except StoreError as error:
                log.warning("%s (left out)", error)
                continue
            frame = table.to_pandas().rename(columns={"split": "part"})
            frame.insert(0, "key", record.key)
            frames.append(frame)
        return pd.concat(frames[1:] or frames, ignore_index=True)

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per trained epoch: key, kind, epoch (from 1), loss (mean over the epoch), and
        validation_accuracy (nan unless the weights were chosen by it)."""
        rows = _each(self.records, lambda record: list(_epochs(record)))
        return _frame((row for epochs in rows for row in epochs), HISTORY)

    @property
    def _predicted(self) -> list[Record]:
        return [r for r in self.records if r.status == "done" and r.kind != "pretrain"]

    def _scores(self, record: Record) -> dict[str, float]:
        undefined = {metric.name: math.nan for metric in self.metrics}
        try:
            predictions = store.read_predictions(_folder(record), "test", record)
        except StoreError as error:
            log.warning("%s", error)
            return undefined
        scores = try_score(predictions, self.metrics)
        for problem in scores.problems.values():
            log.warning("%s", problem)
        return undefined | dict(scores.values)

    def __repr__(self) -> str:
        return f"<Results in {self.folder}: {len(self.records)} records>"

    def _repr_html_(self) -> str:
        lines = [repr(self).strip("<>"), *self.warnings]
        rounds = self.rounds.drop(columns=["key", "images", "settings", "split"])
        return "<br>".join(map(escape, lines)) + rounds.to_html(max_rows=20)


def load_results(folder: str | Path = "results", metrics: Names = ()) -> Results:
    """Read a results folder. `metrics` names the columns of `rounds`; none means every installed metric.

    Raises UnknownName for a metric that is not installed. Records that cannot be read are left out, with a
    warning.
    """
    known = installed().metrics
    names = dict.fromkeys(split_names(metrics))
    chosen = [known.get(name) for name in names] if names else known.all()
    records, warnings = store.scan(Path(folder))
    return Results(Path(folder), tuple(records), tuple(warnings), tuple(chosen))


# --- rows --------------------------------------------------------------------------------------------


def _each(records: Iterable[Record], make: Callable[[Record], Any]) -> Iterator[Any]:
    """What `make` gives for each record. One that holds what no version of bench wrote is left out, with a
    warning in the log."""
    for record in records:
        try:
            yield make(record)
        except Exception as error:  # records of version 1 have no checksum, so they may hold anything
            log.warning("%s: its record cannot be shown (%s) (left out)", record.path, describe(error))


def _frame(rows: Iterable[Mapping[str, Any]], types: Types) -> pd.DataFrame:
    """Rows as a frame with these columns, whether or not there are rows; a row with values of another kind is
    left out, with a warning in the log."""
    import pandas as pd

    rows = list(rows)
    try:
        return pd.DataFrame(rows, columns=list(types)).astype(dict(types))
    except (TypeError, ValueError):
        fitting = []
        for row in rows:
            try:
                pd.DataFrame([row], columns=list(types)).astype(dict(types))
                fitting.append(row)
            except (TypeError, ValueError) as error:
                log.warning("%s: cannot be shown (%s) (left out)", row.get("key"), describe(error))
        return pd.DataFrame(fitting, columns=list(types)).astype(dict(types))


def _folder(record: Record) -> Path:
    assert record.path is not None  # stored records have one
    return record.path


def _about(record: Record) -> dict[str, Any]:
    timings, usage, cost = record.timings, record.usage, record.cost
    return {
        **_identity(record),
        "protocol": record.asked.protocol,
        "status": "damaged" if record.damage else record.status,
        "reason": record.damage or record.reason,
        "seconds": timings.seconds if timings else None,
        "steps": timings.steps if timings else None,
        "images_per_second": usage.images_per_second if usage else None,
        "peak_memory": usage.peak_memory if usage else None,
        "latency": usage.latency if usage else None,
        "energy": usage.energy if usage else None,
        "macs": cost.macs if cost else None,
        "params": cost.params if cost else None,
        "device": record.provenance.device,
        "path": str(record.path),
    }


def _identity(record: Record) -> dict[str, Any]:
    spec, data = record.spec, record.data
    if isinstance(spec, EnsembleSpec):
        model = "+".join(dict.fromkeys(member.model.name for member in spec.members))
        method = f"{spec.ensemble.name}({' + '.join(spec.member_names)})"
        settings = _ensemble_settings(spec)
    else:
        model, method, settings = spec.model.name, spec.strategy.name, _settings(spec)
    drawn = _dotted("split", to_json(data.settings or {})) if data else {}
    return {
        "key": spec.key,
        "kind": spec.kind,
        "dataset": spec.dataset.name,
        "images": data.content[:8] if data else "",
        "model": model,
        "method": method,
        "settings": ", ".join(f"{name}={value}" for name, value in {**settings, **drawn}.items()),
        "round": spec.round,
        "split": spec.split,
    }


def _settings(spec: PretrainSpec | RunSpec) -> dict[str, Any]:
    """The values that differ from the defaults, by the names that `--set` has for them."""
    values = {
        **_component("dataset", spec.dataset),
        **_component("model", spec.model),
        **_component("strategy", spec.strategy),
    }
    asked = to_json(spec)
    values |= {name: asked[name] for name in ("size", "seed", "precision") if name in asked}
    start = spec if isinstance(spec, PretrainSpec) else spec.start
    if start is not None:
        values |= _dotted("pretrain", to_json(start.pretrain))
    return values | _dotted("finetune", asked.get("finetune", {}))


def _ensemble_settings(spec: EnsembleSpec) -> dict[str, Any]:
    """What all members share, then what is one member's own, under its name."""
    members = dict(zip(spec.member_names, map(_settings, spec.members), strict=True))
    first, *others = members.values()
    shared = {k: v for k, v in first.items() if all(k in other and other[k] == v for other in others)}
    own = {f"{name}.{k}": v for name, values in members.items() for k, v in values.items() if k not in shared}
    return _component("ensemble", spec.ensemble) | shared | own


def _component(kind: str, ref: Ref) -> dict[str, Any]:
    return _dotted(kind, {**ref.params, **({} if ref.revision == 1 else {"revision": ref.revision})})


def _dotted(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _epochs(record: Record) -> Iterator[dict[str, Any]]:
    if record.history is None:
        return
    scores = record.history.validation_accuracy
    for epoch, loss in enumerate(record.history.loss):
        yield {
            "key": record.key,
            "kind": record.kind,
            "epoch": epoch + 1,
            "loss": loss,
            "validation_accuracy": scores[epoch] if epoch < len(scores) else None,
        }
