"""What an executor promises."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.execution.session import Session
from bench.interfaces.executor import Environment, Executor, Outcome, Progress, Report
from bench.testing.component import check_component, works

LOG = "log"
PATIENCE = 60.0  # seconds that a unit waits for another that should run beside it
REASON = "failed on purpose"


@dataclass(frozen=True)
class _Unit:
    """A unit that does nothing but note that it was executed."""

    key: str
    needs: tuple[_Unit, ...] = ()
    fails: bool = False
    meets: str = ""  # key of a unit that should be at work at the same time
    kind: str = field(default="run", init=False)
    round: int = field(default=0, init=False)

    @property
    def label(self) -> str:
        return f"check.{self.key}"


def check_executor(executor: Executor) -> None:
    """Units that only note what happens are worked through, in the order that their needs allow.

    In particular: no units give no outcomes; every unit is executed once and its outcome yielded, whether it
    is done or failed; a unit starts after all it needs have ended, where those are to do (others are done);
    `execute` is given a Session whose environment is the one handed to `map` (but for `shared`), and its news
    reach `report`; never more than `environment.jobs` units are at work, and as many if the executor is
    `parallel`; and an interruption ends the work and passes through. Units and `execute` can be pickled.
    """
    check_component(executor)
    with TemporaryDirectory() as folder:
        _check_work(executor, Path(folder))
    with TemporaryDirectory() as folder:
        _check_interruption(executor, Path(folder))


def _check_work(executor: Executor, folder: Path) -> None:
    name, session, units = executor.name, _session(executor, folder), _units(executor.parallel)
    heard: list[str] = []
    with works(f"{name}: fails where there is nothing to do"):
        nothing = list(executor.map(_execute, [], session, lambda news: heard.append(news.unit)))
    assert nothing == [], f"{name}: gives {len(nothing)} outcomes where there is nothing to do"
    with works(f"{name}: fails"):
        outcomes = list(executor.map(_execute, units, session, lambda news: heard.append(news.unit)))
    events = _events(folder)
    keys = sorted(unit.key for unit in units)
    assert sorted(o.unit.key for o in outcomes) == keys, f"{name}: must yield one outcome per unit"
    starts = sorted(key for what, key in events if what == "start")
    assert starts == keys, f"{name}: must execute every unit once; it executed {', '.join(starts)}"
    for outcome in outcomes:
        fails = next(unit.fails for unit in units if unit.key == outcome.unit.key)
        expected = ("failed", REASON) if fails else ("done", "")
        told = (outcome.status, outcome.reason)
        assert told == expected, f"{name}: execute's outcome {expected} was passed on as {told}"
    for unit in units:
        for need in unit.needs:
            late = need in units and events.index(("end", need.key)) > events.index(("start", unit.key))
            assert not late, f"{name}: {unit.key} was started before {need.key}, which it needs, had ended"
    assert set(heard) == {unit.label for unit in units}, f"{name}: news of units do not reach `report`"
    _check_environment(executor, session.environment, events)
    _check_jobs(executor, session.environment.jobs, events)


def _check_environment(
    executor: Executor, environment: Environment, events: Sequence[tuple[str, str]]
) -> None:
    for what, text in events:
        same = what != "environment" or text == repr(environment)
        assert same, f"{executor.name}: executes in {text}, not in {environment!r}"


def _check_jobs(executor: Executor, jobs: int, events: Sequence[tuple[str, str]]) -> None:
    at_work = most = 0
    for what, _ in events:
        at_work += {"start": 1, "end": -1}.get(what, 0)
        most = max(most, at_work)
    assert most <= jobs, f"{executor.name}: {most} units were at work at once; environment.jobs is {jobs}"
    alone = [key for what, key in events if what == "alone"]
    assert not alone, f"{executor.name}: is parallel, but {', '.join(alone)} had no other unit beside it"


def _check_interruption(executor: Executor, folder: Path) -> None:
    session = _session(executor, folder)

    def interrupt(news: Progress) -> None:
        raise KeyboardInterrupt

    try:
        list(executor.map(_execute, _units(parallel=False), session, interrupt))
    except KeyboardInterrupt:
        started = [key for what, key in _events(folder) if what == "start"]
        jobs = session.environment.jobs
        assert len(started) <= jobs, f"{executor.name}: went on with {', '.join(started)} when interrupted"
    else:
        raise AssertionError(f"{executor.name}: an interruption must pass through; this one was swallowed")


def _session(executor: Executor, folder: Path) -> Session:
    return Session(Environment(data=folder, results=folder, jobs=2 if executor.parallel else 1))


def _units(parallel: bool) -> list[_Unit]:
    """A failure, a chain, and a unit whose need was done before; the first two may run at once."""
    first = _Unit("first", meets="second" if parallel else "")
    second = _Unit("second", fails=True, meets="first" if parallel else "")
    chained = _Unit("chained", needs=(first,))
    after_failure = _Unit("after_failure", needs=(second,))
    after_done = _Unit("after_done", needs=(_Unit("done_before"),))
    last = _Unit("last", needs=(first, chained, after_failure))
    return [first, second, chained, after_failure, after_done, last]


# --- what is executed, possibly in another process ---------------------------------------------------


def _execute(unit: Any, session: Session, report: Report) -> Outcome:
    """Note start, environment and end in a file of the results folder."""
    environment = replace(session.environment, shared=False)
    folder = environment.results
    _note(folder, "start", unit.key)
    _note(folder, "environment", repr(environment))
    report(Progress(unit=unit.label, stage="check", done=1, total=1))
    if unit.meets and not _meets(folder, unit.meets):
        _note(folder, "alone", unit.key)
    _note(folder, "end", unit.key)
    return Outcome(unit=unit, status="failed" if unit.fails else "done", reason=REASON if unit.fails else "")


def _meets(folder: Path, key: str) -> bool:
    """Whether the unit called `key` starts before patience ends."""
    deadline = time.monotonic() + PATIENCE
    while ("start", key) not in _events(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _note(folder: Path, what: str, text: str) -> None:
    """Append one line at once, so that processes do not mix theirs."""
    descriptor = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, f"{what} {text}\n".encode())
    finally:
        os.close(descriptor)


def _events(folder: Path) -> list[tuple[str, str]]:
    log = folder / LOG
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    return [(what, text) for what, _, text in (line.partition(" ") for line in lines)]
