"""Which memory format a training is fastest in on a GPU: tried once, kept on disk, written in the record.

It depends on the device, the network and the batch: depthwise convolutions in bf16 take other kernels in
channels_last than in contiguous tensors, and a network may change the format on its way. So a few real steps
of a copy are timed in each. The format changes rounding at most, so it is no part of a unit's key.
"""

from __future__ import annotations

import copy
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.engine.batches import Batch
from bench.engine.job import Job
from bench.files import read_json, write_json
from bench.identity import digest

FORMATS = {"channels_last": torch.channels_last, "contiguous_format": torch.contiguous_format}
DEFAULT = "channels_last"
STEPS, BEFORE = 20, 5  # timed, after those that warm up and capture

log = logging.getLogger("bench")

TrainStep = Callable[[Batch, float], None]  # one step on a batch, at a learning rate
Build = Callable[[nn.Module, torch.memory_format], TrainStep]
Clock = Callable[[], float]


def arranged(value: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Images (B, C, H, W) in `memory_format`; anything else as it is."""
    return value.contiguous(memory_format=memory_format) if value.ndim == 4 else value


def fastest_format(
    module: nn.Module, sample: Batch, build: Build, job: Job, clock: Clock = time.perf_counter
) -> torch.memory_format:
    """The format in which steps of `module` on `sample` are fastest. `build` makes a step of a copy.

    Kept in `job.memory_formats` by device, PyTorch, network, batch and precision. Where it cannot be tried
    (memory, or a module that cannot be copied), channels_last.
    """
    assert job.memory_formats is not None
    file = job.memory_formats / f"{_key(module, sample, job)}.json"
    found = _read(file)
    if found is None:
        try:
            seconds = {
                name: _time(build(copy.deepcopy(module).train(), memory_format), sample, job, clock)
                for name, memory_format in FORMATS.items()
            }
        except Exception as error:  # a trial must not cost the training
            log.warning(
                "memory formats cannot be tried (%s: %s); using %s", type(error).__name__, error, DEFAULT
            )
            return FORMATS[DEFAULT]
        found = min(seconds, key=lambda name: seconds[name])
        write_json(file, {"fastest": found, "seconds": seconds})
    return FORMATS[found]


def _time(step: TrainStep, sample: Batch, job: Job, clock: Clock) -> float:
    times = []
    for i in range(BEFORE + STEPS):
        started = clock()
        step(sample, 0.0)
        if job.device.type == "cuda":
            torch.cuda.synchronize(job.device)
        if i >= BEFORE:
            times.append(clock() - started)
    return statistics.median(times)


def _key(module: nn.Module, sample: Batch, job: Job) -> str:
    device = torch.cuda.get_device_name(job.device) if job.device.type == "cuda" else job.device.type
    weights = [[name, list(p.shape)] for name, p in module.named_parameters()]
    batch = [list(t.shape) for t in sample]
    speed = [job.precision, job.accumulate, job.graph, job.compile]
    return digest([device, torch.__version__, type(module).__name__, weights, batch, speed])[:16]


def _read(file: Path) -> str | None:
    found = (read_json(file) or {}).get("fastest")  # absent or damaged: tried again
    return found if isinstance(found, str) and found in FORMATS else None
