"""Units beside each other in real processes: the same bits, the right order, and every way to fail."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench import Environment, Outcome, Progress, Report, Session, silent
from bench_standard import packed as packing
from bench_standard.executors import local, packed
from bench_standard.packed import STEADY, _count, _next, _room
from bench_standard.pool import Worker


@dataclass(frozen=True)
class Unit:
    """Stands for a unit in the tests of scheduling."""

    name: str
    needs: tuple[Unit, ...] = ()
    kind: str = "run"
    round: int = 0

    @property
    def key(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        return self.name


def work(unit: Any, session: Session, report: Any) -> Outcome:
    """Leaves a file that says which process did it, and that all it needs had been done."""
    environment = session.environment
    report(Progress(unit=unit.name, stage="toy", done=1, total=1, epoch=1, epochs=1))
    if missing := [need.name for need in unit.needs if not (environment.results / need.name).exists()]:
        return Outcome(unit=unit, status="failed", reason=f"too early: {missing}")
    if unit.name.startswith("dies"):
        with (environment.results / "tries").open("a") as file:
            file.write(f"{os.getpid()}\n")
        os.kill(os.getpid(), signal.SIGKILL)
    if unit.name.startswith("exits"):
        os._exit(7)
    if unit.name == "hangs":
        while True:
            time.sleep(0.01)
    if unit.name == "poisons":
        tries = environment.results / "poisons.tries"
        with tries.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if len(tries.read_text().split()) == 1:
            return Outcome(unit=unit, status="failed", reason="CUDA error", device_lost=True)
    if unit.name.startswith("device"):
        if environment.device == "dead":
            return Outcome(unit=unit, status="failed", reason="CUDA error", device_lost=True)
        time.sleep(0.3)
        (environment.results / f"{unit.name}.device").write_text(
            f"{environment.device} {os.getpid()} {environment.shared}"
        )
    if unit.name.startswith("large") and environment.shared:
        return Outcome(unit=unit, status="failed", reason="CUDA out of memory", out_of_memory=True)
    if unit.name.startswith("sleeps"):
        try:
            (environment.results / f"{unit.name}.asleep").touch()
            time.sleep(60)
        except KeyboardInterrupt:
            (environment.results / f"{unit.name}.interrupted").touch()
            raise
    while unit.name == "waits" and not (environment.results / "sleeps.asleep").exists():
        time.sleep(0.01)
    time.sleep(0.05)
    (environment.results / unit.name).write_text(str(os.getpid()))
    return Outcome(unit=unit, status="done")


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    assert not multiprocessing.active_children()


def run(folder: Path, units: list[Unit], jobs: int = 2, report: Report = silent) -> dict[str, Outcome]:
    place = Environment(data=folder, results=folder, device="cpu", threads=1, jobs=jobs)
    return {o.unit.name: o for o in packed(work, units, Session(place), report)}


def test_units_wait_for_what_they_need_and_share_the_workers(tmp_path: Path) -> None:
    first, second = Unit("pretrain0"), Unit("pretrain1")
    runs = [Unit("run0", (first,)), Unit("run1", (second,))]
    last = Unit("ensemble", tuple(runs))
    outcomes = run(tmp_path, [first, runs[0], second, runs[1], last])
    assert [o.status for o in outcomes.values()] == ["done"] * 5
    processes = {path.read_text() for path in tmp_path.iterdir() if path.is_file()}
    assert len(processes) == 2
    assert str(os.getpid()) not in processes


@pytest.mark.parametrize(
    ("name", "reason"), [("dies", "killed by SIGKILL (memory?)"), ("exits", "exit code 7")]
)
def test_a_process_that_ends_fails_its_unit_alone(tmp_path: Path, name: str, reason: str) -> None:
    outcomes = run(tmp_path, [Unit("a"), Unit(name), Unit("b"), Unit("c")])
    assert outcomes[name].status == "failed"
    assert outcomes[name].reason == f"its process ended before it did: {reason}"
    assert all(outcomes[other].status == "done" for other in "abc")
    if name == "dies":  # a machine may have done it, so it is tried once more, in another process
        assert len(set((tmp_path / "tries").read_text().split())) == 2
    else:
        assert "test_packed.py" in outcomes[name].traceback
    assert list((tmp_path / ".scratch" / "workers").iterdir()) == []


def test_a_unit_that_takes_too_long_is_given_up_and_says_where_it_was(tmp_path: Path) -> None:
    place = Environment(data=tmp_path, results=tmp_path, device="cpu", threads=1, timeout=8.0)
    outcomes = {o.unit.name: o for o in packed(work, [Unit("hangs"), Unit("a")], Session(place), silent)}
    assert outcomes["hangs"].reason.startswith("took longer than --timeout 8 (seconds)")
    assert "test_packed.py" in outcomes["hangs"].traceback
    assert outcomes["a"].status == "done"


def test_a_unit_that_is_silent_for_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "SILENCE", 8.0)
    outcomes = run(tmp_path, [Unit("hangs"), Unit("a")], jobs=1)
    assert "gave no sign of life for" in outcomes["hangs"].reason
    assert outcomes["a"].status == "done"


def test_a_unit_whose_device_is_lost_goes_on_in_another_process(tmp_path: Path) -> None:
    heard: list[Progress] = []
    outcomes = run(tmp_path, [Unit("poisons"), Unit("a")], jobs=1, report=heard.append)
    assert [told.stage for told in heard if told.unit == "poisons"] == ["toy", "once more: CUDA error", "toy"]
    assert {o.status for o in outcomes.values()} == {"done"}
    first, second = (tmp_path / "poisons.tries").read_text().split()
    assert first != second
    assert (tmp_path / "a").read_text() == second  # who lost its device does no more


def test_an_idle_process_that_is_gone_is_replaced(tmp_path: Path) -> None:
    place = Environment(data=tmp_path, results=tmp_path, device="cpu", threads=1)
    ended = packed(work, [Unit("a"), Unit("b")], Session(place), silent)
    assert next(ended).status == "done"
    os.kill(int((tmp_path / "a").read_text()), signal.SIGKILL)
    time.sleep(0.5)
    assert next(ended).status == "done"
    ended.close()
    assert (tmp_path / "b").read_text() != (tmp_path / "a").read_text()


def test_several_devices_are_dealt_to_the_workers(tmp_path: Path) -> None:
    place = Environment(
        data=tmp_path, results=tmp_path, device="cpu:0", devices=("cpu:0", "cpu:1"), threads=1, jobs=2
    )
    names = [f"device{i}" for i in range(4)]
    outcomes = list(packed(work, [Unit(name) for name in names], Session(place), silent))
    assert {outcome.status for outcome in outcomes} == {"done"}
    used = {(tmp_path / f"{name}.device").read_text() for name in names}
    assert {text.split()[0] for text in used} == {"cpu:0", "cpu:1"}
    assert len(used) == 2  # a worker keeps its device
    assert {text.split()[2] for text in used} == {"False"}  # which no other unit shares


def test_a_device_that_answers_no_more_is_dealt_nothing_while_there_are_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = Environment(
        data=tmp_path, results=tmp_path, device="dead", devices=("dead", "cpu"), threads=1, jobs=1
    )
    outcomes = {
        o.unit.name: o for o in packed(work, [Unit("device0"), Unit("device1")], Session(place), silent)
    }
    assert (outcomes["device0"].status, outcomes["device0"].reason) == ("failed", "CUDA error")
    assert (outcomes["device1"].status, caplog.messages) == (
        "done",
        ["dead answers no more; units go to the other devices"],
    )


def test_memory_that_runs_out_beside_others_is_tried_again_with_fewer(tmp_path: Path) -> None:
    heard: list[Progress] = []
    units = [Unit("large0"), Unit("a"), Unit("large1"), Unit("b")]
    outcomes = run(tmp_path, units, jobs=3, report=heard.append)
    back = {told.key for told in heard if told.stage == "waits: memory ran out beside other units"}
    assert back == {"large0", "large1"}
    assert {name: o.status for name, o in outcomes.items()} == dict.fromkeys(
        ("large0", "a", "large1", "b"), "done"
    )


def busy_with(*units: Unit, resident: int = 1) -> list[Worker]:
    class At(Worker):
        def resident(self) -> int:
            return resident

    return [At(None, None, Path("none"), unit=unit) for unit in units]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("at_work", "cores", "expected"),
    [
        ([], 4, "long"),
        ([Unit("p", kind="pretrain")], 6, "long"),  # 3 threads of 6 are free
        ([Unit("p", kind="pretrain")], 4, "short"),  # 1 of 4
        ([Unit("p", kind="pretrain")], 3, None),
        ([Unit("a"), Unit("b")], 3, "short"),
        ([Unit("a"), Unit("b")], 0, "long"),  # no limit but the number of units
        ([], 1, "long"),  # one unit is begun whatever it takes
    ],
)
def test_units_are_begun_while_cores_are_left_for_their_threads(
    at_work: list[Unit], cores: int, expected: str | None
) -> None:
    place = Environment(data=Path(), results=Path(), threads=1, pretrain_threads=3, cores=cores, jobs=9)
    waiting = [Unit("early", (Unit("long"),)), Unit("long", kind="pretrain"), Unit("short")]
    unit: Any = _next(list(waiting), busy_with(*at_work), place)
    assert (unit and unit.name) == expected


def test_units_are_begun_while_the_largest_finds_memory_again(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Environment(data=Path(), results=Path(), threads=1, cores=8, jobs=8)
    for free, expected in ((1200, True), (1199, False)):
        monkeypatch.setattr(packing, "available_memory", lambda free=free: free)
        waiting = [Unit("one more")]
        assert bool(_next(waiting, busy_with(Unit("a"), resident=1000), place)) is expected
        assert _next(waiting, [], place)  # alone it may have what there is


def test_a_process_that_is_killed_beside_others_leaves_fewer_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    units = [Unit("dies"), Unit("waits for it"), Unit("b"), Unit("c")]
    outcomes = run(tmp_path, units, jobs=2)
    assert [o.status for o in outcomes.values()].count("done") == 3
    assert "memory may have run out: at most 1 at once from now on" in caplog.messages


def test_leaving_early_ends_the_processes(tmp_path: Path) -> None:
    place = Environment(data=tmp_path, results=tmp_path, device="cpu", threads=1, jobs=2)
    outcomes = packed(work, [Unit("waits"), Unit("sleeps")], Session(place), silent)
    assert next(outcomes).unit.name == "waits"
    started = time.monotonic()
    outcomes.close()
    assert time.monotonic() - started < 30
    assert (tmp_path / "sleeps.interrupted").exists()  # it could write a checkpoint


def worker(held: int, free: int, steps: int = STEADY) -> Worker:
    unit: Any = Unit("unit")
    return Worker(None, None, Path("none"), unit=unit, steps=steps, memory=(held, free))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("busy", "room"),
    [
        ([], True),
        ([worker(10, 12)], True),
        ([worker(10, 11)], False),  # less than the largest and something to spare
        ([worker(10, 30, steps=STEADY - 1)], False),  # may not yet hold all it will
        ([worker(10, 30), worker(20, 23)], False),
        ([worker(10, 30), worker(20, 24)], True),
        ([worker(0, 0, steps=0)], False),  # has reported nothing yet
    ],
)
def test_a_unit_is_added_when_the_largest_would_fit_again(busy: list[Worker], room: bool) -> None:
    assert _room(busy) is room


def test_a_unit_that_goes_on_from_a_checkpoint_is_settled_after_as_many_steps_as_any() -> None:
    """Not at its first message, which tells of the thousandth step: it may not yet hold all it will."""
    resumed = worker(0, 0, steps=0)
    for done in range(5, 5 + STEADY):
        assert not _room([resumed])
        told = Progress(unit="unit", stage="fine-tune", done=done, total=100, epoch=11, epochs=20)
        _count(resumed, told, (10, 30))
    assert _room([resumed])


def test_packed_units_predict_what_units_alone_predict(tmp_path: Path) -> None:
    """To the last bit: encoders and predictions of every unit of a study."""
    from bench.execution.plan import make_plan
    from bench.execution.run import execute
    from bench.study.study import Study

    study = Study.from_keywords(
        datasets=("phantom",),
        models=("test_convnext",),
        strategies=("egmae", "scratch"),
        protocol={
            "size": 32,
            "rounds": 1,
            "pretrain": {"epochs": 2, "resize": 40},
            "finetune": {"epochs": 2, "resize": 36, "selection": "best"},
        },
        dataset={"phantom": {"patients": 20}},
    )
    stored = []
    for executor, jobs in ((local, 1), (packed, 2)):
        place = Environment(
            data=tmp_path, results=tmp_path / executor.__name__, device="cpu", threads=1, jobs=jobs
        )
        plan = make_plan(study, Session(place))
        outcomes = list(executor(execute, plan.units, plan.session, silent))
        assert [o.status for o in outcomes] == ["done"] * 4, [o.reason for o in outcomes]
        files = [p for p in place.results.glob("**/*") if p.suffix in (".safetensors", ".parquet")]
        stored.append({p.relative_to(place.results): p.read_bytes() for p in files})
    assert stored[0] == stored[1]
    assert len(stored[0]) == 4
