"""What one training is given, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.interfaces.executor import Report


@dataclass(frozen=True)
class Budget:
    """AdamW with linear warm-up and cosine decay to 0 over `epochs` of `steps` batches."""

    epochs: int
    steps: int
    learning_rate: float
    betas: tuple[float, float]
    weight_decay: float
    warmup: float = 0.0  # share of all steps


@dataclass(frozen=True)
class Job:
    """Where and how one training runs, and who is told about it."""

    unit: str
    stage: str
    seed: int
    device: torch.device
    checkpoint: Path
    report: Report
    precision: str = "auto"
    accumulate: int = 1  # micro-batches per step, after memory ran out
    memory_formats: Path | None = None  # folder of what trials found; None: no trial, channels_last
    graph: bool = True  # capture steps where the device can
    compile: bool = False  # torch.compile the module


@dataclass(frozen=True)
class History:
    """Mean loss of each epoch, the validation score where one was kept, and wall time of this process."""

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    resumed_from: int = 0  # epoch this process started at
    seconds: float = 0.0
    steps: int = 0  # steps this process did
    engine: dict[str, str] = field(default_factory=dict)  # what was chosen for speed alone
