"""What a training uses of its machine: speed, memory and energy; and how fast its network is afterwards.

Nothing here fails a unit, draws random numbers of a training, or touches what is trained. What cannot be
measured is None in the record, and the log says why at level debug.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from bench.errors import describe
from bench.execution import energy, memory
from bench.results.record import Usage

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bench.engine.job import History, Job

SHARE, LEAST, MOST = 0.01, 0.05, 0.5  # of the seconds of a training, and seconds, that timed passes may take
PASSES = 5  # timed at least

T = TypeVar("T")
log = logging.getLogger("bench")


class Measurement:
    """What is measured from when it is made until `end`. A figure is None where it cannot be measured."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak_memory: int | None = None
        self.energy: float | None = None
        self.began = _tried("peak memory", self._forget_peak) is not None
        self.counter = _tried("energy", lambda: energy.energy_counter(device))

    def end(self) -> None:
        """Read the counters, and let go of them."""
        if self.counter is not None:
            self.energy = _tried("energy", self.counter.close)
        if self.began:
            self.peak_memory = _tried("peak memory", self._peak)

    def usage(self, history: History, at_once: int) -> Usage:
        """For the record of the training that ended with this history."""
        measured = history.images > 0 and history.seconds > 0  # none if only the last checkpoint was left
        return Usage(
            images_per_second=history.images / history.seconds if measured else None,
            peak_memory=self.peak_memory,
            energy=self.energy,
            energy_source=self.counter.source if self.counter and self.energy is not None else None,
            at_once=at_once,
        )

    def _forget_peak(self) -> bool:
        if self.device.type == "cuda":
            from bench.engine.device import forget_peak

            forget_peak(self.device)
        else:
            memory.forget_peak_resident()
        return True

    def _peak(self) -> int:
        if self.device.type != "cuda":
            return memory.peak_resident()
        import torch

        # Reserved, because what a graph keeps counts as allocated only while it is captured.
        return int(torch.cuda.max_memory_reserved(self.device))


@contextmanager
def measured(device: torch.device) -> Iterator[Measurement]:
    """Measure what is done on `device` within the block."""
    measurement = Measurement(device)
    try:
        yield measurement
    finally:
        measurement.end()


def measured_latency(net: nn.Module, size: int, job: Job, seconds: float) -> float | None:
    """Median seconds of a forward pass of one image by a copy of `net`, as a run of `job` predicts; the time
    that it takes is bounded by the `seconds` of the training, but for a few passes.

    None if memory runs out, or the network cannot be copied or passed through.
    """
    return _tried("latency", lambda: _latency(net, size, job, seconds))


def _latency(net: nn.Module, size: int, job: Job, seconds: float) -> float | None:
    import copy

    import torch

    from bench.engine.speed import time_forward

    # A network may draw random numbers in evaluation mode too.
    with torch.random.fork_rng([job.device] if job.device.type == "cuda" else []):
        timing = time_forward(
            copy.deepcopy(net),
            size,
            1,
            job.device,
            min(MOST, max(LEAST, SHARE * seconds)),
            repeats=PASSES,
            precision=job.precision,
        )
    return timing.seconds


def _tried(what: str, measure: Callable[[], T]) -> T | None:
    """What `measure` gives; None, with a line in the log, if it raises."""
    try:
        return measure()
    except Exception as error:  # of any kind: drivers and plugins have their own
        log.debug("%s is not measured: %s", what, describe(error))
        return None
