"""Stored units with their scores, as tables are made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from bench.data.audit.verdict import Verdict
from bench.data.splits.split import PartCount
from bench.errors import StoreError
from bench.interfaces.metric import Metric
from bench.interfaces.predictions import Predictions
from bench.parsing import parse
from bench.registry import Registry
from bench.results import store
from bench.results.predictions_file import PREDICTIONS, unreadable
from bench.results.record import Counts, Record
from bench.results.score import Scores, try_score
from bench.results.score_cache import ScoreCache, identities
from bench.study.protocol import SplitSettings
from bench.study.spec import UnitSpec

KEPT = 1_000_000  # images whose predictions stay in memory once they were read, about 200 MB


@dataclass(frozen=True, kw_only=True)
class ScoredUnit:
    """A record with its scores on the test part.

    Attributes:
        record: of a finished or failed unit.
        scores: by metric; empty where there are none.
        problems: by metric, why a finished unit lacks its score.
        damage: why a finished unit has no scores.
        sha256: of its predictions; "" where there are none.
        test: its predictions for test images, where they had to be read; else None.
    """

    record: Record
    scores: Mapping[str, float] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    damage: str = ""
    sha256: str = ""
    test: Predictions | None = None

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
    def labelled(self) -> Mapping[str, PartCount] | None:
        """Images and groups of every class that fine-tuning saw; None for all of the training part."""
        return self.record.data.labelled if self.record.data else None

    @property
    def audit(self) -> Verdict | None:
        """What an audit says of the split."""
        return self.record.data.audit if self.record.data else None

    @property
    def split(self) -> str:
        """How the split was drawn, as text."""
        settings = self.record.data.settings if self.record.data else None
        return "" if settings is None else split_text(settings)

    @property
    def unmended_split(self) -> str:
        """The same without how a split that the data set fixes was mended."""
        settings = self.record.data.settings if self.record.data else None
        return "" if settings is None else split_text({k: v for k, v in settings.items() if k != "mend"})


def score_records(
    records: Iterable[Record],
    metrics: Sequence[Metric],
    registry: Registry,
    results: Path,
    cache: ScoreCache | None = None,
) -> tuple[list[ScoredUnit], list[str]]:
    """The records of the folder `results` with their scores, and warnings.

    Damaged predictions make a unit a missing round; a metric that cannot be computed leaves its own cell
    empty. Its plugin is one of `registry`. Scores that were computed before are taken from where they are
    kept; new ones are written there, unless the caller gives the cache, and saves it.
    """
    own = cache is None
    cache = ScoreCache(results) if cache is None else cache
    known = identities(metrics, registry)
    units: list[ScoredUnit] = []
    warnings: dict[str, None] = {}
    kept = 0  # images
    for record in records:
        if record.status != "done" or record.kind == "pretrain" or record.path is None:
            units.append(ScoredUnit(record=record))
            continue
        if record.damage:  # of which `scan` has warned
            units.append(ScoredUnit(record=record, damage=record.damage))
            continue
        try:
            sha256, scores, test = _scores(record, record.path, metrics, registry, cache, known)
        except StoreError as error:
            warnings[str(error)] = None
            cause = getattr(error, "cause", "its predictions cannot be read")
            units.append(ScoredUnit(record=record, damage=cause))
            continue
        warnings |= dict.fromkeys(scores.problems.values())
        kept += len(test.ids) if test else 0
        units.append(
            ScoredUnit(
                record=record,
                scores=scores.values,
                problems=scores.problems,
                sha256=sha256,
                test=test if kept < KEPT else None,
            )
        )
    if own:
        cache.save()
    return units, list(warnings)


def _scores(
    record: Record,
    path: Path,
    metrics: Sequence[Metric],
    registry: Registry,
    cache: ScoreCache,
    known: Mapping[str, str],
) -> tuple[str, Scores, Predictions | None]:
    """The checksum of a unit's predictions, scores of the test part, and that part if it had to be read.
    Raises StoreError for predictions that are missing or damaged."""
    file = path / PREDICTIONS
    stated = (record.artefacts or {}).get(PREDICTIONS)
    try:
        sha256 = cache.sha256(file)
    except OSError as error:
        raise unreadable(file, error) from error
    kept = cache.get(sha256, known) if stated is None or stated.sha256 == sha256 else {}
    lacking = [metric for metric in metrics if metric.name not in kept]
    if not lacking:
        return sha256, Scores(kept, {}), None
    test = store.read_predictions(path, "test", record)
    new = try_score(test, lacking, registry)
    cache.keep(sha256, known, new.values)
    return sha256, Scores({**kept, **new.values}, new.problems), test


def split_text(settings: Mapping[str, Any]) -> str:
    """How splits were drawn, from what a record says of it (values at their default are left out)."""
    return _split_text(json.dumps(settings, sort_keys=True))  # few differ in ten thousand records


@cache
def _split_text(settings: str) -> str:
    drawn: SplitSettings = parse(SplitSettings, json.loads(settings), "split")
    how = f"{drawn.folds} folds" if drawn.method == "kfold" else f"{drawn.test:g} test"
    groups = {"audited": "", "given": ", groups as given", "none": ", image by image (no groups)"}
    conflicts = {
        "train": "",
        "out": ", label conflicts out",
        "anywhere": ", label conflicts anywhere",
    }
    more = groups[drawn.groups] + (conflicts[drawn.conflicts] if drawn.groups == "audited" else "")
    more += f", mended ({drawn.mend})" if drawn.mend != "none" else ""
    return f"{drawn.method} {how}, {drawn.val:g} val{more}"
