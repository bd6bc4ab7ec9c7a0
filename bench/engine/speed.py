"""How fast a network is on the device at hand, set up as the engine sets it up for a run.

Times are medians of repeats after a warm-up, each waited for. Memory is what PyTorch had allocated on a GPU
at its highest; on a CPU PyTorch keeps no such count, and the process's size says little about one network.
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
from bench.interfaces.model import Context
from bench.study.protocol import Finetuning

WARMUP = 2  # the first pass allocates and chooses kernels
REPEATS = 3  # at least
MOST_REPEATS = 100


@dataclass(frozen=True)
class Timing:
    """A pass over one batch. `seconds` is the median; None where memory ran out."""

    batch: int
    seconds: float | None
    repeats: int
    peak_bytes: int | None  # allocated on the GPU, the network included; None on a CPU

    @property
    def images_per_s(self) -> float | None:
        return None if self.seconds is None else self.batch / self.seconds


def forward(net: nn.Module, size: int, batch: int, device: torch.device, budget: float = 1.0) -> Timing:
    """Time `forward_step` for about `budget` seconds."""
    return _timed(forward_step(net, size, batch, device), batch, device, budget)


def training(
    net: nn.Module, context: Context, batch: int, device: torch.device, budget: float = 1.0
) -> Timing:
    """Time `training_step` for about `budget` seconds. Leaves `net` trained on noise."""
    return _timed(training_step(net, context, batch, device), batch, device, budget)


def forward_step(net: nn.Module, size: int, batch: int, device: torch.device) -> Callable[[], object]:
    """Logits of `batch` normalised images in evaluation mode.

    `net` is moved to `device` in channels_last, as for a run.
    """
    net = _placed(net, device).eval()
    images = torch.randn(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)

    def step() -> None:
        with torch.inference_mode(), autocast("auto", device):
            net(images)

    return step


def training_step(net: nn.Module, context: Context, batch: int, device: torch.device) -> Callable[[], object]:
    """The protocol's fine-tuning step (normalise, forward, backward, AdamW) on `batch` uint8 images."""
    settings = Finetuning()
    module = Classifier(_placed(net, device), context.normalize).train()
    plan = Budget(1, MOST_REPEATS, settings.learning_rate, settings.betas, settings.weight_decay)
    nowhere = Path("speed.pt")  # named by the job, never written
    job = Job("speed", "fine-tune", 0, device, nowhere, lambda news: None)
    images = torch.randint(0, 256, (batch, 3, context.size, context.size), dtype=torch.uint8)
    labels = torch.arange(batch) % len(context.classes)
    optimizer = make_optimizer(module, plan)
    moved = (images.to(device).to(memory_format=torch.channels_last), labels.to(device))
    return partial(train_step, module, optimizer, moved, job)


def _placed(net: nn.Module, device: torch.device) -> nn.Module:
    placed: nn.Module = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed


def _timed(step: Callable[[], object], batch: int, device: torch.device, budget: float) -> Timing:
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    times: list[float] = []
    try:
        for _ in range(WARMUP):
            once(step, device)
        while len(times) < REPEATS or (sum(times) < budget and len(times) < MOST_REPEATS):
            times.append(once(step, device))
    except torch.OutOfMemoryError:
        return Timing(batch, None, 0, None)
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else None
    return Timing(batch, statistics.median(times), len(times), peak)


def once(step: Callable[[], object], device: torch.device) -> float:
    """Seconds of one step, waited for."""
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
