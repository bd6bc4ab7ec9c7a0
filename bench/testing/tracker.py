"""What a tracker promises."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.interfaces.tracker import (
    EpochEnded,
    Event,
    StudyBegan,
    StudyEnded,
    TrackedUnit,
    Tracker,
    UnitBegan,
    UnitDone,
    UnitFailed,
)
from bench.testing.component import check_component, works

NOW = 1_700_000_000.0
STRANGE = 'net.m<i>é</i> "a|b" \N{SNOWMAN}.r0'


def check_tracker(tracker: Tracker, params: Any = None) -> None:
    """A made-up study is followed from its beginning to its end, and once more, as when it goes on.

    In particular: `open` gives a context manager whose value takes events, in a thread that is not the main
    one; units of every kind, that are done (with and without scores), fail, are blocked, begin twice, or end
    without having begun; a training that starts again; names with special characters; a study without
    units; one that is interrupted, and goes on. Nothing is printed on standard output, and no event is
    changed. `params` are those to check with, where the defaults need a server, say; what they name is
    written to.
    """
    check_component(tracker)
    name, params = tracker.name, tracker.params() if params is None else params
    if tracker.check is not None:
        with works(f"{name}: `check` refuses these parameters"):
            tracker.check(params)
    with TemporaryDirectory() as folder:
        began = _study(Path(folder))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            _follow(tracker, params, replace(began, units=()), [], "a study without units")
            _follow(tracker, params, began, _until_interrupted(began.units), "a study that is interrupted")
            _follow(tracker, params, _going_on(began), _the_rest(began.units), "a study that goes on")
        assert not printed.getvalue(), f"{name}: prints on standard output, which is for tables"


def _follow(tracker: Tracker, params: Any, began: StudyBegan, events: Iterable[Event], what: str) -> None:
    """As a command does it: in a thread of its own."""
    problems: list[BaseException] = []

    def follow() -> None:
        try:
            with tracker.open(began, params) as tell:
                assert callable(tell), f"the value of its context manager is no function: {tell!r}"
                for event in events:
                    tell(event)
        except Exception as error:  # whatever a tracker raises
            problems.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    thread.join()
    with works(f"{tracker.name}: fails for {what}"):
        for problem in problems:
            raise problem


# --- a made-up study ---------------------------------------------------------------------------------


def _study(results: Path) -> StudyBegan:
    units = (
        _unit(results, "pretrain", "net.method.r0", 1),
        _unit(results, "run", "net.method.r0", 2),
        _unit(results, "run", STRANGE, 3),
        _unit(results, "ensemble", "net.mean(method+other).r0", 4),
        _unit(results, "run", "net.third.r0", 5),
    )
    return StudyBegan(
        time=NOW,
        name="check.0123abcd",
        title="check: method, other",
        settings={"protocol": "quick", "rounds": 1},
        units=units,
        results=results,
    )


def _unit(results: Path, kind: str, name: str, number: int) -> TrackedUnit:
    from bench.results.record import RECORD

    key = f"{number:016x}"
    record = results / ("pretrain" if kind == "pretrain" else "runs") / "check" / f"unit.{key}"
    record.mkdir(parents=True)
    (record / RECORD).write_text("{}", encoding="utf-8")
    return TrackedUnit(
        key=key,
        name=name,
        kind=kind,
        dataset="check",
        model="net",
        method="method",
        round=0,
        settings={"size": 32, "finetune.share": 0.5, "strategy.guided": True, "strategy.colour": "joint"},
        record=record,
    )


def _epoch(unit: TrackedUnit, epoch: int, **more: Any) -> EpochEnded:
    stage = "pretrain" if unit.kind == "pretrain" else "fine-tune"
    told: dict[str, Any] = {"stage": stage, "epoch": epoch, "epochs": 2, "loss": 1 / epoch, **more}
    return EpochEnded(time=NOW + epoch, unit=unit, **told)


def _until_interrupted(units: tuple[TrackedUnit, ...]) -> list[Event]:
    pretrain, run = units[:2]
    return [
        UnitBegan(time=NOW, unit=pretrain),
        _epoch(pretrain, 1, images_per_s=61.5),
        UnitBegan(time=NOW, unit=pretrain),
        _epoch(pretrain, 1, images_per_s=60.0),
        _epoch(pretrain, 2, resumed=True),
        UnitDone(time=NOW + 3, unit=pretrain, seconds=3.0),
        UnitBegan(time=NOW + 3, unit=run),
        _epoch(run, 1, validation_accuracy=0.75),
        StudyEnded(time=NOW + 4, status="interrupted", done=1, failed=0, left=len(units) - 1),
    ]


def _going_on(began: StudyBegan) -> StudyBegan:
    """The same study: its first unit is done, and can be told again."""
    first, *others = began.units
    done = replace(first, done=True)

    def replay(unit: TrackedUnit) -> Iterable[Event]:
        return [UnitBegan(time=NOW, unit=unit), _epoch(unit, 1), UnitDone(time=NOW, unit=unit, seconds=3.0)]

    return replace(began, units=(done, *others), replay=replay)


def _the_rest(units: tuple[TrackedUnit, ...]) -> list[Event]:
    _, run, strange, ensemble, blocked = units
    scores = {"accuracy": 0.5, "auc": 0.625}
    return [
        UnitBegan(time=NOW + 5, unit=run),
        _epoch(run, 2, validation_accuracy=0.5, resumed=True),
        UnitDone(time=NOW + 6, unit=run, seconds=1.0, scores=scores),
        UnitBegan(time=NOW + 6, unit=strange),
        UnitFailed(time=NOW + 7, unit=strange, status="failed", reason=STRANGE, seconds=1.0),
        UnitBegan(time=NOW + 7, unit=ensemble),
        UnitDone(time=NOW + 7, unit=ensemble, seconds=0.0, scores=scores),
        UnitFailed(time=NOW + 7, unit=blocked, status="blocked", reason="needs a unit that failed"),
        StudyEnded(time=NOW + 8, status="failed", done=3, failed=2, left=0),
    ]
