"""What records and predictions say of a unit that is done, for trackers: its scores, and its events again."""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
from collections.abc import Iterator
from pathlib import Path

from bench.errors import BenchError
from bench.interfaces.tracker import EpochEnded, Event, TrackedUnit, UnitBegan, UnitDone
from bench.registry import DISTRIBUTION, Registry
from bench.results import store
from bench.results.record import RECORD
from bench.results.score import try_score

log = logging.getLogger("bench")


class Scored:
    """Puts scores of the test images into events of units that are done; computed once for all trackers."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.lock = threading.Lock()
        self.known: dict[str, dict[str, float]] = {}

    def __call__(self, event: Event) -> Event:
        """The event, with its scores if it has some."""
        if not isinstance(event, UnitDone) or event.unit.kind == "pretrain":
            return event
        with self.lock:
            if event.unit.key not in self.known:
                self.known[event.unit.key] = scores_of(event.unit.record, self.registry)
            return dataclasses.replace(event, scores=self.known[event.unit.key])


def scores_of(folder: Path, registry: Registry) -> dict[str, float]:
    """By metric, those of tables that come with bench; without what is not defined. Others' metrics may do
    to this process what they like, so they are left to tables."""
    entries = registry.metrics.entries.values()
    ours = [e.component for e in entries if e.plugin.distribution == DISTRIBUTION and e.component.default]
    try:
        predictions = store.read_predictions(folder, "test", store.read_folder(folder))
    except BenchError as error:
        log.debug("%s: no scores for trackers", folder, exc_info=error)
        return {}
    values = try_score(predictions, ours, registry).values
    return {name: value for name, value in values.items() if math.isfinite(value)}


def replayed(unit: TrackedUnit) -> Iterator[Event]:
    """The events of a unit, from its record, all at the time when that was stored. None if it cannot be
    read."""
    try:
        record = store.read_folder(unit.record)
        stored = (unit.record / RECORD).stat().st_mtime
    except (BenchError, OSError) as error:
        log.debug("%s: cannot be replayed", unit.record, exc_info=error)
        return
    yield UnitBegan(time=stored, unit=unit)
    losses = record.history.loss if record.history else ()
    scores = record.history.validation_accuracy if record.history else ()
    for number, loss in enumerate(losses):
        if loss is not None:
            yield EpochEnded(
                time=stored,
                unit=unit,
                stage="pretrain" if unit.kind == "pretrain" else "fine-tune",
                epoch=number + 1,
                epochs=len(losses),
                loss=loss,
                validation_accuracy=scores[number] if number < len(scores) else None,
            )
    seconds = record.timings.seconds if record.timings else 0.0
    yield UnitDone(time=stored, unit=unit, seconds=seconds)
