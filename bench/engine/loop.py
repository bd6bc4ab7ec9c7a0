"""The one training loop, for pretraining and fine-tuning alike.

A CPU and a GPU run the same lines. On a GPU a step replays a CUDA graph, nothing inside an epoch waits for
the device, and the batches of the next epoch are drawn while the device still works on this one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.engine import checkpoint
from bench.engine.batches import Batch
from bench.engine.input_pipeline import InputPipeline
from bench.engine.job import Budget, History, Job
from bench.engine.step import Step, make_step
from bench.errors import TrainingError
from bench.identity import derive_seed
from bench.interfaces.executor import Progress
from bench.interruption import deferred


class Classifier(nn.Module):
    """The network with its loss: `forward(images, labels)` gives the mean cross-entropy.

    Images are uint8 (B, 3, S, S), labels int64 (B,).
    """

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
    """Train `module` in place; its forward takes the rendered batches of `inputs` and returns the loss.

    With `validate`, the weights of the epoch with the highest score are kept (of equal ones the first);
    without it, those of the last epoch. All random numbers of an epoch come from seeds derived from job.seed
    and the epoch, so a resumed training gives the same bits as an uninterrupted one. An interruption
    (`bench.interruption`) waits for the end of the step, writes a checkpoint and raises KeyboardInterrupt.
    Raises TrainingError if the loss becomes infinite or nan.
    """
    started = time.perf_counter()
    step = make_step(module, inputs, budget, job)
    try:
        history = _train(module, inputs, budget, job, validate, step)
        return replace(history, seconds=time.perf_counter() - started)
    finally:
        step.close()  # what comes next, perhaps another try with smaller steps, needs the memory


def _train(
    module: nn.Module,
    inputs: InputPipeline,
    budget: Budget,
    job: Job,
    validate: Callable[[], float] | None,
    step: Step,
) -> History:
    state = _start_or_resume(module, step, job)
    history = History(state["losses"], state["scores"], resumed_from=state["epoch"])
    steps, images, pace = 0, 0, None
    module.train()
    with checkpoint.Writer(job.checkpoint) as writer, deferred() as interrupted:
        upcoming = _drawn(step, inputs, job, state["epoch"])
        for epoch in range(state["epoch"], budget.epochs):
            torch.manual_seed(derive_seed(job.seed, "epoch", epoch))
            step.total.zero_()
            progress = _EpochProgress(job, budget, epoch, history, pace)
            if middle := state.pop("middle", None):
                upcoming = progress.go_on(middle, upcoming, step)
            before = progress.steps
            for batch in upcoming:
                step(batch, learning_rate(epoch * budget.steps + progress.steps, budget))
                progress.count_step(len(batch[0]), step.total)
                if interrupted():
                    writer.write(
                        _checkpoint_state(module, step, epoch, history, state.get("best"))
                        | {"middle": progress.middle(step)}
                    )
                    raise KeyboardInterrupt
            steps += progress.steps - before
            images += progress.images - progress.images_before
            if epoch + 1 < budget.epochs:  # drawn before the loss is read, which waits for a GPU
                upcoming = _drawn(step, inputs, job, epoch + 1)
            history.losses.append(_checked_loss(float(step.total) / progress.images, epoch, budget, job))
            speed = progress.images_per_s  # the device has done the epoch by now
            if before == 0:  # all of it was done here
                pace = speed
            if validate:
                history.scores.append(validate())
                module.train()
                if history.scores[-1] > max(history.scores[:-1], default=-math.inf):
                    state["best"] = {k: v.detach().clone() for k, v in module.state_dict().items()}
            progress.end(history, speed)
            if epoch + 1 < budget.epochs and writer.due():
                writer.write(_checkpoint_state(module, step, epoch + 1, history, state.get("best")))
    if validate:
        module.load_state_dict(state["best"])
    return replace(history, steps=steps, images=images, engine=step.choices | {"images": inputs.kind})


def _drawn(step: Step, inputs: InputPipeline, job: Job, epoch: int) -> Iterable[Batch]:
    return step.draw(partial(inputs.epoch, derive_seed(job.seed, "batches", epoch)))


def learning_rate(step: int, budget: Budget) -> float:
    """The learning rate of a step, counted from 0 over all epochs.

    It rises linearly over the first `warmup` share of all steps, then falls by half a cosine to 0.
    """
    total = budget.epochs * budget.steps
    warm = round(budget.warmup * total)
    if step < warm:
        return budget.learning_rate * (step + 1) / warm
    return budget.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def _start_or_resume(module: nn.Module, step: Step, job: Job) -> dict[str, Any]:
    """The state to start from: that of the checkpoint, put into place, or a new one."""
    state = checkpoint.load(job.checkpoint)
    if state is None:
        return {"epoch": 0, "losses": [], "scores": []}
    module.load_state_dict(state.pop("module"))
    step.optimizer.load_state_dict(state.pop("optimizer"))
    for group in step.optimizer.param_groups:  # the checkpoint may come from another kind of device
        group["capturable"] = job.device.type == "cuda"
    _lay_out_as_parameters(step.optimizer)
    return state


def _lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give the state of every parameter the strides of the parameter.

    A checkpoint may come from a training in another memory format, and the fused AdamW goes through the
    memory of a parameter and of its state in the same order, whatever their strides are.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter.detach()).copy_(value)


class _EpochProgress:
    """Counts the steps and images of one epoch, and reports them; `pace` is that of the last whole epoch."""

    def __init__(
        self, job: Job, budget: Budget, epoch: int, history: History, pace: float | None = None
    ) -> None:
        self.job = job
        self.budget = budget
        self.epoch = epoch
        self.resumed = history.resumed_from > 0
        self.last_loss = history.losses[-1] if history.losses else None
        self.pace = pace
        self.steps = 0
        self.images = 0
        self.images_before = 0  # of this epoch, before the checkpoint that it goes on from
        self.started = time.perf_counter()

    def middle(self, step: Step) -> dict[str, Any]:
        """What a checkpoint holds of an epoch that is not over."""
        state = {
            "steps": self.steps,
            "images": self.images,
            "total": step.total,
            "random": torch.get_rng_state(),
        }
        if self.job.device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state(self.job.device)
        return state

    def go_on(self, middle: Mapping[str, Any], batches: Iterable[Batch], step: Step) -> Iterable[Batch]:
        """Put back what `middle` gave, and pass over the batches that were done by then; gives the others."""
        self.steps, self.images, self.resumed = middle["steps"], middle["images"], True
        self.images_before = self.images
        step.total.copy_(middle["total"])
        torch.set_rng_state(middle["random"].cpu())
        if "random_cuda" in middle and self.job.device.type == "cuda":
            torch.cuda.set_rng_state(middle["random_cuda"].cpu(), self.job.device)
        return islice(batches, self.steps, None)

    def count_step(self, images: int, loss_sum: Tensor) -> None:
        """Report one more step on so many images; `loss_sum` is over all images of the epoch so far. The last
        step is reported by `end`, once the epoch has been validated."""
        self.steps += 1
        self.images += images
        if self.steps < self.budget.steps:
            self._report(loss_sum)

    def _report(self, loss_sum: Tensor) -> None:
        # Reading the running loss would wait for a GPU, so there the mean of the last epoch is shown; and its
        # pace, because steps are handed to a GPU faster than it does them.
        on_cpu = self.job.device.type == "cpu"
        loss = float(loss_sum) / self.images if on_cpu else self.last_loss
        self.job.report(self._news(loss, self.images_per_s if on_cpu else self.pace))

    def end(self, history: History, images_per_s: float) -> None:
        """Report the last step, and with it the epoch: its mean loss, and its validation accuracy if it has
        one."""
        scores = history.scores
        self.job.report(
            replace(
                self._news(history.losses[-1], images_per_s),
                epoch_ended=True,
                validation_accuracy=scores[-1] if scores else None,
            )
        )

    def _news(self, loss: float | None, images_per_s: float | None) -> Progress:
        return Progress(
            unit=self.job.unit,
            stage=self.job.stage,
            done=self.steps,
            total=self.budget.steps,
            epoch=self.epoch + 1,
            epochs=self.budget.epochs,
            loss=loss,
            images_per_s=images_per_s,
            resumed=self.resumed,
        )

    @property
    def images_per_s(self) -> float:
        """Of what this process has done of the epoch so far."""
        return (self.images - self.images_before) / max(1e-9, time.perf_counter() - self.started)


def _checked_loss(loss: float, epoch: int, budget: Budget, job: Job) -> float:
    """`loss`, unless it is infinite or nan."""
    if math.isfinite(loss):
        return loss
    section = "pretrain" if job.stage == "pretrain" else "finetune"
    raise TrainingError(
        f"{job.unit}: the {job.stage} loss is {loss} in epoch {epoch + 1}; lower "
        f"protocol.{section}.learning_rate (now {budget.learning_rate:g})"
    )


def _checkpoint_state(
    module: nn.Module,
    step: Step,
    epoch: int,
    history: History,
    best: dict[str, Tensor] | None,
) -> dict[str, Any]:
    """What a checkpoint holds: `epoch` is the next one, `best` the weights of the best one so far."""
    state: dict[str, Any] = {
        "module": module.state_dict(),
        "optimizer": step.optimizer.state_dict(),
        "epoch": epoch,
        "losses": list(history.losses),
        "scores": list(history.scores),
        "device": next(module.parameters()).device.type,
        "threads": torch.get_num_threads(),
        "memory_format": step.format_name,
    }
    return state | ({"best": best} if best is not None else {})
