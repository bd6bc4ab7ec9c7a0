"""What happens to a study, for whoever follows it: its status file, and its trackers.

News and outcomes come from where the study is worked through, one after the other; here they become events.
Nothing of it can alter a unit: units are computed elsewhere, and what is done here is to queue a value.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Literal

from bench.execution.at_work import waits
from bench.execution.plan import Plan
from bench.execution.scores import Scored, replayed
from bench.execution.status_file import StatusWriter, title_of
from bench.execution.tracking import Opened, tracked
from bench.identity import Ref
from bench.interfaces.executor import Outcome, Progress
from bench.interfaces.tracker import (
    EpochEnded,
    Setting,
    StudyBegan,
    StudyEnded,
    Tell,
    TrackedUnit,
    UnitBegan,
    UnitDone,
    UnitFailed,
)
from bench.registry import Registry
from bench.results import store
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec
from bench.study.study import Study


def check_trackers(study: Study, registry: Registry) -> list[Opened]:
    """The trackers of a study with their parameters. Raises ConfigError for one that cannot work here."""
    found: list[Opened] = []
    for ref in study.trackers:
        entry, params = registry.trackers.entry(ref.name), registry.trackers.params(ref)
        if entry.component.check is not None:
            entry.component.check(params)
        found.append((entry, params))
    return found


class Following:
    """Hears of units, and tells the status file and the trackers."""

    def __init__(
        self, plan: Plan, units: Mapping[str, TrackedUnit], writer: StatusWriter, tell: Tell
    ) -> None:
        self.units, self.writer, self.tell = units, writer, tell
        self.registry, self.results = plan.session.registry, plan.session.environment.results
        self.begun: set[str] = set()
        self.done, self.failed = sum(unit.done for unit in units.values()), 0

    def report(self, news: Progress) -> None:
        """How far a unit is."""
        self.writer.report(news)
        unit = self.units.get(news.key)
        if unit is None:
            return
        if waits(news):  # also one that goes back to the queue, and begins once more later
            self.begun.discard(unit.key)
            return
        self._begins(unit)
        if news.epoch_ended and news.loss is not None:
            self.tell(
                EpochEnded(
                    time=time.time(),
                    unit=unit,
                    stage=news.stage,
                    epoch=news.epoch,
                    epochs=news.epochs,
                    loss=news.loss,
                    validation_accuracy=news.validation_accuracy,
                    images_per_s=news.images_per_s or None,  # 0 if a checkpoint had all of the epoch
                    resumed=news.resumed,
                )
            )

    def ended(self, outcome: Outcome) -> None:
        """What became of a unit."""
        self.writer.ended(outcome)
        unit, now = self.units.get(outcome.unit.key), time.time()
        if unit is None:
            return
        if outcome.status == "done":
            self._begins(unit)  # an ensemble has no news
            self.done += 1
            self.tell(UnitDone(time=now, unit=unit, seconds=outcome.seconds))
        elif outcome.status in ("failed", "blocked"):
            self.failed += 1
            status, reason = outcome.status, outcome.reason
            self.tell(UnitFailed(time=now, unit=unit, status=status, reason=reason, seconds=outcome.seconds))

    def _begins(self, unit: TrackedUnit) -> None:
        if unit.key not in self.begun:
            self.begun.add(unit.key)
            self.tell(UnitBegan(time=time.time(), unit=unit))

    def end(self, interrupted: bool) -> None:
        """The command is through, or was stopped."""
        left = len(self.units) - self.done - self.failed
        status: Literal["done", "failed", "interrupted"] = "failed" if self.failed or left else "done"
        self.tell(
            StudyEnded(
                time=time.time(),
                status="interrupted" if interrupted else status,
                done=self.done,
                failed=self.failed,
                left=left,
            )
        )


@contextmanager
def followed(
    plan: Plan, to_do: Sequence[UnitSpec], writer: StatusWriter, trackers: Sequence[Opened]
) -> Iterator[Following]:
    """Give what hears of the units of a plan while they are worked through, within the block."""
    writer.plan(plan, to_do)
    units = tracked_units(plan, to_do) if trackers else {}
    with ExitStack() as stack:
        tell: Tell = _to_nobody
        if trackers:
            stack.enter_context(redirect_stdout(sys.stderr))  # stdout is for tables
            scored = Scored(plan.session.registry)
            tell = stack.enter_context(tracked(_began(plan, units), trackers, scored))
        following = Following(plan, units, writer, tell)
        interrupted = True
        try:
            yield following
            interrupted = False
        finally:
            following.end(interrupted)


def _to_nobody(event: object) -> None:
    """Where there are no trackers."""


# --- what trackers are told of a plan ----------------------------------------------------------------


def _began(plan: Plan, units: Mapping[str, TrackedUnit]) -> StudyBegan:
    study = plan.study
    names = {
        kind: ", ".join(ref.name for ref in refs)
        for kind, refs in (
            ("datasets", study.datasets),
            ("models", study.models),
            ("strategies", study.strategies),
        )
    }
    return StudyBegan(
        time=time.time(),
        name=study.name,
        title=title_of(study),
        settings={**study.asked, **names},
        units=tuple(units.values()),
        results=plan.session.environment.results,
        replay=replayed,
    )


def tracked_units(plan: Plan, to_do: Sequence[UnitSpec]) -> dict[str, TrackedUnit]:
    """The units of a plan by key, as trackers know them."""
    waiting = {unit.key for unit in to_do}
    results = plan.session.environment.results
    return {
        unit.key: _unit(unit, plan.names[unit.key], results, unit.key not in waiting) for unit in plan.units
    }


def _unit(unit: UnitSpec, name: str, results: Path, done: bool) -> TrackedUnit:
    if isinstance(unit, EnsembleSpec):
        model = "+".join(dict.fromkeys(member.model.name for member in unit.members))
        method = f"{unit.ensemble.name}({'+'.join(unit.member_names)})"
    else:
        model, method = unit.model.name, unit.strategy.name
    return TrackedUnit(
        key=unit.key,
        name=name,
        kind=unit.kind,
        dataset=unit.dataset.name,
        model=model,
        method=method,
        round=unit.round,
        settings=settings_of(unit),
        record=store.path_of(results, unit),
        done=done,
    )


def settings_of(unit: UnitSpec) -> dict[str, Setting]:
    """What a unit is made with, flat."""
    if isinstance(unit, EnsembleSpec):
        return dict(_flat({"dataset": _of(unit.dataset), "ensemble": _of(unit.ensemble)}))
    parts: dict[str, Any] = {name: _of(getattr(unit, name)) for name in ("dataset", "model", "strategy")}
    parts |= {name: getattr(unit, name) for name in ("size", "seed", "precision", "split")}
    if isinstance(unit, PretrainSpec):
        parts["pretrain"] = vars(unit.pretrain)
    elif isinstance(unit, RunSpec):
        parts["finetune"] = vars(unit.finetune)
        if unit.start:
            parts["pretrain"] = vars(unit.start.pretrain)
    return dict(_flat(parts))


def _of(ref: Ref) -> dict[str, Any]:
    return dict(ref.params)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Setting]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, (str, int, float, bool)):
            yield f"{prefix}{name}", value
        elif value is not None:
            yield f"{prefix}{name}", json.dumps(value, default=str)
