"""Several units at once on one machine, each in a process of its own.

A step at batch 16 leaves most of a large GPU idle, and several rounds of a study are independent. A process
has generators, graphs and memory to itself, so each unit predicts what it predicts alone, to the last bit
(with as many CPU threads). Workers stay for further units, so that PyTorch is loaded once in each.

On a GPU a unit is added only when what the largest unit was seen to hold fits into the memory that is free,
and a unit that runs out of memory goes back to the queue, with one fewer at once from then on. Processes
share a GPU by turns unless NVIDIA's MPS runs (`nvidia-cuda-mps-control -d`), which lets them overlap.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from bench import Environment, Execute, Outcome, Progress, Report, Session, Unit
from bench_standard.worker import Memory, Printed, serve

STEADY = 8  # steps after which a unit holds the memory it will hold: ordinary steps, capture, replays
SPARE = 1.2  # of the largest unit's memory that must be free before one more starts
PATIENCE = 30.0  # seconds a worker has to write its checkpoint when interrupted


@dataclass
class Worker:
    """A process and the unit it works on.

    Attributes:
        process: runs `bench_standard.worker.serve`.
        pipe: this process's end of the connection.
        unit: None while it waits for one.
        started: when it got the unit, by time.monotonic().
        steps: training steps of the unit so far.
        memory: what it last reported; None without a GPU.
        shared: whether its unit was executed as one that others may run beside.
    """

    process: BaseProcess
    pipe: Connection
    unit: Unit | None = None
    started: float = 0.0
    steps: int = 0
    memory: Memory | None = None
    shared: bool = False

    @property
    def settled(self) -> bool:
        """Whether it holds as much memory as its unit will need."""
        return self.unit is None or self.steps >= STEADY


def execute_packed(
    execute: Execute, units: Sequence[Unit], session: Session, report: Report
) -> Iterator[Outcome]:
    """Execute up to `environment.jobs` units at once; a unit starts after all it needs have ended."""
    environment = session.environment
    waiting, most = list(units), max(1, environment.jobs)
    workers: list[Worker] = []
    try:
        while waiting or any(w.unit is not None for w in workers):
            busy = [w for w in workers if w.unit is not None]
            unit = _next(waiting, [w.unit for w in busy if w.unit is not None])
            if unit is not None and len(busy) < most and _room(busy):
                _assign(unit, execute, replace(environment, shared=most > 1), workers)
                waiting.remove(unit)
                continue
            for worker in _ready(busy):
                outcome = _receive(worker, workers, report)
                if outcome is None:
                    continue
                # Not whether others may run now: two units can run out of memory in the same moment.
                if worker.shared and outcome.out_of_memory:
                    waiting.insert(0, outcome.unit)
                    most = max(1, min(most, len(busy)) - 1)
                else:
                    yield outcome
    finally:
        _stop(workers)


def _next(waiting: list[Unit], running: list[Unit]) -> Unit | None:
    """The first unit that needs none of those that have not ended."""
    unfinished = {unit.key for unit in (*waiting, *running)}
    return next((u for u in waiting if not any(need.key in unfinished for need in u.needs)), None)


def _room(busy: list[Worker]) -> bool:
    """Whether the GPU holds one more unit as large as the largest; always where no GPU is reported."""
    known = [w.memory for w in busy if w.memory is not None]
    if not known:
        return True
    if not all(w.settled for w in busy):
        return False
    return min(free for _, free in known) >= SPARE * max(held for held, _ in known)


# --- workers -----------------------------------------------------------------------------------------


def _assign(unit: Unit, execute: Execute, environment: Environment, workers: list[Worker]) -> None:
    worker = next((w for w in workers if w.unit is None), None) or _start_worker(workers)
    worker.unit, worker.started, worker.steps, worker.memory = unit, time.monotonic(), 0, None
    worker.shared = environment.shared
    if environment.device.startswith("cuda"):
        worker.memory = (0, 0)  # so that no other unit starts before this one has reported its memory
    worker.pipe.send((execute, unit, environment))


def _start_worker(workers: list[Worker]) -> Worker:
    # Spawned, because CUDA does not survive a fork.
    context = multiprocessing.get_context("spawn")
    pipe, worker_pipe = context.Pipe()
    process = context.Process(target=serve, args=(worker_pipe,), daemon=True)
    process.start()
    worker_pipe.close()  # only the worker has this end open, so that reading fails here when it is gone
    workers.append(Worker(process, pipe))
    return workers[-1]


def _ready(busy: list[Worker]) -> list[Worker]:
    pipes = set(wait([w.pipe for w in busy], timeout=1.0))
    return [w for w in busy if w.pipe in pipes]


def _receive(worker: Worker, workers: list[Worker], report: Report) -> Outcome | None:
    """Take one message: pass on what is not an outcome. A process that died failed its unit."""
    try:
        message, memory = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(PATIENCE)
        workers.remove(worker)
        code = worker.process.exitcode
        cause = (
            f"killed by signal {-code} (memory?)" if code is not None and code < 0 else f"exit code {code}"
        )
        assert worker.unit is not None  # only from workers that have a unit is anything received
        return Outcome(
            unit=worker.unit,
            status="failed",
            reason=f"its process ended before it did: {cause}",
            seconds=time.monotonic() - worker.started,
        )
    if isinstance(message, logging.LogRecord):
        logging.getLogger(message.name).handle(message)
        return None
    if isinstance(message, Printed):
        print(message.line, file=getattr(sys, message.stream))
        return None
    if isinstance(message, Progress):
        worker.steps = max(worker.steps, (message.epoch - 1) * message.total + message.done)
        worker.memory = memory or worker.memory
        report(message)
        return None
    outcome: Outcome = message
    worker.unit = None
    return outcome


def _stop(workers: list[Worker]) -> None:
    """End all workers; one that has a unit is interrupted, and writes a checkpoint first."""
    for worker in workers:
        worker.pipe.close()
        if worker.unit is not None:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(PATIENCE)
        if worker.process.is_alive():
            worker.process.kill()
