"""The processes in which units run: starting them, ending them, and asking where they are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import types
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from bench import Unit
from bench_standard.worker import SHOW, Memory, serve

PATIENCE = 60.0  # seconds a worker has to write its checkpoint when interrupted


@dataclass
class Worker:
    """A process and the unit it works on.

    Attributes:
        process: runs `bench_standard.worker.serve`.
        pipe: this process's end of the connection.
        tracebacks: the file in which the process writes where it is, when it crashes or is asked.
        unit: None while it waits for one.
        device: of its units; "" before the first.
        started: when it got the unit, by time.monotonic().
        heard: when it last told of progress, or got the unit.
        first_step: of the unit in this process: not 0 where it goes on from a checkpoint; None before it.
        steps: training steps of the unit so far, in this process.
        memory: what it last reported; None without a GPU.
        shared: whether its unit was executed as one that others may run beside.
    """

    process: BaseProcess
    pipe: Connection
    tracebacks: Path
    unit: Unit | None = None
    device: str = ""
    started: float = 0.0
    heard: float = 0.0
    first_step: int | None = None
    steps: int = 0
    memory: Memory | None = None
    shared: bool = False

    def begin(self, unit: Unit, device: str, shared: bool) -> None:
        """Note that it begins with a unit."""
        self.unit, self.device, self.shared = unit, device, shared
        self.started = self.heard = time.monotonic()
        self.first_step, self.steps, self.memory = None, 0, None


def start_worker(workers: list[Worker], scratch: Path) -> Worker:
    """Start a process and add it to `workers`. What it writes when it crashes goes to a file in `scratch`."""
    folder = scratch / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    tracebacks = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.txt"
    # Spawned, because CUDA does not survive a fork. Not a daemon, because those may have no children, and a
    # plugin may want a DataLoader's; it ends when this process does, for then its pipe is closed.
    context = multiprocessing.get_context("spawn")
    pipe, worker_pipe = context.Pipe()
    process = context.Process(target=serve, args=(worker_pipe, str(tracebacks)))
    with _without_main():
        process.start()
    worker_pipe.close()  # only the worker has this end open, so that reading fails here when it is gone
    workers.append(Worker(process, pipe, tracebacks))
    return workers[-1]


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main module: a spawned process would import it, and a script without
    `if __name__ == "__main__"` would begin again in each."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def stop_workers(workers: Sequence[Worker], patience: float = PATIENCE) -> None:
    """End processes; one that has a unit is interrupted, and writes a checkpoint first. A second
    interruption, or the end of its patience, kills those that are left."""
    for worker in workers:
        with suppress(OSError):
            worker.pipe.send(None)
    deadline = time.monotonic() + patience
    try:
        for worker in workers:
            _drain(worker, deadline)
    finally:
        for worker in workers:
            if worker.process.is_alive():
                worker.process.kill()
            worker.process.join()
            worker.pipe.close()
            worker.tracebacks.unlink(missing_ok=True)


def _drain(worker: Worker, deadline: float) -> None:
    """Wait for the end of a process; its last messages must be taken, or it could not write them."""
    while worker.process.is_alive() and time.monotonic() < deadline:
        try:
            if worker.pipe.poll(0.05):
                worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(max(0.0, deadline - time.monotonic()))


def ended_by(worker: Worker) -> tuple[str, int]:
    """Why a process is gone, in words and as its exit code (-N for signal N)."""
    worker.process.join(PATIENCE)
    code = worker.process.exitcode
    worker.pipe.close()
    if code is None:
        worker.process.kill()
        return "it closed its connection", 1
    if code >= 0:
        return f"exit code {code}", code
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}{' (memory?)' if name == 'SIGKILL' else ''}", code


def where_it_is(worker: Worker, ask: bool = False) -> str:
    """What a process has written about where it was when it crashed, or, if asked, where it is now."""
    if ask and SHOW is not None and worker.process.pid is not None:
        with suppress(OSError):
            os.kill(worker.process.pid, SHOW)
        time.sleep(0.5)
    try:
        text = worker.tracebacks.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    if not ask:
        worker.tracebacks.unlink(missing_ok=True)
    return "\n".join(line for line in text.splitlines() if "in exit_with_traceback" not in line)
