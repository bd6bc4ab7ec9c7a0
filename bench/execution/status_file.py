"""What a command leaves for others to see of it while it works, in the results folder.

    scratch/status/<host>.<pid>.json      the command: which study, which units are at work, how far each is
                   <study>.plan.json      the units of a study, with their names; stays when it ends

The first is replaced once a second at most, and every few seconds in any case, by a thread; removed at the
end. Of a process that was killed it stays, until the next command on that machine. What cannot be written is
not: no study ends for it.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.execution.at_work import Line, UnitsAtWork
from bench.files import host_name, is_running, read_json, remove_leftovers, temporary_beside
from bench.interfaces.executor import Outcome, Progress

if TYPE_CHECKING:
    from bench.execution.plan import Plan
    from bench.study.study import Study

log = logging.getLogger("bench")

VERSION = 1
INTERVAL = 1.0  # least seconds between two writings
HEARTBEAT = 10.0  # most seconds between two writings
SAME = 2.0  # seconds within which two readings of when a process began agree
FAILURES = 100  # of which the reasons are told
PLAN = ".plan.json"


def folder_of(scratch: Path) -> Path:
    """Where commands leave their files."""
    return scratch / "status"


def title_of(study: Study) -> str:
    """A study for people: "busi: egmae, imagenet, quick"."""
    models = [ref.name for ref in study.models]
    named = f" on {', '.join(models)}" if len(models) > 1 else ""
    datasets = ", ".join(ref.name for ref in study.datasets)
    strategies = ", ".join(ref.name for ref in study.strategies)
    return f"{datasets}: {strategies}{named}, {study.protocol_name}"


@contextmanager
def told(study: Study, scratch: Path) -> Iterator[StatusWriter]:
    """Leave a file that says what this process does for the study, within the block."""
    writer = StatusWriter(study, scratch)
    try:
        yield writer
    finally:
        writer.stop()


class StatusWriter:
    """The file of this command. `report` and `ended` keep what they hear; a thread writes it."""

    def __init__(self, study: Study, scratch: Path) -> None:
        import psutil

        self.scratch = scratch
        self.path = folder_of(scratch) / f"{host_name()}.{os.getpid()}.json"
        self.study, self.title = study.name, title_of(study)
        self.process_began = psutil.Process().create_time()
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.known = UnitsAtWork(())
        self.planned: dict[str, Any] = {}
        self.kinds: Mapping[str, str] = {}
        self.names: Mapping[str, str] = {}
        self.failed = 0
        self.failures: list[dict[str, str]] = []  # the first of them
        self.left: tuple[float | None, float] = None, -math.inf  # seconds left, and when that was found
        self.changed, self.over = threading.Event(), threading.Event()
        self.changed.set()
        _remove_dead(scratch)
        self.thread = threading.Thread(target=self._write_until_over, name="status", daemon=True)
        self.thread.start()

    def plan(self, plan: Plan, to_do: Sequence[Any]) -> None:
        """What the study comes to; leaves its plan for good."""
        environment = plan.session.environment
        with self.lock:
            self.known = UnitsAtWork(to_do)
            self.kinds = {unit.key: unit.kind for unit in plan.units}
            self.names = plan.names
            self.planned = {
                "units": len(plan.units),
                "to_do": len(to_do),
                "jobs": environment.jobs,
                "device": ", ".join(environment.devices or (environment.device,)),
            }
        units = [[unit.key, unit.kind, plan.names[unit.key]] for unit in plan.units]
        path = folder_of(self.scratch) / f"{self.study}{PLAN}"
        _replace(path, {"version": VERSION, "study": self.study, "title": self.title, "units": units})
        self.changed.set()

    def report(self, news: Progress) -> None:
        """How far a unit is, or a data set."""
        with self.lock:
            self.known.report(news, time.monotonic())
        self.changed.set()

    def ended(self, outcome: Outcome) -> None:
        """What became of a unit."""
        with self.lock:
            self.known.ended(outcome, time.monotonic())
            if outcome.status != "done":
                self.failed += 1
                if len(self.failures) < FAILURES:
                    name = self.names.get(outcome.unit.key, outcome.unit.label)
                    self.failures.append({"unit": name, "reason": outcome.reason})
        self.changed.set()

    def stop(self) -> None:
        """The command ends, and nobody need see it any more."""
        self.over.set()
        self.changed.set()
        self.thread.join(HEARTBEAT)
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    # --- the thread ----------------------------------------------------------------------------------

    def _write_until_over(self) -> None:
        while not self.over.is_set():
            self.changed.clear()
            _replace(self.path, self._content())
            if not self.over.wait(INTERVAL):
                self.changed.wait(HEARTBEAT - INTERVAL)

    def _content(self) -> dict[str, Any]:
        now = time.monotonic()
        with self.lock:
            units = [self._unit(line, now) for line in self.known.lines.values()]
            left = self._left(now)
            failed, failures = self.failed, list(self.failures)
            planned = dict(self.planned)
        return {
            "version": VERSION,
            "host": host_name(),
            "pid": os.getpid(),
            "process_began": self.process_began,
            "study": self.study,
            "title": self.title,
            "seconds": round(now - self.began, 1),
            "plan": planned or None,
            "at_work": units,
            "failed": failed,
            "failures": failures,
            "seconds_left": None if left is None else round(left, 1),
        }

    def _left(self, now: float) -> float | None:
        """Seconds left; found again less often where there are many units."""
        if self.planned and now - self.left[1] > 1.0 + len(self.known.time.to_do) / 500:
            self.left = self.known.left(now), now
        seconds, found = self.left
        return None if seconds is None else max(0.0, seconds - (now - found))

    def _unit(self, line: Line, now: float) -> dict[str, Any]:
        news = line.news
        return {
            "key": news.key,
            "unit": news.unit,
            "kind": self.kinds.get(news.key, ""),
            "stage": news.stage,
            "waits": line.waits,
            "done": news.done,
            "total": news.total,
            "epoch": news.epoch,
            "epochs": news.epochs,
            "loss": _finite(news.loss),
            "images_per_s": _finite(news.images_per_s),
            "in_bytes": news.in_bytes,
            "seconds": round(now - line.since, 1),
            "silent": round(now - line.pace.now, 1),
        }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _replace(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file in one step. It need not survive a power cut, so nothing is synced."""
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        log.debug("%s: cannot be written (%s)", path, error)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _remove_dead(scratch: Path) -> None:
    """Remove what killed commands on this machine have left, as far as that can be removed."""
    folder = folder_of(scratch)
    with suppress(OSError):
        remove_leftovers(folder)
    for path in folder.glob(f"{host_name()}.*.json"):
        if not path.name.endswith(PLAN) and (content := read_json(path)) and not is_this(content):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def is_this(content: Mapping[str, Any]) -> bool:
    """Whether the process that a file of this machine names is still running, and no other of its number."""
    import psutil

    pid = int(content.get("pid") or 0)
    if not is_running(pid):
        return False
    try:
        began = psutil.Process(pid).create_time()
    except psutil.Error:  # gone by now, or somebody else's
        return is_running(pid)
    return abs(began - float(content.get("process_began") or began)) < SAME
