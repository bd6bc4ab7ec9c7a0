"""The processes in which units run: starting them and ending them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from bench import Child, Environment, Unit, load_for_children
from bench_standard.worker import Memory, serve

LIBRARIES = ("torch", "torch._dynamo", "timm", "fvcore.nn", "bench.engine.loop", "bench.execution.run")
"""What units of most kinds load, which takes seconds."""

PATIENCE = 60.0  # seconds a worker has to write its checkpoint when interrupted


@dataclass
class Worker(Child):
    """A process that runs `bench_standard.worker.serve`, and the unit it works on.

    Attributes:
        unit: None while it waits for one.
        device: of its units; "" before the first.
        started: when it got the unit, by time.monotonic().
        heard: when it last told of progress, or got the unit.
        first_step: of the unit in this process: not 0 where it goes on from a checkpoint; None before it.
        steps: training steps of the unit so far, in this process.
        memory: what it last reported; None without a GPU.
        shared: whether its unit was executed as one that others may run beside.
    """

    unit: Unit | None = None
    device: str = ""
    started: float = 0.0
    heard: float = 0.0
    first_step: int | None = None
    steps: int = 0
    memory: Memory | None = None
    shared: bool = False

    def resident(self) -> int:
        """Bytes of memory that it holds now; 0 if it is gone."""
        import psutil

        with suppress(psutil.Error):
            return int(psutil.Process(self.process.pid).memory_info().rss)
        return 0

    def begin(self, unit: Unit, device: str, shared: bool) -> None:
        """Note that it begins with a unit."""
        self.unit, self.device, self.shared = unit, device, shared
        self.started = self.heard = time.monotonic()
        self.first_step, self.steps, self.memory = None, 0, None


def start_worker(workers: list[Worker], environment: Environment) -> Worker:
    """Start a process and add it to `workers`. What it writes when it crashes goes to a file in `scratch`."""
    loaded = () if environment.device.startswith("cuda") else LIBRARIES
    workers.append(Worker.start(serve, environment.scratch / "workers", loaded=loaded))
    return workers[-1]


def load(device: str) -> None:
    """Begin to load what all processes on this device need."""
    if not device.startswith("cuda"):
        load_for_children(LIBRARIES)


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
            worker.end()


def _drain(worker: Worker, deadline: float) -> None:
    """Wait for the end of a process; its last messages must be taken, or it could not write them."""
    while worker.process.is_alive() and time.monotonic() < deadline:
        try:
            if worker.pipe.poll(0.05):
                worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(max(0.0, deadline - time.monotonic()))
