"""Trackers: what they are told, and that none of them can slow, alter or break what it follows."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from test_cli import PHANTOM, bench, predictions, workspace

from bench import (
    ConfigError,
    EpochEnded,
    Event,
    NoParams,
    Outcome,
    Progress,
    Study,
    StudyBegan,
    StudyEnded,
    Tell,
    TrackedUnit,
    Tracker,
    UnitBegan,
    UnitDone,
    UnitFailed,
    UnknownName,
    testing,
)
from bench.execution import tracking
from bench.execution.follow import Following
from bench.execution.tracking import MOST, tracked
from bench.registry import Entry, Plugin, installed
from bench_trackers.extras import require
from bench_trackers.jsonl import JSONL, JsonlParams

PLUGIN = Plugin("mine", "bench-mine", "1.2", "test_trackers")
STUDY = StudyBegan(time=0.0, name="s.1", title="s", settings={}, units=(), results=Path())
UNIT = TrackedUnit(
    key="k", name="net.egmae.r0", kind="run", dataset="d", model="m", method="egmae", round=0, record=Path()
)


def epoch(number: int) -> EpochEnded:
    return EpochEnded(time=0.0, unit=UNIT, stage="fine-tune", epoch=number, epochs=9, loss=0.5)


def done() -> UnitDone:
    return UnitDone(time=0.0, unit=UNIT, seconds=1.0)


def entry(tell: Callable[[Event], None], name: str = "mine") -> tuple[Entry[Tracker], Any]:
    @contextmanager
    def follow(study: StudyBegan, params: NoParams) -> Iterator[Tell]:
        yield tell

    return Entry(Tracker(name=name, about="a test's", open=follow), PLUGIN), NoParams()


def as_it_is(event: Event) -> Event:
    return event


# --- delivery ----------------------------------------------------------------------------------------


def test_events_arrive_in_order_in_a_thread_of_the_tracker() -> None:
    heard: list[tuple[Event, str]] = []
    with tracked(
        STUDY, [entry(lambda e: heard.append((e, threading.current_thread().name)))], as_it_is
    ) as tell:
        for number in range(1, 200):
            tell(epoch(number))
    assert [e.epoch for e, _ in heard if isinstance(e, EpochEnded)] == list(range(1, 200))
    assert {name for _, name in heard} == {"tracker mine"}


def test_a_tracker_that_raises_is_named_once_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[Event] = []
    heard: list[Event] = []

    def broken(event: Event) -> None:
        calls.append(event)
        raise KeyError("no such thing")

    trackers = [entry(broken, "broken"), entry(heard.append, "whole")]
    with caplog.at_level(logging.WARNING), tracked(STUDY, trackers, as_it_is) as tell:
        for number in range(1, 6):
            tell(epoch(number))
    assert len(calls) == 1
    assert len(heard) == 5
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        "tracker broken of plugin mine (bench-mine 1.2) failed: KeyError: 'no such thing' at "
    )
    assert "test_trackers.py:" in line


def test_a_tracker_that_hangs_is_left_behind(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "PATIENCE", 0.2)
    released, heard = threading.Event(), []
    trackers = [entry(lambda event: released.wait(30) and None, "hung"), entry(heard.append, "whole")]
    try:
        with caplog.at_level(logging.WARNING), tracked(STUDY, trackers, as_it_is) as tell:
            for number in range(1, 6):
                tell(epoch(number))
        assert len(heard) == 5
        (line,) = [record.getMessage() for record in caplog.records]
        assert "tracker hung of plugin mine (bench-mine 1.2) hangs" in line
    finally:
        released.set()


def test_of_a_slow_tracker_epochs_are_left_out_and_results_are_not(caplog: pytest.LogCaptureFixture) -> None:
    gate, heard = threading.Event(), []

    def slow(event: Event) -> None:
        gate.wait(30)
        heard.append(event)

    with caplog.at_level(logging.WARNING), tracked(STUDY, [entry(slow)], as_it_is) as tell:
        for number in range(2 * MOST):
            tell(epoch(number))
        for _ in range(7):
            tell(done())
        gate.set()
    assert sum(isinstance(event, UnitDone) for event in heard) == 7
    assert MOST <= sum(isinstance(event, EpochEnded) for event in heard) <= MOST + 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert "is too slow: epochs are left out" in line


def test_an_interruption_does_not_wait_for_a_slow_tracker(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "INTERRUPTED", 0.2)
    released = threading.Event()
    try:
        with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
            interrupted(entry(lambda event: released.wait(30) and None))
        assert len(caplog.records) == 1
    finally:
        released.set()


def interrupted(tracker: tuple[Entry[Tracker], Any]) -> None:
    with tracked(STUDY, [tracker], as_it_is) as tell:
        tell(done())
        raise KeyboardInterrupt


# --- from news to events -----------------------------------------------------------------------------


class Written:
    """Stands for the status file."""

    def report(self, news: Progress) -> None:
        pass

    ended = report


@dataclass
class Planned:
    """As much of a plan as is asked for here."""

    session: Any = None


def following(heard: list[Event], *units: TrackedUnit) -> Following:
    from types import SimpleNamespace

    plan: Any = SimpleNamespace(
        session=SimpleNamespace(registry=None, environment=SimpleNamespace(results=Path()))
    )
    return Following(plan, {unit.key: unit for unit in units}, Written(), heard.append)  # type: ignore[arg-type]


def news(done: int = 1, epoch: int = 1, **changes: Any) -> Progress:
    told: dict[str, Any] = {
        "unit": UNIT.name,
        "key": UNIT.key,
        "stage": "fine-tune",
        "done": done,
        "total": 4,
    }
    return Progress(**{**told, "epoch": epoch, "epochs": 2, "loss": 0.5, **changes})


def test_a_unit_begins_once_and_its_epochs_end_with_what_was_validated() -> None:
    heard: list[Event] = []
    study = following(heard, UNIT)
    study.report(Progress(unit=UNIT.name, key=UNIT.key, stage="waits for process 12"))
    study.report(Progress(unit="phantom", stage="decode", done=1, total=2))
    for step in (1, 2, 3, 4):
        study.report(news(step))
    study.report(news(4, loss=0.25, images_per_s=60.0, epoch_ended=True, validation_accuracy=0.75))
    unit: Any = UNIT
    study.ended(Outcome(unit=unit, status="done", seconds=2.0))
    study.end(interrupted=False)
    assert [type(event) for event in heard] == [UnitBegan, EpochEnded, UnitDone, StudyEnded]
    ended = heard[1]
    assert isinstance(ended, EpochEnded)
    assert (ended.epoch, ended.epochs, ended.loss, ended.validation_accuracy) == (1, 2, 0.25, 0.75)
    last = heard[-1]
    assert isinstance(last, StudyEnded)
    assert (last.status, last.done, last.failed, last.left) == ("done", 1, 0, 0)


def test_an_epoch_of_which_no_step_was_left_has_no_speed() -> None:
    """It was interrupted in its last step, and what goes on from there has nothing to measure."""
    heard: list[Event] = []
    following(heard, UNIT).report(news(4, images_per_s=0.0, epoch_ended=True, resumed=True))
    ended = heard[1]
    assert isinstance(ended, EpochEnded)
    assert ended.images_per_s is None


def test_a_unit_that_is_tried_again_begins_again() -> None:
    heard: list[Event] = []
    study = following(heard, UNIT)
    study.report(news(1))
    study.report(Progress(unit=UNIT.name, key=UNIT.key, stage="waits: memory ran out beside other units"))
    study.report(news(1))
    assert [type(event) for event in heard] == [UnitBegan, UnitBegan]


def test_what_is_left_when_a_study_is_interrupted() -> None:
    heard: list[Event] = []
    unit: Any = UNIT
    from dataclasses import replace

    study = following(heard, UNIT, replace(UNIT, key="before", done=True), replace(UNIT, key="later"))
    study.ended(Outcome(unit=unit, status="failed", reason="out of luck", seconds=1.0))
    study.end(interrupted=True)
    failed, last = heard
    assert isinstance(failed, UnitFailed)
    assert failed.reason == "out of luck"
    assert isinstance(last, StudyEnded)
    assert (last.status, last.done, last.failed, last.left) == ("interrupted", 1, 1, 1)


# --- which trackers ----------------------------------------------------------------------------------


def names(**more: Any) -> Study:
    return Study.from_keywords(datasets="phantom", strategies="scratch", **more)


def test_trackers_are_part_of_a_study_and_not_of_what_it_is() -> None:
    plain = names()
    tracked_study = names(track="jsonl", tracker={"jsonl": {"path": "x"}})
    assert [ref.name for ref in tracked_study.trackers] == ["jsonl"]
    assert installed().trackers.params(tracked_study.trackers[0]).path == "x"
    assert tracked_study.name == plain.name
    assert not names(track="none", tracker={"jsonl": {"path": "x"}}).trackers


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"track": "jsnl"}, UnknownName, "unknown tracker 'jsnl'; did you mean jsonl"),
        ({"track": "jsonl,jsonl"}, ConfigError, "tracker 'jsonl' is named twice"),
        ({"tracker": {"jsonl": {"path": "x"}}}, ConfigError, "a tracker that this study does not name"),
        ({"track": "jsonl", "tracker": {"jsonl": {"pth": "x"}}}, ConfigError, "tracker.jsonl"),
        ({"track": "wandb", "tracker": {"wandb": {"mode": "always"}}}, ConfigError, "tracker.wandb.mode"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(keywords: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as raised:
        names(**keywords)
    assert "\n" not in str(raised.value)


def test_a_missing_extra_is_refused_with_the_line_that_installs_it() -> None:
    with pytest.raises(ConfigError, match=r'pip install "medbench\[mlflow\]"'):
        require("mlflow", "no_such_library_at_all")


def test_jsonl_conforms(tmp_path: Path) -> None:
    testing.check_tracker(JSONL)
    testing.check_tracker(JSONL, JsonlParams(path=str(tmp_path / "a" / "b.jsonl")))
    events = [json.loads(line)["event"] for line in (tmp_path / "a" / "b.jsonl").read_text().splitlines()]
    assert events.count("StudyBegan") == 3
    assert events[-1] == "StudyEnded"


def test_the_check_finds_what_a_tracker_must_not_do() -> None:
    @contextmanager
    def prints(study: StudyBegan, params: NoParams) -> Iterator[Tell]:
        yield lambda event: print("here")

    @contextmanager
    def fails(study: StudyBegan, params: NoParams) -> Iterator[Tell]:
        known: set[str] = set()

        def tell(event: Event) -> None:
            if isinstance(event, UnitBegan):
                known.add(event.unit.key)
            if isinstance(event, UnitFailed):
                known.remove(event.unit.key)

        yield tell

    with pytest.raises(AssertionError, match="prints on standard output"):
        testing.check_tracker(Tracker(name="loud", about="prints", open=prints))
    with pytest.raises(AssertionError, match="fails for a study that goes on: KeyError"):
        testing.check_tracker(Tracker(name="strict", about="wants all to begin", open=fails))


# --- on real processes -------------------------------------------------------------------------------

BROKEN = '''
"""A tracker that raises and one that hangs, so that a study beside them can be looked at."""
import time
from contextlib import contextmanager
from bench import Tracker, hookimpl

@contextmanager
def raises(study, params):
    def tell(event):
        raise RuntimeError("this tracker is broken")
    yield tell

@contextmanager
def hangs(study, params):
    time.sleep(3600)
    yield print

known = {"raises": raises, "hangs": hangs}

@hookimpl
def register_trackers():
    return [Tracker(name=name, about=name, open=follow) for name, follow in known.items()]
'''


def plugin(folder: Path) -> str:
    """Install the broken trackers as a distribution in a folder; returns it."""
    (folder / "bench_broken.py").write_text(BROKEN)
    about = folder / "bench_broken-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-broken\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[bench]\nbroken = bench_broken\n")
    return str(folder)


RUN = ["run", *PHANTOM, "-s", "egmae,scratch", "-p", "tiny.toml", "--set", "protocol.finetune.selection=best"]


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = workspace(tmp_path_factory.mktemp("untracked"))
    bench(folder, *RUN)
    return folder


def test_a_study_beside_trackers_has_the_same_bits(untracked: Path, tmp_path: Path) -> None:
    """Also beside one that raises, and in the process in which units run."""
    path = plugin(tmp_path)
    folder = workspace(tmp_path)
    done = bench(folder, *RUN, "--in-process", "--track", "jsonl,raises", PYTHONPATH=path)
    assert predictions(folder) == predictions(untracked)
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: tracker")]
    assert len(warnings) == 1
    assert (
        "tracker raises of plugin broken (bench-broken 0.1) failed: RuntimeError: this tracker is"
        in warnings[0]
    )
    (log,) = (folder / "results" / "logs").glob("*.jsonl")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "StudyBegan"
    assert kinds.count("UnitBegan") == kinds.count("UnitDone") == 4
    assert kinds[-1] == "StudyEnded"
    epochs = [event for event in events if event["event"] == "EpochEnded"]
    assert [event["epoch"] for event in epochs if event["stage"] == "pretrain"] == [1, 2]
    tuned = [event for event in epochs if event["stage"] == "fine-tune"]
    assert len(tuned) == 4
    for event in epochs:  # the very numbers of the records
        record = json.loads((folder / records_of(events)[event["key"]] / "record.json").read_text())
        assert event["loss"] == record["history"]["loss"][event["epoch"] - 1]
        if event["stage"] == "fine-tune":
            assert (
                event["validation_accuracy"] == record["history"]["validation_accuracy"][event["epoch"] - 1]
            )
    scores = [
        event["scores"] for event in events if event["event"] == "UnitDone" and event["kind"] != "pretrain"
    ]
    table = json.loads(bench(folder, "table", "--format", "json", "--metrics", "auc").stdout)
    shown = sorted(row["values"]["auc"]["mean"] for row in table[0]["rows"])
    assert sorted(score["auc"] for score in scores) == pytest.approx(shown)


def records_of(events: list[dict[str, Any]]) -> dict[str, str]:
    return {event["key"]: event["record"] for event in events if event["event"] == "UnitDone"}


def test_a_tracker_that_hangs_holds_up_nothing_but_the_end(untracked: Path, tmp_path: Path) -> None:
    """All units were done before, so that the end is all there is."""
    began = time.monotonic()
    (tmp_path / "plugin").mkdir()
    script = (
        "import bench.execution.tracking as t; t.PATIENCE = 1.0\n"
        "import sys; sys.argv[0] = 'bench'; from bench.cli import main; main()"
    )
    import subprocess
    import sys

    from test_cli import environment

    done = subprocess.run(
        [sys.executable, "-c", script, *RUN, "--track", "hangs,jsonl"],
        cwd=untracked,
        env=environment(PYTHONPATH=plugin(tmp_path / "plugin")),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "tracker hangs of plugin broken (bench-broken 0.1) hangs" in done.stderr
    assert "egmae" in done.stdout  # the table
    assert time.monotonic() - began < 120
    (log,) = (untracked / "results" / "logs").glob("*.jsonl")
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == [
        "StudyBegan",
        "StudyEnded",
    ]


def test_what_is_refused_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    done = bench(
        workspace(tmp_path), *RUN, "--track", "mlflow", code=2, PYTHONPATH=no_library(tmp_path, "mlflow")
    )
    assert done.stderr.strip() == (
        'error: --track mlflow: mlflow is not installed: pip install "medbench[mlflow]", or leave it out'
    )
    assert not (tmp_path / "results" / "logs").exists()


def no_library(folder: Path, name: str) -> str:
    """A folder that hides a library from `find_spec`, by what Python runs at its start."""
    place = folder / "hidden"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "import importlib.util as u\n_find = u.find_spec\n"
        f"u.find_spec = lambda name, *more: None if name == {name!r} else _find(name, *more)\n"
    )
    return str(place)
