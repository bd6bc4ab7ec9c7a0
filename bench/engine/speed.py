"""How fast a network is on this machine, set up as for a run.

Times are medians of repeats after a warm-up; each repeat is waited for. Memory is the peak of what PyTorch
allocated on a GPU. On a CPU PyTorch does not count it, and the size of the process says little about one
network.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from bench.engine.device import autocast
from bench.engine.job import Budget, Job
from bench.engine.loop import Classifier
from bench.engine.step import make_optimizer, train_step
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
    peak_bytes: int | None  # allocated on the GPU, the network included; None on a CPU

    @property
    def images_per_s(self) -> float | None:
        return None if self.seconds is None else self.batch / self.seconds


def time_forward(net: nn.Module, size: int, batch: int, device: torch.device, seconds: float = 1.0) -> Timing:
    """Repeat `forward_step` for about so many `seconds`."""
    return _timed(forward_step(net, size, batch, device), batch, device, seconds)


def time_training(
    net: nn.Module, context: Context, batch: int, device: torch.device, seconds: float = 1.0
) -> Timing:
    """Repeat `training_step` for about so many `seconds`. Leaves `net` trained on noise."""
    return _timed(training_step(net, context, batch, device), batch, device, seconds)


def forward_step(net: nn.Module, size: int, batch: int, device: torch.device) -> Callable[[], object]:
    """A function that computes the logits of `batch` normalised images in evaluation mode.

    `net` is moved to `device` in channels_last, as for a run.
    """
    net = _placed(net, device).eval()
    images = torch.randn(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)

    def step() -> None:
        with torch.inference_mode(), autocast("auto", device):
            net(images)

    return step


def training_step(net: nn.Module, context: Context, batch: int, device: torch.device) -> Callable[[], object]:
    """A function that does one fine-tuning step (normalise, forward, backward, AdamW) on `batch` images.

    Its settings are the defaults of a protocol; the images are uint8 noise.
    """
    settings = Finetuning()
    module = Classifier(_placed(net, device), context.normalize).train()
    budget = Budget(1, MAX_REPEATS, settings.learning_rate, settings.betas, settings.weight_decay)
    unused = Path("speed.pt")  # a job must name a checkpoint; none is written
    job = Job("speed", "fine-tune", 0, device, unused, silent)
    images = torch.randint(0, 256, (batch, 3, context.size, context.size), dtype=torch.uint8)
    labels = torch.arange(batch) % len(context.classes)
    optimizer = make_optimizer(module, budget)
    on_device = (images.to(device).to(memory_format=torch.channels_last), labels.to(device))
    return partial(train_step, module, optimizer, on_device, job)


def _placed(net: nn.Module, device: torch.device) -> nn.Module:
    placed: nn.Module = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed


def _timed(step: Callable[[], object], batch: int, device: torch.device, seconds: float) -> Timing:
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    times: list[float] = []
    try:
        for _ in range(WARMUP):
            time_once(step, device)
        while len(times) < MIN_REPEATS or (sum(times) < seconds and len(times) < MAX_REPEATS):
            times.append(time_once(step, device))
    except torch.OutOfMemoryError:
        return Timing(batch, None, 0, None)
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else None
    return Timing(batch, statistics.median(times), len(times), peak)


def time_once(step: Callable[[], object], device: torch.device) -> float:
    """Seconds of one step, until the device has done it."""
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
