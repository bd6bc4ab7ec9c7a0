"""How fast a network is on this machine, set up as for a run.

Times are medians of repeats after a warm-up; each repeat is waited for. Memory is the peak of what PyTorch
held on a GPU, the memory of a captured step included. On a CPU PyTorch does not count it, and the size of the
process says little about one network.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from bench.engine.batches import Batch
from bench.engine.device import autocast, forget_peak, out_of_memory
from bench.engine.gpu.graph import WARMUP as STEPS_BEFORE_CAPTURE
from bench.engine.input_pipeline import InputPipeline
from bench.engine.job import Budget, Job
from bench.engine.loop import Classifier
from bench.engine.step import Step, make_step
from bench.interfaces.executor import silent
from bench.interfaces.model import Context
from bench.study.protocol import Finetuning

WARMUP = 2  # passes before the timed ones, which allocate memory and choose kernels
MIN_REPEATS = 3
MAX_REPEATS = 100


@dataclass(frozen=True)
class Timing:
    """How long a pass over one batch takes."""

    batch: int  # images
    seconds: float | None  # median; None if memory ran out
    repeats: int
    peak_bytes: int | None  # held on the GPU, the network included; None on a CPU

    @property
    def images_per_s(self) -> float | None:
        return None if self.seconds is None else self.batch / self.seconds


def time_forward(
    net: nn.Module,
    size: int,
    batch: int,
    device: torch.device,
    seconds: float = 1.0,
    *,
    repeats: int = MIN_REPEATS,
    precision: str = "auto",
) -> Timing:
    """Repeat `forward_step` for about so many `seconds`, and at least so many times."""
    return _timed(partial(forward_step, net, size, batch, device, precision), batch, device, seconds, repeats)


def time_training(
    net: nn.Module, context: Context, batch: int, device: torch.device, seconds: float = 1.0
) -> Timing:
    """Repeat `training_step` for about so many `seconds`. Leaves `net` trained on noise."""
    steps: list[TrainingStep] = []

    def make() -> TrainingStep:
        steps.append(training_step(net, context, batch, device))
        return steps[-1]

    try:
        return _timed(make, batch, device, seconds)
    finally:
        for step in steps:
            step.close()


def forward_step(
    net: nn.Module, size: int, batch: int, device: torch.device, precision: str = "auto"
) -> Callable[[], object]:
    """A function that computes the logits of `batch` normalised images in evaluation mode.

    `net` is moved to `device` in channels_last, as for a run. The images are the same noise every time, and
    drawn without PyTorch's own random numbers.
    """
    net = _placed(net, device).eval()
    noise = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    images = noise.to(device).to(memory_format=torch.channels_last)

    def step() -> None:
        with torch.inference_mode(), autocast(precision, device):
            net(images)

    return step


class TrainingStep:
    """Calls do one `step` on `batch` at `rate`; the first does so many, after which a step is captured."""

    def __init__(self, step: Step, batch: Batch, rate: float, first: int) -> None:
        self.step = step
        self.batch = batch
        self.rate = rate
        self.to_do = first

    def __call__(self) -> None:
        for _ in range(self.to_do):
            self.step(self.batch, self.rate)
        self.to_do = 1

    def close(self) -> None:
        """Free what a captured step holds; no step may follow."""
        self.step.close()


def training_step(net: nn.Module, context: Context, batch: int, device: torch.device) -> TrainingStep:
    """A function that does one fine-tuning step (normalise, forward, backward, AdamW) on `batch` images, as
    in a training: on a GPU captured and replayed.

    Its settings are the defaults of a protocol; the images are uint8 noise.
    """
    settings = Finetuning()
    module = Classifier(_placed(net, device), context.normalize).train()
    budget = Budget(1, MAX_REPEATS, settings.learning_rate, settings.betas, settings.weight_decay)
    unused = Path(os.devnull)  # a job must name a checkpoint; none is written
    job = Job("speed", "fine-tune", 0, device, unused, silent)
    images = torch.randint(0, 256, (batch, 3, context.size, context.size), dtype=torch.uint8)
    labels = torch.arange(batch) % len(context.classes)
    on_device = (images.to(device).to(memory_format=torch.channels_last), labels.to(device))
    step = make_step(module, InputPipeline(lambda seed: [on_device]), budget, job)
    first = 1 if device.type == "cpu" else STEPS_BEFORE_CAPTURE + 1
    return TrainingStep(step, on_device, settings.learning_rate, first)


def _placed(net: nn.Module, device: torch.device) -> nn.Module:
    placed: nn.Module = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed


def _timed(
    make: Callable[[], Callable[[], object]],
    batch: int,
    device: torch.device,
    seconds: float,
    repeats: int = MIN_REPEATS,
) -> Timing:
    on_gpu = device.type == "cuda"
    if on_gpu:
        forget_peak(device)
    times: list[float] = []
    try:
        step = make()
        for _ in range(WARMUP):
            time_once(step, device)
        while len(times) < repeats or (sum(times) < seconds and len(times) < MAX_REPEATS):
            times.append(time_once(step, device))
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        return Timing(batch, None, 0, None)
    # Reserved, because what a graph keeps counts as allocated only while it is captured.
    peak = torch.cuda.max_memory_reserved(device) if on_gpu else None
    return Timing(batch, statistics.median(times), len(times), peak)


def time_once(step: Callable[[], object], device: torch.device) -> float:
    """Seconds of one step, until the device has done it."""
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
