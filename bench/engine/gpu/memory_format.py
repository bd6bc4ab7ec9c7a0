"""Find the memory format in which a training is fastest on a GPU. Measured once, then kept on disk.

It depends on the device, the network and the batch: depthwise convolutions in bf16 use other kernels for
channels_last than for contiguous tensors, and a network may change the format between layers. So a few real
steps of a copy are timed in each format. The format can change rounding only, so it is not part of a unit's
key; the record names it.
"""

from __future__ import annotations

import copy
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from filelock import FileLock
from torch import Tensor, nn

from bench.engine.batches import Batch
from bench.engine.job import Job
from bench.files import read_json, write_json
from bench.identity import digest

FORMATS = {"channels_last": torch.channels_last, "contiguous_format": torch.contiguous_format}
DEFAULT = "channels_last"
UNTIMED_STEPS = 5  # warm-up and capture
TIMED_STEPS = 20
MARGIN = 0.05  # share of time that another format must save; smaller differences are noise

log = logging.getLogger("bench")

Clock = Callable[[], float]


class TrainStep(Protocol):
    """One step on a batch, at a learning rate."""

    def __call__(self, batch: Batch, rate: float) -> None: ...

    def close(self) -> None: ...


Build = Callable[[nn.Module, torch.memory_format], TrainStep]


def arranged(value: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Images (B, C, H, W) in `memory_format`; anything else as it is."""
    return value.contiguous(memory_format=memory_format) if value.ndim == 4 else value


def name_of(memory_format: torch.memory_format) -> str:
    """Its name as a key of `FORMATS`."""
    return str(memory_format).removeprefix("torch.")


def fastest_format(
    module: nn.Module, sample: Batch, build: Build, job: Job, clock: Clock = time.perf_counter
) -> torch.memory_format:
    """The format in which steps of `module` on the batch `sample` are fastest.

    `build` makes a step of a copy of the module. The result is kept in `job.memory_formats` by device,
    PyTorch version, network, batch and precision. channels_last, unless another one is faster by `MARGIN`; a
    format in which a step fails is never chosen, and if the trial itself fails (the module cannot be copied,
    memory does not suffice), nothing is kept.
    """
    assert job.memory_formats is not None
    file = job.memory_formats / f"{_key(module, sample, job)}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    # Trainings that measure at once would slow each other down, and might choose differently.
    with FileLock(file.with_suffix(".lock")):
        fastest = _read_fastest(file)
        if fastest is None:
            seconds = _try_formats(module, sample, build, job, clock)
            fastest = _choose(seconds)
            if DEFAULT in seconds:
                write_json(file, {"fastest": fastest, "seconds": seconds})
    return FORMATS[fastest]


def _choose(seconds: dict[str, float]) -> str:
    """The format of the shortest time, if that is worth leaving the default one."""
    if not seconds:
        return DEFAULT
    fastest = min(seconds, key=lambda name: seconds[name])
    worth = DEFAULT not in seconds or seconds[fastest] <= (1 - MARGIN) * seconds[DEFAULT]
    return fastest if worth else DEFAULT


def _try_formats(module: nn.Module, sample: Batch, build: Build, job: Job, clock: Clock) -> dict[str, float]:
    """Seconds of a step, by the formats in which steps can be done."""
    seconds = {}
    for name, memory_format in FORMATS.items():
        step = None
        try:
            step = build(copy.deepcopy(module).train(), memory_format)
            seconds[name] = _time(step, sample, job, clock)
        except Exception as error:  # a measurement that fails must not stop the training
            log.warning("memory format %s cannot be tried (%s: %s)", name, type(error).__name__, error)
        finally:
            if step is not None:
                step.close()
    return seconds


def _time(step: TrainStep, sample: Batch, job: Job, clock: Clock) -> float:
    """Median seconds of a step."""
    times = []
    for i in range(UNTIMED_STEPS + TIMED_STEPS):
        started = clock()
        step(sample, 0.0)
        if job.device.type == "cuda":
            torch.cuda.synchronize(job.device)
        if i >= UNTIMED_STEPS:
            times.append(clock() - started)
    return statistics.median(times)


def _key(module: nn.Module, sample: Batch, job: Job) -> str:
    device = torch.cuda.get_device_name(job.device) if job.device.type == "cuda" else job.device.type
    weights = [[name, list(p.shape)] for name, p in module.named_parameters()]
    batch = [list(t.shape) for t in sample]
    options = [job.precision, job.accumulate, job.graph, job.compile]
    return digest([device, torch.__version__, type(module).__name__, weights, batch, options])[:16]


def _read_fastest(file: Path) -> str | None:
    """The name of the fastest format; None if the file is absent or damaged, so that it is measured again."""
    name = (read_json(file) or {}).get("fastest")
    return name if isinstance(name, str) and name in FORMATS else None
