"""The one training loop, for pretraining and fine-tuning alike.

A CPU and a GPU go through the same lines. On a GPU a step is one replayed graph, nothing inside an epoch
waits for the device, and the next epoch is drawn while it still works on this one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.engine import checkpoint
from bench.engine.input_pipeline import InputPipeline
from bench.engine.job import Budget, History, Job
from bench.engine.step import Step, make_step
from bench.errors import TrainingError
from bench.identity import derive_seed
from bench.interfaces.executor import Progress


class Classifier(nn.Module):
    """forward(images, labels): cross-entropy of the network on uint8 images (B, 3, S, S), int64 (B,)."""

    def __init__(self, net: nn.Module, normalize: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net = net
        self.normalize = normalize

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(self.net(self.normalize(images)).float(), labels)


def optimize(
    module: nn.Module,
    inputs: InputPipeline,
    budget: Budget,
    job: Job,
    validate: Callable[[], float] | None = None,
) -> History:
    """Train `module`, whose forward takes the pipeline's rendered batches and returns the loss, in place.

    With `validate`, the state of the epoch with the highest score is kept (the first of equals); otherwise
    the last. Every random number of an epoch comes from seeds derived from (job.seed, epoch), so a resumed
    training repeats an uninterrupted one exactly. Raises TrainingError if the loss stops being finite.
    """
    started = time.perf_counter()
    step, state = _prepare(module, inputs, budget, job)
    history = History(state["losses"], state["scores"], resumed_from=state["epoch"])
    steps = 0
    module.train()
    with checkpoint.Writer(job.checkpoint) as writer:
        upcoming = inputs.epoch(derive_seed(job.seed, "batches", state["epoch"]))
        for epoch in range(state["epoch"], budget.epochs):
            torch.manual_seed(derive_seed(job.seed, "epoch", epoch))
            step.total.zero_()
            seen, epoch_started = 0, time.perf_counter()
            for done, batch in enumerate(upcoming, start=1):
                step(batch, learning_rate(epoch * budget.steps + done - 1, budget))
                seen, steps = seen + len(batch[0]), steps + 1
                _tell(job, budget, epoch, done, step.total, seen, epoch_started, history)
            if epoch + 1 < budget.epochs:  # drawn while a GPU still works on this epoch
                upcoming = inputs.epoch(derive_seed(job.seed, "batches", epoch + 1))
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
    return replace(history, seconds=seconds, steps=steps, engine=step.choices | {"images": inputs.kind})


def learning_rate(step: int, budget: Budget) -> float:
    """Linear warm-up over the first `warmup` share of all steps, then half a cosine to 0."""
    total = budget.epochs * budget.steps
    warm = round(budget.warmup * total)
    if step < warm:
        return budget.learning_rate * (step + 1) / warm
    return budget.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def _prepare(
    module: nn.Module, inputs: InputPipeline, budget: Budget, job: Job
) -> tuple[Step, dict[str, Any]]:
    """The step, and the state to go on from: the checkpoint's, which is put in place, or a fresh one."""
    step = make_step(module, inputs, budget, job)
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
