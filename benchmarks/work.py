"""What `benchmarks.engine` times: the trainings that `bench run` would do, and their ceilings."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from bench import (
    Environment,
    PretrainSpec,
    Progress,
    RunSpec,
    Session,
    Setup,
    Study,
    plan,
    prepare_training,
    silent,
)
from bench.engine import checkpoint, loop
from bench.engine.batches import Batch
from bench.engine.gpu import memory_format
from bench.engine.gpu.graph import CudaCapture
from bench.engine.input_pipeline import InputPipeline
from bench.engine.job import Budget, Job
from bench.engine.step import Step, make_optimizer, make_step
from benchmarks.pairs import ENOUGH, Pair

TASKS = ("egmae", "mae", "fine-tuning")


@dataclass(frozen=True)
class Setting:
    """One size of everything.

    Attributes:
        model: name of the network.
        size: side of what the network sees, pixels.
        batch: images per step.
        images: about how many are trained on.
        side: of the generated images, pixels (500: about that of BUSI's files).
        epochs: timed at once.
        budget: seconds for one comparison.
    """

    model: str
    size: int
    batch: int
    images: int
    side: int
    epochs: int
    budget: float


QUICK = Setting("tf_efficientnet_lite0", 96, 16, 80, 500, 3, 30.0)
GPU = Setting("convnext_tiny.fb_in1k", 224, 16, 546, 500, 5, 25.0)


@dataclass(frozen=True)
class Task:
    """A training set up as `bench run` sets it up, except that each epoch leaves out its last, short batch.

    So that loaders that drop a short batch do as many steps.
    """

    name: str
    unit: PretrainSpec | RunSpec
    session: Session
    setup: Setup
    module: nn.Module
    inputs: InputPipeline
    budget: Budget
    job: Job
    batch: int  # images per step
    memory_format: torch.memory_format

    @property
    def on_gpu(self) -> bool:
        return self.job.device.type == "cuda"

    @property
    def images(self) -> int:
        """Images per epoch."""
        return self.batch * self.budget.steps


def tasks(setting: Setting, environment: Environment) -> dict[str, Task]:
    """The three trainings on generated images, with networks of their own."""
    planned = plan(Study.from_keywords(**_study(setting)), environment)
    named: dict[str, Task] = {}
    for unit in planned.units:
        if isinstance(unit, PretrainSpec):
            named[unit.strategy.name] = _task(unit.strategy.name, unit, planned.session, setting.batch)
        elif isinstance(unit, RunSpec) and unit.start is None:
            named["fine-tuning"] = _task("fine-tuning", unit, planned.session, setting.batch)
    return {name: named[name] for name in TASKS}


def phantom(setting: Setting) -> dict[str, int]:
    """The parameters of the generated data set: a patient has 2.5 images, training gets 70 % of them."""
    return {"patients": max(20, round(setting.images / 0.7 / 2.5)), "size": setting.side}


def _study(setting: Setting) -> dict[str, Any]:
    """The fields of the study."""
    return {
        "datasets": ("phantom",),
        "models": (setting.model,),
        "strategies": ("egmae", "mae", "scratch"),
        "ensembles": (),
        "protocol": {
            "size": setting.size,
            "rounds": 1,
            "pretrain": {"batch": setting.batch, "resize": round(setting.size * 256 / 224)},
            "finetune": {"batch": setting.batch, "resize": round(setting.size * 236 / 224)},
        },
        "dataset": {"phantom": phantom(setting)},
    }


def _task(name: str, unit: PretrainSpec | RunSpec, session: Session, batch: int) -> Task:
    setup, training = prepare_training(unit, session)
    steps = len(setup.split.indices("train")) // batch
    inputs = replace(training.inputs, epoch=_first_batches(training.inputs.epoch, steps))
    budget = replace(training.budget, steps=steps)
    scratch = session.environment.scratch
    job = Job(
        name,
        training.stage,
        0,
        setup.device,
        scratch / "checkpoints" / f"{name}.pt",
        silent,
        memory_formats=scratch / "memory_formats",
    )
    step = make_step(training.module, inputs, budget, job)  # tries the memory formats on a GPU
    chosen = step.memory_format or torch.channels_last
    return Task(name, unit, session, setup, training.module, inputs, budget, job, batch, chosen)


def _first_batches(epoch: Callable[[int], Iterable[Batch]], steps: int) -> Callable[[int], Iterable[Batch]]:
    return lambda seed: islice(epoch(seed), steps)


# --- what is timed -----------------------------------------------------------------------------------


def waited(device: torch.device) -> float:
    """The time when the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds until the device has done `work`."""
    started = waited(device)
    work()
    return waited(device) - started


def epoch(task: Task, epochs: int) -> Callable[[], float]:
    """Seconds of an epoch inside `loop.optimize`, all it costs included; median of `epochs`.

    An epoch is timed from its first step to the first step of the next one, before which the loop has read
    the loss. The first epoch, which captures the step, and the last, which no other follows, are run but not
    counted. The one checkpoint after the first epoch is written during the second; `shares` has its cost.
    """

    def run() -> float:
        starts: list[float] = []

        def note(news: Progress) -> None:
            if news.done == 1:
                starts.append(time.perf_counter())

        checkpoint.discard(task.job.checkpoint)
        budget = replace(task.budget, epochs=epochs + 2)
        loop.optimize(task.module, task.inputs, budget, replace(task.job, report=note))
        checkpoint.discard(task.job.checkpoint)
        return statistics.median(b - a for a, b in pairwise(starts[1:]))

    return run


class _EnoughSeen(Exception):
    """Ends a training that has been watched for long enough."""


def pairs(task: Task, bare: Callable[[], float], budget: float, enough: int = ENOUGH) -> list[Pair]:
    """Epochs inside one `loop.optimize`, each between two ceilings, until `enough` are accepted or `budget`
    seconds have passed.

    An epoch is timed from its first step to the next epoch's first step, so it includes reading the loss,
    drawing crops, and checkpoints when they are due. The first epoch captures the step and does not count.
    """
    timed_pairs: list[Pair] = []
    ends = time.perf_counter() + budget
    before, started = 0.0, 0.0

    def note(news: Progress) -> None:
        nonlocal before, started
        if news.done != 1 or news.epoch == 1:
            return
        took = waited(task.job.device) - started
        after = bare()
        if news.epoch > 2:
            timed_pairs.append(Pair(before, took, after))
        if sum(pair.accepted for pair in timed_pairs) >= enough or time.perf_counter() > ends:
            raise _EnoughSeen
        before, started = after, waited(task.job.device)

    checkpoint.discard(task.job.checkpoint)
    with suppress(_EnoughSeen):
        loop.optimize(
            task.module, task.inputs, replace(task.budget, epochs=10**6), replace(task.job, report=note)
        )
    checkpoint.discard(task.job.checkpoint)
    return timed_pairs


def whole(task: Task, epochs: int) -> float:
    """Seconds of a training of `epochs`, its start and its checkpoints included."""
    checkpoint.discard(task.job.checkpoint)
    budget = replace(task.budget, epochs=epochs)
    return timed(lambda: loop.optimize(task.module, task.inputs, budget, task.job), task.job.device)


def ceiling(task: Task, graph: bool) -> Callable[[], float]:
    """Seconds of an epoch's steps on one fixed batch that lies on the device, rendered beforehand: forward,
    backward, AdamW, of the same shapes, and nothing else. `graph`: replayed (ceiling B), else eager (A)."""
    rendered = task.inputs.render(*next(iter(task.inputs.epoch(0))))
    fixed = tuple(_placed(tensor, task) for tensor in rendered)
    module = copy.deepcopy(task.module).train()
    optimizer = make_optimizer(module, task.budget, capturable=task.on_gpu)
    step = Step(module, optimizer, task.job, capture=CudaCapture(task.job.device) if graph else None)

    def steps() -> None:
        for _ in range(task.budget.steps):
            step(fixed, 1e-5)

    steps()  # warms up, and captures where there is a graph
    return partial(timed, steps, task.job.device)


def _placed(tensor: Tensor, task: Task) -> Tensor:
    return memory_format.arranged(tensor, task.memory_format).clone() if task.on_gpu else tensor
