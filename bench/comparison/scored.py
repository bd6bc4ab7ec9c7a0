"""Stored units with their scores, as tables are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.data.audit.verdict import Verdict
from bench.errors import StoreError
from bench.interfaces.metric import Metric
from bench.parsing import parse
from bench.registry import Registry
from bench.results import store
from bench.results.record import Counts, Record
from bench.results.score import score
from bench.study.protocol import SplitSettings
from bench.study.spec import UnitSpec


@dataclass(frozen=True, kw_only=True)
class ScoredUnit:
    """A record with its scores on the test part.

    Attributes:
        record: of a finished or failed unit.
        scores: by metric; empty where there are none.
        damage: why a finished unit has no scores.
    """

    record: Record
    scores: Mapping[str, float] = field(default_factory=dict)
    damage: str = ""

    @property
    def spec(self) -> UnitSpec:
        return self.record.spec

    @property
    def status(self) -> str:
        """ "done"; anything else is shown as the cause of a missing round."""
        return "damaged" if self.damage else self.record.status

    @property
    def reason(self) -> str:
        return self.damage or self.record.reason

    @property
    def title(self) -> str:
        """Of the data set."""
        return self.record.data.title if self.record.data else ""

    @property
    def content(self) -> str:
        """Hash of the data set's images; "" where the unit failed before they were read."""
        return self.record.data.content if self.record.data else ""

    @property
    def counts(self) -> Counts:
        return self.record.data.counts if self.record.data else {}

    @property
    def audit(self) -> Verdict | None:
        """What an audit says of the split."""
        return self.record.data.audit if self.record.data else None

    @property
    def split(self) -> str:
        """How the split was drawn, as text."""
        settings = self.record.data.settings if self.record.data else None
        return "" if settings is None else split_text(settings)


def score_records(
    records: Iterable[Record], metrics: Sequence[Metric], registry: Registry | None = None
) -> tuple[list[ScoredUnit], list[str]]:
    """The records with their scores, and warnings: damaged predictions make a unit a missing round.

    Raises PluginError for a metric that cannot be computed; its plugin is one of `registry`, the installed
    ones unless given.
    """
    units: list[ScoredUnit] = []
    warnings: list[str] = []
    for record in records:
        if record.status != "done" or record.kind == "pretrain" or record.path is None:
            units.append(ScoredUnit(record=record))
            continue
        try:
            predictions = store.read_predictions(record.path, "test")
            units.append(ScoredUnit(record=record, scores=score(predictions, metrics, registry)))
        except StoreError as error:
            warnings.append(str(error))
            units.append(ScoredUnit(record=record, damage="its predictions cannot be read"))
    return units, warnings


def split_text(settings: Mapping[str, Any]) -> str:
    """How splits were drawn, from what a record says of it (values at their default are left out)."""
    drawn: SplitSettings = parse(SplitSettings, settings, "split")
    how = f"{drawn.folds} folds" if drawn.method == "kfold" else f"{drawn.test:g} test"
    groups = {"audited": "", "given": ", groups as given", "none": ", image by image (no groups)"}
    conflicts = {
        "train": "",
        "out": ", label conflicts out",
        "anywhere": ", label conflicts anywhere",
    }
    more = groups[drawn.groups] + (conflicts[drawn.conflicts] if drawn.groups == "audited" else "")
    return f"{drawn.method} {how}, {drawn.val:g} val{more}"
