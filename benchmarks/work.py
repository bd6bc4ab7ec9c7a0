"""What `benchmarks.engine` times: the trainings that `bench run` would do, and their ceilings."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from bench import plugins
from bench.engine import checkpoint, layout, loop
from bench.engine.feeds import Feed
from bench.engine.graph import CudaCapture
from bench.engine.loop import Budget, Job, Step
from bench.spec import PretrainSpec, RunSpec
from bench.study import StudyFile, expand, make_study
from bench.types import Progress, Workplace
from bench.workbench import Workbench, finetuning, prepare_data, pretraining, set_up

TASKS = ("egmae", "mae", "fine-tuning")


@dataclass(frozen=True)
class Setting:
    """One size of everything. `side` is of the generated images, `images` how many are trained on, about."""

    model: str
    size: int
    batch: int
    images: int
    side: int
    epochs: int  # timed at once
    budget: float  # seconds for one comparison


QUICK = Setting("tf_efficientnet_lite0", 96, 16, 80, 128, 3, 40.0)
GPU = Setting("convnext_tiny.fb_in1k", 224, 16, 546, 256, 5, 25.0)


@dataclass(frozen=True)
class Task:
    """A training laid out as `bench run` lays it out."""

    name: str
    desk: Workbench
    module: nn.Module
    feed: Feed
    budget: Budget
    job: Job
    indices: Any  # of the images trained on
    memory_format: torch.memory_format

    @property
    def on_gpu(self) -> bool:
        return self.job.device.type == "cuda"


def tasks(setting: Setting, workplace: Workplace) -> dict[str, Task]:
    """The three trainings on generated images, with networks of their own."""
    study = make_study(StudyFile(**_study(setting)), plugins.catalog())
    splits = prepare_data(study, workplace, lambda news: None)
    plan = expand(study, plugins.catalog(), lambda ref, round_: splits[ref, round_].hash)
    found = {}
    for spec in plan.units:
        if isinstance(spec, PretrainSpec):
            found[spec.strategy.name] = _task(spec.strategy.name, spec, workplace)
        elif isinstance(spec, RunSpec) and spec.start is None:
            found["fine-tuning"] = _task("fine-tuning", spec, workplace)
    return {name: found[name] for name in TASKS}


def _study(setting: Setting) -> dict[str, Any]:
    patients = max(20, round(setting.images / 0.7 / 2.5))  # a patient has 2.5 images, training gets 70 %
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
        "dataset": {"phantom": {"patients": patients, "size": setting.side}},
    }


def _task(name: str, spec: PretrainSpec | RunSpec, workplace: Workplace) -> Task:
    desk = set_up(spec, workplace)
    training = pretraining(spec, desk) if isinstance(spec, PretrainSpec) else finetuning(spec, desk)
    file = workplace.scratch / "checkpoints" / f"{name}.pt"
    layouts = workplace.scratch / "layouts"
    job = Job(name, training.stage, 0, desk.device, file, lambda news: None, layouts=layouts)
    step = loop.make_step(training.module, training.feed, training.budget, job)  # tries the memory formats
    chosen = step.memory_format or torch.channels_last
    train = desk.split.indices("train")
    return Task(name, desk, training.module, training.feed, training.budget, job, train, chosen)


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


def epoch(task: Task, epochs: int, **options: Any) -> Callable[[], float]:
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
        loop.optimize(task.module, task.feed, budget, replace(task.job, report=note, **options))
        checkpoint.discard(task.job.checkpoint)
        return statistics.median(b - a for a, b in pairwise(starts[1:]))

    return run


def whole(task: Task, epochs: int) -> float:
    """Seconds of a training of `epochs`, its start and its checkpoints included."""
    checkpoint.discard(task.job.checkpoint)
    budget = replace(task.budget, epochs=epochs)
    return timed(lambda: loop.optimize(task.module, task.feed, budget, task.job), task.job.device)


def ceiling(task: Task, graph: bool) -> Callable[[], float]:
    """Seconds of an epoch's steps on fixed batches that lie on the device, rendered beforehand: forward,
    backward, AdamW, of the same shapes, and nothing else. `graph`: replayed (ceiling B), else eager (A)."""
    batches = [task.feed.render(*batch) for batch in task.feed.epoch(0)]
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
    return layout.arranged(tensor, task.memory_format).clone() if task.on_gpu else tensor
