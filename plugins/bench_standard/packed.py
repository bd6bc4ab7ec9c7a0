"""Units in processes of their own: one after another, or several at once on one machine.

A process has generators, graphs and memory to itself, so each unit predicts what it predicts alone, to the
last bit (with as many CPU threads), and whatever a method does to its process (a crash, a hang, sys.exit)
ends its own unit alone. Workers stay for further units, so that PyTorch is loaded once in each.

On a CPU a unit is added when cores are left for its threads, and memory for one as large as the largest.
On a GPU a unit is added only when what the largest unit was seen to hold fits into the memory that is free,
and a unit that runs out of memory goes back to the queue, with one fewer at once from then on. Processes
share a GPU by turns unless NVIDIA's MPS runs (`nvidia-cuda-mps-control -d`), which lets them overlap. Several
GPUs are dealt to the workers; one that answers no more is dealt nothing while there are others.

What a machine causes is tried once more: a process that was killed (memory), a device that answers no more.
What a method causes is not.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait

from bench import (
    Environment,
    Execute,
    Outcome,
    Progress,
    Report,
    Session,
    Unit,
    available_memory,
    warn_of_turns,
)
from bench_standard.pool import Worker, start_worker, stop_workers
from bench_standard.worker import Memory, Printed, Task

log = logging.getLogger("bench")

STEADY = 8  # steps after which a unit holds the memory it will hold: ordinary steps, capture, replays
SPARE = 1.2  # of the largest unit's memory that must be free before one more starts
TRIES = 2  # of a unit whose process was killed or lost its device
SILENCE = 1800.0  # least seconds without news after which a unit is taken to hang


def execute_packed(
    execute: Execute, units: Sequence[Unit], session: Session, report: Report
) -> Iterator[Outcome]:
    """Execute up to `environment.jobs` units at once; a unit starts after all it needs have ended."""
    environment = session.environment
    waiting, most = list(units), max(1, environment.jobs)
    devices = environment.devices or (environment.device,)
    warn_of_turns(devices, min(most, len(units)))
    tries: Counter[str] = Counter()
    lost: Counter[str] = Counter()  # by device, the processes in a row that it answered no more
    workers: list[Worker] = []
    try:
        while waiting or any(w.unit is not None for w in workers):
            busy = [w for w in workers if w.unit is not None]
            unit = _next(waiting, busy, environment) if len(busy) < most else None
            if unit is not None:
                device = _free_device([d for d in devices if lost[d] < TRIES] or devices, busy)
                if device is not None:
                    waiting.remove(unit)
                    tries[unit.key] += 1
                    shared = most > len(devices)  # else each of them has a device to itself
                    _assign(unit, execute, replace(environment, device=device, shared=shared), workers)
                    continue
            for worker in _ready(busy):
                outcome = _receive(worker, workers, report) or _overdue(worker, workers, environment.timeout)
                if outcome is None:
                    continue
                _count_lost(outcome, worker.device, lost, devices)
                # Not whether others may run now: two units can run out of memory in the same moment.
                if worker.shared and outcome.out_of_memory:
                    most = _fewer(most, len(busy))
                    waiting.insert(0, outcome.unit)
                    report(_back(outcome.unit, "waits: memory ran out beside other units"))
                elif outcome.device_lost and tries[outcome.unit.key] < TRIES:
                    if outcome.traceback and len(busy) > 1:  # it was killed
                        most = _fewer(most, len(busy))
                    waiting.insert(0, outcome.unit)
                    report(_back(outcome.unit, f"once more: {outcome.reason}"))
                else:
                    yield outcome
    finally:
        stop_workers(workers)


def _next(waiting: list[Unit], busy: list[Worker], environment: Environment) -> Unit | None:
    """The first unit that needs none that has not ended, and for which cores and memory are left."""
    running = [w.unit for w in busy if w.unit is not None]
    unfinished = {unit.key for unit in (*waiting, *running)}
    ready = (u for u in waiting if not any(need.key in unfinished for need in u.needs))
    if not running or environment.device.startswith("cuda"):  # `_free_device` asks for a GPU's memory
        return next(ready, None)
    free = environment.cores - sum(map(environment.threads_of, running))
    fitting = (u for u in ready if not environment.cores or environment.threads_of(u) <= free)
    unit = next(fitting, None)
    if unit is None or available_memory() < SPARE * max(w.resident() for w in busy):
        return None
    return unit


def _fewer(most: int, at_work: int) -> int:
    """One less at once than there were when memory ran out, or a process was killed, perhaps for that."""
    fewer = max(1, min(most, at_work) - 1)
    log.warning("memory may have run out: at most %d at once from now on", fewer)
    return fewer


def _back(unit: Unit, stage: str) -> Progress:
    """News of a unit that goes back to the queue: what it had come to is no longer so."""
    return Progress(unit=unit.label, key=unit.key, stage=stage)


# --- devices -----------------------------------------------------------------------------------------


def _free_device(devices: Sequence[str], busy: list[Worker]) -> str | None:
    """The device with the fewest units at work that has room for one more."""
    at_work = {device: [w for w in busy if w.device == device] for device in devices}
    for device in sorted(devices, key=lambda device: len(at_work[device])):
        if _room(at_work[device]):
            return device
    return None


def _count_lost(outcome: Outcome, device: str, lost: Counter[str], devices: Sequence[str]) -> None:
    """Count a device that answers no more: it would fail every unit quickly, and so be dealt them all."""
    if not outcome.device_lost:
        lost[device] = 0
    elif not outcome.traceback:  # a process that was killed says nothing of its device
        lost[device] += 1
        if lost[device] == TRIES and len(devices) > 1:
            log.warning("%s answers no more; units go to the other devices", device)


def _room(busy: list[Worker]) -> bool:
    """Whether the GPU holds one more unit as large as the largest; always where no GPU is reported."""
    known = [w.memory for w in busy if w.memory is not None]
    if not known:
        return True
    if not all(_settled(w) for w in busy):
        return False
    return min(free for _, free in known) >= SPARE * max(held for held, _ in known)


def _settled(worker: Worker) -> bool:
    """Whether it holds as much memory as its unit will need."""
    return worker.unit is None or worker.steps >= STEADY


# --- one unit in one worker --------------------------------------------------------------------------


def _assign(unit: Unit, execute: Execute, environment: Environment, workers: list[Worker]) -> None:
    device = environment.device
    idle = (w for w in workers if w.unit is None and w.device in ("", device) and w.process.is_alive())
    worker = next(idle, None) or start_worker(workers, environment)
    worker.begin(unit, device, environment.shared)
    if device.startswith("cuda"):
        worker.memory = (0, 0)  # so that no other unit starts before this one has reported its memory
    with suppress(OSError):  # it is gone, which `_receive` will find
        worker.pipe.send(Task(execute, unit, environment))


def _ready(busy: list[Worker]) -> list[Worker]:
    """Workers with news, and those without any for long."""
    ready = set(wait([end for w in busy for end in (w.pipe, w.process.sentinel)], timeout=1.0))
    return [w for w in busy if w.pipe in ready or w.process.sentinel in ready] or busy


def _receive(worker: Worker, workers: list[Worker], report: Report) -> Outcome | None:
    """Take one message, if there is one: pass on what is not an outcome. A process that is gone failed."""
    try:
        if not worker.pipe.poll():
            return _lost(worker, workers) if not worker.process.is_alive() else None
        message, memory = worker.pipe.recv()
    except (EOFError, OSError):
        return _lost(worker, workers)
    if isinstance(message, logging.LogRecord):
        logging.getLogger(message.name).handle(message)
        return None
    if isinstance(message, Printed):
        print(message.line, file=sys.stderr)
        return None
    if isinstance(message, Progress):
        _count(worker, message, memory)
        report(message)
        return None
    outcome: Outcome = message
    worker.unit = None
    if outcome.device_lost:  # what else this process does on its device would fail too
        workers.remove(worker)
        stop_workers([worker])
    return outcome


def _count(worker: Worker, progress: Progress, memory: Memory | None) -> None:
    done = (progress.epoch - 1) * progress.total + progress.done
    if worker.first_step is None and progress.epochs:
        worker.first_step = done - 1  # more than 0 where it goes on from a checkpoint
    worker.steps = max(worker.steps, done - (worker.first_step or 0)) if progress.epochs else worker.steps
    worker.memory = memory or worker.memory
    worker.heard = time.monotonic()


def _lost(worker: Worker, workers: list[Worker]) -> Outcome:
    """The outcome of the unit whose process is gone."""
    workers.remove(worker)
    cause, code = worker.ended_by()
    assert worker.unit is not None  # only from workers that have a unit is anything received
    # Segmentation faults and exits are a method's; the system's memory killer and people use SIGKILL.
    killed = code == -getattr(signal, "SIGKILL", 9)
    return Outcome(
        unit=worker.unit,
        status="failed",
        reason=f"its process ended before it did: {cause}",
        seconds=time.monotonic() - worker.started,
        device_lost=killed,
        traceback=worker.where() or cause,
    )


def _overdue(worker: Worker, workers: list[Worker], timeout: float) -> Outcome | None:
    """The outcome of a unit that has taken too long, or been silent for too long; its process is ended."""
    now = time.monotonic()
    if worker.unit is None:
        return None
    if timeout and now - worker.started > timeout:
        reason = f"took longer than --timeout {timeout:g} (seconds); give more time, or repair it if it hangs"
    # As long as all that it has done before: prediction may take as long as training.
    elif not timeout and now - worker.heard > max(SILENCE, 2 * (worker.heard - worker.started)):
        silent = (now - worker.heard) / 60
        reason = f"gave no sign of life for {silent:.0f} minutes; repair it if it hangs, or set --timeout"
    else:
        return None
    unit, seconds = worker.unit, now - worker.started
    where = worker.where(ask=True)
    workers.remove(worker)
    stop_workers([worker], patience=5.0)
    return Outcome(unit=unit, status="failed", reason=reason, seconds=seconds, traceback=where or reason)
