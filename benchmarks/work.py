"""What `benchmarks.engine` times: the trainings that `bench run` would do, and their ceilings."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from bench import registry
from bench.data.splits.split import Split
from bench.engine import checkpoint, loop
from bench.engine.gpu import memory_format
from bench.engine.gpu.graph import CudaCapture
from bench.engine.input_pipeline import InputPipeline
from bench.engine.job import Budget, Job
from bench.engine.step import Step
from bench.execution.prepare import Setup, finetuning, prepare_data, pretraining, set_up
from bench.interfaces.executor import Environment, Progress
from bench.study.config import StudyConfig
from bench.study.expand import expand
from bench.study.spec import PretrainSpec, RunSpec
from bench.study.study import make_study
from benchmarks.pairs import ENOUGH, Pair

TASKS = ("egmae", "mae", "fine-tuning")


@dataclass(frozen=True)
class Setting:
    """One size of everything. `side` is of the generated images (500: about that of BUSI's files), `images`
    how many are trained on, about."""

    model: str
    size: int
    batch: int
    images: int
    side: int
    epochs: int  # timed at once
    budget: float  # seconds for one comparison


QUICK = Setting("tf_efficientnet_lite0", 96, 16, 80, 500, 3, 30.0)
GPU = Setting("convnext_tiny.fb_in1k", 224, 16, 546, 500, 5, 25.0)


@dataclass(frozen=True)
class Task:
    """A training laid out as `bench run` lays it out."""

    name: str
    setup: Setup
    module: nn.Module
    inputs: InputPipeline
    budget: Budget
    job: Job
    indices: Any  # of the images trained on
    memory_format: torch.memory_format

    @property
    def on_gpu(self) -> bool:
        return self.job.device.type == "cuda"


def tasks(setting: Setting, environment: Environment) -> dict[str, Task]:
    """The three trainings on generated images, with networks of their own."""
    study = make_study(StudyConfig(**_study(setting)), registry.installed())
    splits = prepare_data(study, environment, lambda news: None)
    plan = expand(study, registry.installed(), lambda ref, round_: splits[ref, round_].hash)
    found = {}
    for spec in plan.units:
        if isinstance(spec, PretrainSpec):
            found[spec.strategy.name] = _task(spec.strategy.name, spec, environment, setting.batch)
        elif isinstance(spec, RunSpec) and spec.start is None:
            found["fine-tuning"] = _task("fine-tuning", spec, environment, setting.batch)
    return {name: found[name] for name in TASKS}


def phantom(setting: Setting) -> dict[str, int]:
    """The parameters of the generated data set: a patient has 2.5 images, training gets 70 % of them."""
    return {"patients": max(20, round(setting.images / 0.7 / 2.5)), "size": setting.side}


def _study(setting: Setting) -> dict[str, Any]:
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


def _whole_batches(split: Split, batch: int) -> Split:
    """Training images to a multiple of the batch, so that loaders that drop a short one do the same."""
    train = split.indices("train")
    parts = list(split.parts)
    for i in train[len(train) - len(train) % batch :]:
        parts[i] = "val"
    return replace(split, parts=tuple(parts))


def _task(name: str, spec: PretrainSpec | RunSpec, environment: Environment, batch: int) -> Task:
    setup = set_up(spec, environment)
    setup = replace(setup, split=_whole_batches(setup.split, batch))
    training = pretraining(spec, setup) if isinstance(spec, PretrainSpec) else finetuning(spec, setup)
    file = environment.scratch / "checkpoints" / f"{name}.pt"
    layouts = environment.scratch / "layouts"
    job = Job(name, training.stage, 0, setup.device, file, lambda news: None, layouts=layouts)
    step = loop.make_step(training.module, training.inputs, training.budget, job)  # tries the memory formats
    chosen = step.memory_format or torch.channels_last
    train = setup.split.indices("train")
    return Task(name, setup, training.module, training.inputs, training.budget, job, train, chosen)


# --- what is timed -----------------------------------------------------------------------------------


def waited(device: torch.device) -> float:
    """The time when the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds until the device has done it."""
    started = waited(device)
    work()
    return waited(device) - started


def epoch(task: Task, epochs: int) -> Callable[[], float]:
    """Seconds of an epoch inside `loop.optimize`, all it costs included; median of `epochs`.

    From the first step of an epoch to the first of the next, before which the loop has read the loss. The
    first epoch, which captures the step, and the last, which has no next, are run but not counted. The one
    checkpoint after the first epoch is written beside the second; `shares` has its cost.
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

    An epoch counts from its first step to the next epoch's first step, so with the reading of the loss, the
    drawing of crops and checkpoints as they fall due. The first, which captures the step, does not count.
    """
    found: list[Pair] = []
    ends = time.perf_counter() + budget
    before, started = 0.0, 0.0

    def note(news: Progress) -> None:
        nonlocal before, started
        if news.done != 1 or news.epoch == 1:
            return
        took = waited(task.job.device) - started
        after = bare()
        if news.epoch > 2:
            found.append(Pair(before, took, after))
        if sum(pair.accepted for pair in found) >= enough or time.perf_counter() > ends:
            raise _EnoughSeen
        before, started = after, waited(task.job.device)

    checkpoint.discard(task.job.checkpoint)
    with suppress(_EnoughSeen):
        loop.optimize(
            task.module, task.inputs, replace(task.budget, epochs=10**6), replace(task.job, report=note)
        )
    checkpoint.discard(task.job.checkpoint)
    return found


def whole(task: Task, epochs: int) -> float:
    """Seconds of a training of `epochs`, its start and its checkpoints included."""
    checkpoint.discard(task.job.checkpoint)
    budget = replace(task.budget, epochs=epochs)
    return timed(lambda: loop.optimize(task.module, task.inputs, budget, task.job), task.job.device)


def ceiling(task: Task, graph: bool) -> Callable[[], float]:
    """Seconds of an epoch's steps on fixed batches that lie on the device, rendered beforehand: forward,
    backward, AdamW, of the same shapes, and nothing else. `graph`: replayed (ceiling B), else eager (A)."""
    batches = [task.inputs.render(*batch) for batch in task.inputs.epoch(0)]
    fixed = {len(b[0]): tuple(_placed(t, task) for t in b) for b in batches}
    order = [len(b[0]) for b in batches]
    module = copy.deepcopy(task.module).train()
    optimizer = loop.make_optimizer(module, task.budget, capturable=task.on_gpu)
    step = Step(module, optimizer, task.job, capture=CudaCapture(task.job.device) if graph else None)

    def run() -> float:
        return timed(lambda: [step(fixed[images], 1e-5) for images in order], task.job.device)

    run()  # warms up, and captures where there is a graph
    return run


def _placed(tensor: Tensor, task: Task) -> Tensor:
    return memory_format.arranged(tensor, task.memory_format).clone() if task.on_gpu else tensor
