"""Sections of `benchmarks.engine` about many epochs and units: scaling, start-up, packing, the protocol."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, count
from typing import Any

import torch

from bench import Environment
from bench.engine.gpu.graph import WARMUP
from bench.engine.step import make_step
from benchmarks.figure import Figure, Inputs, ratio
from benchmarks.pairs import measure
from benchmarks.work import Setting, epoch, tasks, timed, whole

IMPORTS = "import bench.engine.loop, timm; from bench import Study, plan, prepare_training, run"
PROTOCOL_STEPS = 5 * (1000 + 15) * 39  # five rounds, 1000 and 15 epochs of 39 batches: 624 images of BUSI


def scaling(inputs: Inputs) -> Iterator[Figure]:
    """Seconds of a fine-tuning by its images and its epochs: both must be lines."""
    for times in (1, 2, 4):
        images = inputs.setting.images * times // (1 if inputs.on_gpu else 2)
        task = tasks(replace(inputs.setting, images=images), inputs.environment)["fine-tuning"]
        seconds = epoch(task, inputs.setting.epochs)()
        yield Figure("scaling", f"an epoch of {task.images} images", seconds, "s")
    task = inputs.tasks["fine-tuning"]
    for epochs in (2, 4, 8):
        what = f"{epochs} epochs of {task.images} images, start included"
        yield Figure("scaling", what, whole(task, epochs), "s")
    yield _peak_memory(inputs.on_gpu)


def _peak_memory(on_gpu: bool) -> Figure:
    if on_gpu:
        peak, note = torch.cuda.max_memory_allocated() / 2**20, "allocated on the GPU, all sections so far"
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        note = "of this process, all sections so far"
    return Figure("scaling", "peak memory", peak, "MiB", note)


def startup(inputs: Inputs) -> Iterator[Figure]:
    """Seconds that a unit takes before its first step."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", IMPORTS], check=True)
        seconds.append(time.perf_counter() - started)
    yield Figure("start-up", "a process with its imports", statistics.median(seconds), "s")
    task = inputs.tasks["mae"]
    prepared = timed(lambda: tasks(inputs.setting, inputs.environment), task.job.device)
    yield Figure("start-up", "setting up three trainings", prepared, "s", "their images are stored already")
    extra = statistics.median(whole(task, 1) - epoch(task, 1)() for _ in range(3))
    yield Figure("start-up", "a training of one epoch, beyond the epoch", extra, "s", "capture included")


def packing(inputs: Inputs) -> Iterator[Figure]:
    """Seconds per step of several units at once over those of one alone, each in a process of its own."""
    units = 5 if inputs.on_gpu else 2
    threads = max(1, inputs.environment.threads // units)
    environment = replace(inputs.environment, threads=threads, threads_given=True)  # the plan has no say
    setting = replace(inputs.setting, images=4 * inputs.setting.batch)  # every process sets up its own
    enough = 3 if inputs.on_gpu else 1
    timed_pairs = measure(
        lambda: max(_side_by_side(1, setting, environment)),
        lambda: max(_side_by_side(units, setting, environment)),
        4 * inputs.setting.budget,
        enough,
    )
    what = f"{units} units at once / one alone, seconds per step, {threads} CPU threads each"
    row = ratio("packing", what, timed_pairs, enough)
    yield row
    yield Figure("packing", "gain in units per second", row.value and units / row.value, "x")


def _side_by_side(processes: int, setting: Setting, environment: Environment) -> list[float]:
    """Seconds per step of each of several processes that train at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    started = [
        context.Process(target=_train_apart, args=(setting, environment, barrier, results), daemon=True)
        for _ in range(processes)
    ]
    for process in started:
        process.start()
    seconds = [results.get(timeout=300) for _ in started]
    for process in started:
        process.join()
    return seconds


def _train_apart(setting: Setting, environment: Environment, barrier: Any, results: Any) -> None:
    """Set up a training, wait for the other processes, and put the seconds per step into `results`."""
    task = tasks(setting, environment)["egmae"]
    task.module.train()
    step = make_step(task.module, task.inputs, task.budget, task.job)
    batches = chain.from_iterable(step.draw(partial(task.inputs.epoch, seed)) for seed in count())
    steps = 100 if task.on_gpu else 4

    def train(number: int) -> None:
        for _ in range(number):
            step(next(batches), 1e-5)

    train(WARMUP + 2)
    barrier.wait()
    results.put(timed(lambda: train(steps), task.job.device) / steps)


def protocol(inputs: Inputs) -> Iterator[Figure]:
    """Minutes that five rounds of pretraining and fine-tuning on BUSI take at the speed of this epoch."""
    task, setting = inputs.tasks["egmae"], inputs.setting
    step = epoch(task, setting.epochs)() / task.budget.steps
    speed = f"{step * 1e3:.2f} ms per step of {setting.model} at {setting.size} pixels"
    what = f"{PROTOCOL_STEPS} steps, one after another"
    yield Figure("protocol", what, PROTOCOL_STEPS * step / 60, "min", f"a projection from {speed}")
