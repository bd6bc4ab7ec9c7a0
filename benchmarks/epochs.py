"""Sections of `benchmarks.engine` about one epoch: ceilings, its parts, utilisation, precision, gradients."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from bench.engine import checkpoint, input_pipeline
from bench.engine.depthwise import faster_gradients
from bench.engine.predict import predict
from bench.engine.step import make_optimizer
from bench_strategies.entropy import patch_entropy
from benchmarks.figure import Figure, Inputs, ratio
from benchmarks.pairs import measure
from benchmarks.work import GPU, Setting, Task, ceiling, pairs, tasks, timed

CPU = torch.device("cpu")
STEPS = 40  # pairs of single steps at most


def ceilings(inputs: Inputs) -> Iterator[Figure]:
    """Epochs of the engine over the bare step."""
    budget = inputs.setting.budget
    for name, task in inputs.tasks.items():
        bare = ceiling(task, graph=False)
        yield ratio("ceilings", f"{name}: epoch / ceiling A", pairs(task, bare, budget))
        if not inputs.on_gpu:
            yield Figure("ceilings", f"{name}: epoch / ceiling B", None, "x", "no GPU")
            continue
        replayed = ceiling(task, graph=True)
        yield ratio("ceilings", f"{name}: epoch / ceiling B", pairs(task, replayed, budget))
        gain = measure(replayed, bare, budget)
        yield ratio("ceilings", f"{name}: ceiling A / ceiling B, the gain of a graph", gain)


def shares(inputs: Inputs) -> Iterator[Figure]:
    """Parts of a pretraining epoch, each timed alone until the device has done it, as shares of the bare
    steps."""
    task, device = inputs.tasks["egmae"], inputs.tasks["egmae"].job.device
    batches = list(task.inputs.epoch(0))
    images = [task.inputs.render(*batch)[0].to(device) for batch in batches]
    clean = [task.setup.context.normalize(i) for i in images]
    corruption: Any = task.module.corruption
    step = ceiling(task, graph=inputs.on_gpu)
    # AdamW keeps two values per parameter beside the parameter itself.
    state = {"module": task.module.state_dict(), "optimizer": [task.module.state_dict()] * 2}
    parts: dict[str, Callable[[], object]] = {
        "drawing an epoch, and augmentation": lambda: [task.inputs.render(*b) for b in task.inputs.epoch(1)],
        "entropy": lambda: [patch_entropy(i, corruption.params.patch) for i in images],
        "entropy and noise": lambda: [corruption(i, c) for i, c in zip(images, clean, strict=True)],
        "evaluation of the validation part": lambda: _evaluate(inputs.tasks["fine-tuning"]),
        "checkpoint, its copy": lambda: checkpoint.snapshot(state),
        "checkpoint, its file (beside the training)": lambda: checkpoint.save(task.job.checkpoint, state),
    }
    with torch.no_grad():
        seconds_of = {
            name: statistics.median(timed(part, device) for _ in range(5)) for name, part in parts.items()
        }
    bare = statistics.median(step() for _ in range(3))
    checkpoint.discard(task.job.checkpoint)
    yield Figure("shares", "bare steps of an epoch", bare, "s", f"{len(batches)} steps")
    for name, seconds in seconds_of.items():
        yield Figure("shares", name, 100 * seconds / bare, "%", f"{seconds * 1e3:.2f} ms per epoch")
    yield Figure("shares", "checkpoints, by their rule at most", 100 / 51, "%", "every 50 times their cost")


def _evaluate(task: Task) -> None:
    """Predict the validation part."""
    setup = task.setup
    batches = input_pipeline.evaluation(
        setup.images.view(setup.context.size),
        setup.split.indices("val"),
        size=setup.context.size,
        device_store=task.session.device_store,
    )
    predict(setup.net, batches, setup.context.normalize, task.job)
    task.module.train()


def utilisation(inputs: Inputs) -> Iterator[Figure]:
    """Model FLOPs (3 x 2 x fvcore's multiply-adds) per second, as a share of those of a large matrix product
    on the same device."""
    side = 8192 if inputs.on_gpu else 1024
    dtype = torch.bfloat16 if inputs.on_gpu else torch.float32
    a = torch.randn(side, side, device=inputs.environment.device, dtype=dtype)
    best = min(timed(lambda: a @ a, a.device) for _ in range(10))
    peak = 2 * side**3 / best
    yield Figure("utilisation", f"matrix product of side {side}", peak / 1e12, "TFLOP/s", str(dtype))
    for batch in (16, 64, 256) if inputs.on_gpu else (16,):
        setting = replace(inputs.setting, batch=batch, images=max(inputs.setting.images, 2 * batch))
        task = tasks(setting, inputs.environment)["fine-tuning"]
        macs = task.session.cost(task.unit.model, len(task.setup.context.classes), setting.size).macs
        what = f"batch {batch}"
        if macs is None:
            yield Figure("utilisation", what, None, "%", "fvcore cannot count this network")
            continue
        try:
            step = ceiling(task, graph=inputs.on_gpu)
            seconds = statistics.median(step() for _ in range(3))
        except torch.OutOfMemoryError:
            yield Figure("utilisation", what, None, "%", "memory ran out")
            continue
        images_per_s = task.images / seconds
        share = 6 * macs * images_per_s / peak
        yield Figure("utilisation", what, 100 * share, "%", f"{images_per_s:.0f} images/s")


def precision(inputs: Inputs) -> Iterator[Figure]:
    """Bare steps in bf16 over those in float32; on a CPU also of a network of the paper's size."""
    for setting in _networks(inputs):
        task = tasks(setting, inputs.environment)["fine-tuning"]
        single, half = (
            ceiling(replace(task, job=replace(task.job, precision=name)), graph=inputs.on_gpu)
            for name in ("fp32", "bf16")
        )
        budget = _seconds(setting, inputs)
        native = "" if inputs.on_gpu else f", {torch.backends.cpu.get_cpu_capability()}"
        what = f"{setting.model} at {setting.size}: bf16 / fp32{native}"
        yield ratio("precision", what, measure(single, half, budget))


def depthwise(inputs: Inputs) -> Iterator[Figure]:
    """Bare steps with our weight gradients of depthwise convolutions over those with PyTorch's, on a CPU, by
    one thread and by all."""
    if inputs.on_gpu:
        yield Figure("depthwise", "ours / PyTorch's", None, "x", "on a CPU only")
        return
    threads = torch.get_num_threads()
    for setting in _networks(inputs):
        task = tasks(setting, inputs.environment)["fine-tuning"]
        for count in sorted({1, threads}):
            torch.set_num_threads(count)
            theirs, ours = _step_with(task, nullcontext), _step_with(task, partial(faster_gradients, CPU))
            steps = measure(theirs, ours, _seconds(setting, inputs), STEPS)
            torch.set_num_threads(threads)
            what = f"{setting.model} at {setting.size}, threads {count}: ours / PyTorch's"
            yield ratio("depthwise", what, steps)


def _step_with(task: Task, gradients: Callable[[], AbstractContextManager[object]]) -> Callable[[], float]:
    """Seconds of a step on one fixed batch, with its passes in the context that `gradients` gives."""
    batch = task.inputs.render(*next(iter(task.inputs.epoch(0))))
    module = copy.deepcopy(task.module).train()
    optimizer = make_optimizer(module, task.budget)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with gradients():
            module(*batch).backward()
        optimizer.step()

    step()  # warms up
    return partial(timed, step, CPU)


def _networks(inputs: Inputs) -> Iterator[Setting]:
    """The size that is measured; on a CPU also a network of the paper's size."""
    yield inputs.setting
    if not inputs.on_gpu:
        yield replace(GPU, images=2 * GPU.batch)


def _seconds(setting: Setting, inputs: Inputs) -> float:
    """For one comparison of `_networks`, of which the large one takes longer."""
    return inputs.setting.budget * (1 if setting is inputs.setting else 4)
