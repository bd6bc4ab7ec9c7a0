"""The one training loop, for pretraining and fine-tuning alike, and prediction."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.engine import checkpoint
from bench.engine.batches import Batch
from bench.engine.device import autocast
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


@dataclass(frozen=True)
class History:
    """Mean loss of each epoch, the validation score where one was kept, and wall time of this process."""

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    resumed_from: int = 0  # epoch this process started at
    seconds: float = 0.0
    steps: int = 0  # steps this process did


def optimize(
    module: nn.Module,
    epoch_batches: Callable[[int], Iterable[Batch]],
    budget: Budget,
    job: Job,
    validate: Callable[[], float] | None = None,
) -> History:
    """Train `module`, whose forward takes a batch and returns the loss, and leave it trained in place.

    `epoch_batches(seed)` yields one epoch's batches. With `validate`, the state of the epoch with the
    highest score is kept (the first of equals); otherwise the last. Every random number of an epoch comes
    from seeds derived from (job.seed, epoch), so a resumed training repeats an uninterrupted one exactly.
    Raises TrainingError if the loss stops being finite.
    """
    optimizer = make_optimizer(module, budget)
    state = _resume(module, optimizer, job)
    history = History(state["losses"], state["scores"], resumed_from=state["epoch"])
    started, saved_at, save_cost, steps = time.perf_counter(), -math.inf, 0.0, 0
    module.train()
    for epoch in range(state["epoch"], budget.epochs):
        torch.manual_seed(derive_seed(job.seed, "epoch", epoch))
        total, seen, epoch_started = torch.zeros((), device=job.device), 0, time.perf_counter()
        for step, batch in enumerate(epoch_batches(derive_seed(job.seed, "batches", epoch))):
            rate = learning_rate(epoch * budget.steps + step, budget)
            for group in optimizer.param_groups:
                group["lr"] = rate
            total += train_step(module, optimizer, batch, job) * len(batch[0])
            seen, steps = seen + len(batch[0]), steps + 1
            _tell(job, budget, epoch, step + 1, total, seen, epoch_started, history)
        mean = float(total) / seen
        if not math.isfinite(mean):
            raise TrainingError(
                f"{job.unit}: the {job.stage} loss is {mean} in epoch {epoch + 1}; lower "
                f"protocol.{'pretrain' if job.stage == 'pretrain' else 'finetune'}.learning_rate "
                f"(now {budget.learning_rate:g})"
            )
        history.losses.append(mean)
        if validate:
            history.scores.append(validate())
            module.train()
            if history.scores[-1] > max(history.scores[:-1], default=-math.inf):
                state["best"] = {k: v.detach().clone() for k, v in module.state_dict().items()}
        # Writing by time keeps checkpoints under two percent of the work, however short an epoch is.
        now = time.perf_counter()
        if epoch + 1 < budget.epochs and now - saved_at >= 50 * save_cost:
            _save(module, optimizer, epoch + 1, history, state.get("best"), job)
            saved_at = time.perf_counter()
            save_cost = saved_at - now
    if validate:
        module.load_state_dict(state["best"])
    return History(history.losses, history.scores, history.resumed_from, time.perf_counter() - started, steps)


def train_step(module: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, job: Job) -> Tensor:
    """One optimiser step; returns the mean loss of the batch, detached, without waiting for the device."""
    loss_sum = torch.zeros((), device=job.device)
    for part in zip(*(t.chunk(job.accumulate) for t in batch), strict=True):
        moved = [t.to(job.device, non_blocking=True) for t in part]
        with autocast(job.precision, job.device):
            loss = module(*moved)
        share = len(part[0]) / len(batch[0])
        (loss * share).backward()
        loss_sum += loss.detach() * share
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss_sum


def make_optimizer(module: nn.Module, budget: Budget) -> torch.optim.AdamW:
    """AdamW. As usual for these networks, biases, norms and other vectors are not decayed, nor what the
    network's own `no_weight_decay()` names."""
    exempt = _no_weight_decay(module)
    trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    decayed = [p for n, p in trained if p.ndim > 1 and n not in exempt]
    plain = [p for n, p in trained if p.ndim <= 1 or n in exempt]
    groups = [
        {"params": decayed, "weight_decay": budget.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=budget.learning_rate, betas=budget.betas, fused=True)


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


def _resume(module: nn.Module, optimizer: torch.optim.Optimizer, job: Job) -> dict[str, Any]:
    state = checkpoint.load(job.checkpoint, job.device)
    if state is None:
        return {"epoch": 0, "losses": [], "scores": []}
    module.load_state_dict(state.pop("module"))
    optimizer.load_state_dict(state.pop("optimizer"))
    return state


def _save(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    history: History,
    best: dict[str, Tensor] | None,
    job: Job,
) -> None:
    state: dict[str, Any] = {
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": epoch,
        "losses": history.losses,
        "scores": history.scores,
    }
    checkpoint.save(job.checkpoint, state | ({"best": best} if best is not None else {}))


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
