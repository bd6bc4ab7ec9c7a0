"""A results folder as pandas frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StoreError
from bench.registry import installed
from bench.results import store
from bench.results.record import Record
from bench.results.score import score
from bench.study.spec import EnsembleSpec

if TYPE_CHECKING:
    import pandas as pd

    from bench.interfaces.metric import Metric


@dataclass(frozen=True)
class Results:
    """What is stored in a results folder.

    Attributes:
        folder: the results folder.
        records: all records, in a fixed order.
        warnings: what had to be left out, and why.
        metrics: what `rounds` has a column for.
    """

    folder: Path
    records: tuple[Record, ...]
    warnings: tuple[str, ...]
    metrics: tuple[Metric[Any], ...]

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per unit, the failed ones too: what it is, how it ended, what it cost."""
        import pandas as pd

        return pd.DataFrame([_about(record) for record in self.records])

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """One row per finished run or ensemble: what it is, and its scores on the test part (nan where a
        metric is not defined or the predictions cannot be read)."""
        import pandas as pd

        rows = [r for r in self.records if r.status == "done" and r.kind != "pretrain"]
        return pd.DataFrame([{**_identity(record), **self._scores(record)} for record in rows])

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row per unit, part and image: key, split, id, group, label, and "p:<class>" for every class.

        Raises StoreError for predictions that cannot be read.
        """
        import pandas as pd

        frames = []
        for record in self.records:
            if record.status == "done" and record.kind != "pretrain" and record.path is not None:
                frame = store.read_table(record.path).to_pandas()
                frame.insert(0, "key", record.key)
                frames.append(frame)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per trained epoch: key, kind, epoch (from 1), loss, validation accuracy where weights
        were chosen by it."""
        import pandas as pd

        rows = []
        for record in self.records:
            if record.history is None:
                continue
            scores = record.history.validation_accuracy
            for epoch, loss in enumerate(record.history.loss):
                accuracy = scores[epoch] if epoch < len(scores) else None
                rows.append(
                    {
                        "key": record.key,
                        "kind": record.kind,
                        "epoch": epoch + 1,
                        "loss": loss,
                        "validation_accuracy": accuracy,
                    }
                )
        return pd.DataFrame(rows, columns=["key", "kind", "epoch", "loss", "validation_accuracy"])

    def _scores(self, record: Record) -> dict[str, float]:
        assert record.path is not None  # stored records have one
        try:
            return score(store.read_predictions(record.path, "test"), self.metrics)
        except StoreError:
            return {metric.name: math.nan for metric in self.metrics}

    def _repr_html_(self) -> str:
        html: str = self.rounds._repr_html_()  # type: ignore[operator]  # pandas' own
        return html


def load_results(folder: str | Path = "results", metrics: Sequence[str] = ()) -> Results:
    """Read a results folder. `metrics` names the columns of `rounds`; none means every installed metric.

    Raises UnknownName for a metric that is not installed. Records that cannot be read are left out, with a
    warning.
    """
    known = installed().metrics
    chosen = [known.get(name) for name in metrics] if metrics else known.all()
    records, warnings = store.scan(Path(folder))
    return Results(Path(folder), tuple(records), tuple(warnings), tuple(chosen))


def _identity(record: Record) -> dict[str, Any]:
    spec = record.spec
    if isinstance(spec, EnsembleSpec):
        model = "+".join(sorted({member.model.name for member in spec.members}))
        method = f"{spec.ensemble.name}({'+'.join(spec.member_names)})"
    else:
        model, method = spec.model.name, spec.strategy.name
    return {
        "key": spec.key,
        "kind": spec.kind,
        "dataset": spec.dataset.name,
        "model": model,
        "method": method,
        "round": spec.round,
    }


def _about(record: Record) -> dict[str, Any]:
    timings, cost = record.timings, record.cost
    return {
        **_identity(record),
        "status": record.status,
        "reason": record.reason,
        "protocol": record.asked.protocol,
        "split": record.spec.split,
        "seconds": timings.seconds if timings else None,
        "steps": timings.steps if timings else None,
        "macs": cost.macs if cost else None,
        "params": cost.params if cost else None,
        "device": record.provenance.device,
        "path": str(record.path),
    }
