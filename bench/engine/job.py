"""What the training loop takes and returns beside the network and its images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.interfaces.executor import Report


@dataclass(frozen=True)
class Budget:
    """How long one training lasts, and its optimiser: AdamW with linear warm-up and cosine decay to 0."""

    epochs: int
    steps: int  # batches per epoch
    learning_rate: float  # after the warm-up
    betas: tuple[float, float]
    weight_decay: float
    warmup: float = 0.0  # share of all steps


@dataclass(frozen=True)
class Job:
    """Where and how one training runs."""

    unit: str  # label of the unit, for progress and messages
    stage: str  # "pretrain" or "fine-tune"
    seed: int
    device: torch.device
    checkpoint: Path  # file of the running training, deleted when the unit is done
    report: Report
    precision: str = "auto"  # "fp32", "bf16", or "auto": bf16 on a GPU
    accumulate: int = 1  # parts in which a step is done; more than 1 after memory ran out
    memory_formats: Path | None = None  # folder of measured memory formats; None: channels_last, not measured
    graph: bool = True  # capture steps as CUDA graphs on a GPU
    compile: bool = False  # torch.compile the module


@dataclass(frozen=True)
class History:
    """How one training went."""

    losses: list[float] = field(default_factory=list)  # mean of each epoch
    scores: list[float] = field(default_factory=list)  # validation score of each epoch, if there are any
    resumed_from: int = 0  # epoch at which this process started
    seconds: float = 0.0  # wall time of this process
    steps: int = 0  # steps done by this process
    images: int = 0  # images of these steps, each as often as it was trained on
    engine: dict[str, str] = field(default_factory=dict)  # choices that change speed only, for the record
