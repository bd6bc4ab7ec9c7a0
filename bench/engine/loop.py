"""The one training loop, for pretraining and fine-tuning alike, and prediction.

A CPU and a GPU go through the same lines. On a GPU a step is one replayed graph, nothing inside an epoch
waits for the device, and the next epoch is drawn while it still works on this one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.engine import checkpoint, layout
from bench.engine.batches import Batch
from bench.engine.device import autocast
from bench.engine.feeds import Feed, Render, as_given
from bench.engine.graph import Capture, CudaCapture, Replayed
from bench.errors import TrainingError
from bench.spec import derive_seed
from bench.types import Progress, Report


class Classifier(nn.Module):
    """forward(images, labels): cross-entropy of the network on uint8 images (B, 3, S, S), int64 (B,)."""

    def __init__(self, net: nn.Module, normalize: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net = net
        self.normalize = normalize

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(self.net(self.normalize(images)).float(), labels)


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
    accumulate: int = 1  # micro-batches a step, after memory ran out
    layouts: Path | None = None  # folder of `layout.choose`; None: no trial, channels_last
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


def optimize(
    module: nn.Module,
    feed: Feed,
    budget: Budget,
    job: Job,
    validate: Callable[[], float] | None = None,
) -> History:
    """Train `module`, whose forward takes the feed's rendered batches and returns the loss, in place.

    With `validate`, the state of the epoch with the highest score is kept (the first of equals); otherwise
    the last. Every random number of an epoch comes from seeds derived from (job.seed, epoch), so a resumed
    training repeats an uninterrupted one exactly. Raises TrainingError if the loss stops being finite.
    """
    started = time.perf_counter()
    step, state = _prepare(module, feed, budget, job)
    history = History(state["losses"], state["scores"], resumed_from=state["epoch"])
    steps = 0
    module.train()
    with checkpoint.Writer(job.checkpoint) as writer:
        upcoming = feed.epoch(derive_seed(job.seed, "batches", state["epoch"]))
        for epoch in range(state["epoch"], budget.epochs):
            torch.manual_seed(derive_seed(job.seed, "epoch", epoch))
            step.total.zero_()
            seen, epoch_started = 0, time.perf_counter()
            for done, batch in enumerate(upcoming, start=1):
                step(batch, learning_rate(epoch * budget.steps + done - 1, budget))
                seen, steps = seen + len(batch[0]), steps + 1
                _tell(job, budget, epoch, done, step.total, seen, epoch_started, history)
            if epoch + 1 < budget.epochs:  # drawn while a GPU still works on this epoch
                upcoming = feed.epoch(derive_seed(job.seed, "batches", epoch + 1))
            history.losses.append(_finite(float(step.total) / seen, epoch, budget, job))
            if validate:
                history.scores.append(validate())
                module.train()
                if history.scores[-1] > max(history.scores[:-1], default=-math.inf):
                    state["best"] = {k: v.detach().clone() for k, v in module.state_dict().items()}
            if epoch + 1 < budget.epochs and writer.due():
                writer.write(_state(module, step.optimizer, epoch + 1, history, state.get("best")))
    if validate:
        module.load_state_dict(state["best"])
    seconds = time.perf_counter() - started
    return replace(history, seconds=seconds, steps=steps, engine=step.choices | {"images": feed.kind})


class Step:
    """One step on one batch: render, forward, backward, AdamW, and the loss added to `total`.

    Nothing here waits for the device. On a GPU the whole is captured once and replayed; `capture` is how
    (None: not at all). `total` is the sum of losses, each times its images, on the device.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.AdamW,
        job: Job,
        render: Render = as_given,
        memory_format: torch.memory_format | None = None,
        capture: Capture | None = None,
    ) -> None:
        self.module: Callable[..., Tensor] = torch.compile(module, dynamic=False) if job.compile else module
        self.optimizer = optimizer
        self.job = job
        self.render = render
        self.memory_format = memory_format
        self.total = torch.zeros((), device=job.device)
        self.rate = torch.zeros((), device=job.device) if job.device.type == "cuda" else None
        self.replayed = Replayed(self._work, job.device, capture) if capture else None

    def __call__(self, batch: Batch, rate: float) -> None:
        if (
            self.rate is not None
        ):  # a captured AdamW reads its rate from the device; filling it waits for none
            self.rate.fill_(rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate if self.rate is None else self.rate
        (self.replayed or self._work)(*batch)

    def _work(self, *batch: Tensor) -> None:
        given = self.render(*batch)
        if self.memory_format is not None:
            given = tuple(layout.arranged(t, self.memory_format) for t in given)
        self.total.add_(train_step(self.module, self.optimizer, given, self.job) * len(batch[0]))

    @property
    def choices(self) -> dict[str, str]:
        """What the record says about speed."""
        return {
            "step": self.replayed.mode if self.replayed else "eager",
            "memory_format": str(self.memory_format or torch.channels_last).removeprefix("torch."),
            "compile": str(self.job.compile).lower(),
        }


def train_step(
    module: Callable[..., Tensor], optimizer: torch.optim.Optimizer, batch: Batch, job: Job
) -> Tensor:
    """One optimiser step; returns the mean loss of the batch, detached, without waiting for the device."""
    # Here and not at the end: what a failed capture left behind must not be added to.
    optimizer.zero_grad(set_to_none=True)
    loss_sum = torch.zeros((), device=job.device)
    for part in zip(*(t.chunk(job.accumulate) for t in batch), strict=True):
        moved = [t.to(job.device, non_blocking=True) for t in part]
        with autocast(job.precision, job.device):
            loss = module(*moved)
        share = len(part[0]) / len(batch[0])
        (loss * share).backward()  # type: ignore[no-untyped-call]
        loss_sum += loss.detach() * share
    optimizer.step()
    return loss_sum


def make_step(module: nn.Module, feed: Feed, budget: Budget, job: Job) -> Step:
    """The step that suits the device: captured on a GPU, in the memory format found fastest there."""
    if job.device.type != "cuda":
        return Step(module, make_optimizer(module, budget), job, feed.render)

    def build(net: nn.Module, memory_format: torch.memory_format) -> Step:
        capture = CudaCapture(job.device) if job.graph else None
        placed = net.to(memory_format=memory_format)
        optimizer = make_optimizer(placed, budget, capturable=True)
        return Step(placed, optimizer, job, feed.render, memory_format, capture)

    memory_format = torch.channels_last
    if job.layouts is not None:
        sample = next(iter(feed.epoch(job.seed)))
        memory_format = layout.choose(module, sample, build, job)
    return build(module, memory_format)


def make_optimizer(module: nn.Module, budget: Budget, capturable: bool = False) -> torch.optim.AdamW:
    """AdamW. As usual for these networks, biases, norms and other vectors are not decayed, nor what the
    network's own `no_weight_decay()` names. `capturable`: its state lies where a CUDA graph can change it."""
    exempt = _no_weight_decay(module)
    trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    decayed = [p for n, p in trained if p.ndim > 1 and n not in exempt]
    plain = [p for n, p in trained if p.ndim <= 1 or n in exempt]
    groups = [
        {"params": decayed, "weight_decay": budget.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    rate = budget.learning_rate
    return torch.optim.AdamW(groups, lr=rate, betas=budget.betas, fused=True, capturable=capturable)


def _no_weight_decay(module: nn.Module) -> set[str]:
    names: set[str] = set()
    for prefix, part in module.named_modules():
        if callable(listed := getattr(part, "no_weight_decay", None)):
            names |= {f"{prefix}.{name}" if prefix else name for name in listed()}
    return names


def learning_rate(step: int, budget: Budget) -> float:
    """Linear warm-up over the first `warmup` share of all steps, then half a cosine to 0."""
    total = budget.epochs * budget.steps
    warm = round(budget.warmup * total)
    if step < warm:
        return budget.learning_rate * (step + 1) / warm
    return budget.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def predict(
    net: nn.Module, batches: Iterable[Batch], normalize: Callable[[Tensor], Tensor], job: Job
) -> Tensor:
    """Class probabilities of all images, float64 (N, K) on the CPU. The network is left in eval mode."""
    net.eval()
    found = []
    with torch.inference_mode():
        for (images,) in batches:
            with autocast(job.precision, job.device):
                logits = net(normalize(images.to(job.device, non_blocking=True)))
            found.append(logits.double().softmax(dim=1))
        return torch.cat(found).cpu()


def _prepare(module: nn.Module, feed: Feed, budget: Budget, job: Job) -> tuple[Step, dict[str, Any]]:
    """The step, and the state to go on from: the checkpoint's, which is put in place, or a fresh one."""
    step = make_step(module, feed, budget, job)
    state = checkpoint.load(job.checkpoint, job.device)
    if state is None:
        return step, {"epoch": 0, "losses": [], "scores": []}
    module.load_state_dict(state.pop("module"))
    step.optimizer.load_state_dict(state.pop("optimizer"))
    for group in step.optimizer.param_groups:  # of this device, not of the one that saved it
        group["capturable"] = job.device.type == "cuda"
    return step, state


def _state(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    history: History,
    best: dict[str, Tensor] | None,
) -> dict[str, Any]:
    state: dict[str, Any] = {
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": epoch,
        "losses": list(history.losses),
        "scores": list(history.scores),
    }
    return state | ({"best": best} if best is not None else {})


def _finite(loss: float, epoch: int, budget: Budget, job: Job) -> float:
    if math.isfinite(loss):
        return loss
    section = "pretrain" if job.stage == "pretrain" else "finetune"
    raise TrainingError(
        f"{job.unit}: the {job.stage} loss is {loss} in epoch {epoch + 1}; lower "
        f"protocol.{section}.learning_rate (now {budget.learning_rate:g})"
    )


def _tell(
    job: Job,
    budget: Budget,
    epoch: int,
    done: int,
    total: Tensor,
    seen: int,
    since: float,
    history: History,
) -> None:
    # Reading the running loss off a GPU would stall it, so there the last epoch's mean is shown.
    running = float(total) / seen if job.device.type == "cpu" else None
    last = history.losses[-1] if history.losses else None
    job.report(
        Progress(
            unit=job.unit,
            stage=job.stage,
            done=done,
            total=budget.steps,
            epoch=epoch + 1,
            epochs=budget.epochs,
            loss=running if running is not None else last,
            images_per_s=seen / max(1e-9, time.perf_counter() - since),
            resumed=history.resumed_from > 0,
        )
    )
