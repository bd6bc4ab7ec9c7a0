"""Trainings that must be equal to the last bit, or within a stated tolerance."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.doctor.finding import Finding
from bench.doctor.trial import (
    Trial,
    attention_network,
    budget,
    device_of,
    difference,
    fine_tuning,
    interrupting,
    train,
    trials,
)
from bench.interfaces.executor import Environment, silent

BF16_LOSS = 0.05  # relative: bf16 has 8 bits of precision, a rounding of 0.4 % in each operation
GROWTH = 1.05  # of reserved memory, from the first unit to the third


def repeat(environment: Environment) -> Finding:
    """A fine-tuning and each pretraining, twice from one seed."""
    return _compared(trials(), lambda trial, folder: _twice(trial, environment, folder))


def attention(environment: Environment) -> Finding:
    """Backward through attention adds in any order, unless it is made not to."""
    trial = fine_tuning(attention_network)
    return _compared([trial], lambda trial, folder: _twice(trial, environment, folder))


def resume(environment: Environment) -> Finding:
    """A fine-tuning that is interrupted in its second epoch, after its first step, and goes on."""

    def differs(trial: Trial, folder: Path) -> str:
        whole = train(trial, environment, folder / "whole")
        try:
            train(trial, environment, folder / "parts", report=interrupting(2, 1))
        except KeyboardInterrupt:
            pass
        else:
            return "the training was not interrupted"
        rest = train(trial, environment, folder / "parts")
        if rest.history.resumed_from != 1:
            return "the training began anew: its checkpoint was not read"
        return difference(whole, rest)

    return _compared([fine_tuning()], differs)


def capture(environment: Environment) -> Finding:
    """Steps with a recorder in the place of graphs, which compares each replay with what was captured."""
    import torch

    from bench.engine.gpu.resident import DeviceStore
    from bench.engine.gpu.stability import Recorder, Unstable, tensors_of
    from bench.engine.job import Job
    from bench.engine.step import Step, make_optimizer

    device = device_of(environment)
    replays: dict[str, int] = {}

    def obstacle_of(trial: Trial, folder: Path) -> str:
        torch.manual_seed(0)
        module = trial.build().to(device).train()
        inputs = trial.inputs(DeviceStore(device))
        job = Job(trial.name, "fine-tune", 7, device, folder / "unused.pt", silent)
        optimizer = make_optimizer(module, budget(2), capturable=True)
        rate = torch.zeros((), device=device)  # a number on a CPU; a graph needs a tensor
        recorder = Recorder(lambda: tensors_of(module, optimizer, [step.total, rate]))
        on_gpu = device.type == "cuda"
        step = Step(module, optimizer, job, inputs.render, torch.channels_last, recorder, strict=on_gpu)
        step.rate = rate
        try:
            for epoch in range(3):
                for number, batch in enumerate(inputs.epoch(epoch)):
                    step(batch, 1e-3 / (1 + epoch + number))
        except Unstable as error:
            return str(error)
        replays[trial.name] = recorder.replays
        return step.choices["step"].removeprefix("graph")

    found = _compared(trials(), obstacle_of, "no operator waits, copies from the host or changes")
    return Finding(found.passed, found.said, found.remedy, {"replays": replays})


def graph(environment: Environment) -> Finding:
    """Steps replayed as graphs, of whole batches and of the short last one, against ordinary ones."""

    ways: dict[str, str] = {}

    def differs(trial: Trial, folder: Path) -> str:
        ordinary = train(trial, environment, folder / "ordinary", graph=False, epochs=4)
        replayed = train(trial, environment, folder / "graph", epochs=4)
        if (mode := replayed.history.engine["step"]) != "graph":
            return f"the step was not captured ({mode})"
        ways[trial.name] = replayed.history.engine["graph"]
        return difference(ordinary, replayed)

    found = _compared(trials(), differs)
    return Finding(found.passed, found.said, found.remedy, {"ways": ways})


def recapture(environment: Environment) -> Finding:
    """A capture that fails in its middle, memory given back, and a new capture."""
    import gc

    import torch

    from bench.engine.gpu.graph import CudaCapture

    device = device_of(environment)
    value = torch.zeros(1024, device=device)

    def add() -> None:
        value.add_(1)

    def fail() -> None:
        add()
        raise RuntimeError("on purpose")

    try:
        CudaCapture(device)(fail)
    except RuntimeError as error:
        if "on purpose" not in str(error):
            return Finding(False, f"a failed capture left another error: {error}")
    gc.collect()
    torch.cuda.empty_cache()
    replay = CudaCapture(device)(add)
    before = float(value[0])
    replay()
    if float(value[0]) != before + 1:
        return Finding(
            False, f"the graph captured afterwards added {float(value[0]) - before:g} instead of 1"
        )
    return Finding(True, "a graph was captured and replayed after one that failed")


def bf16(environment: Environment) -> Finding:
    """Losses of a training in bf16 autocast against fp32."""
    figures: dict[str, Any] = {"tolerance": BF16_LOSS}

    def differs(trial: Trial, folder: Path) -> str:
        losses = [
            train(trial, environment, folder / precision, precision=precision).history.losses
            for precision in ("fp32", "bf16")
        ]
        relative = max(abs(b / a - 1) for a, b in zip(*losses, strict=True))
        figures[trial.name] = relative
        return f"losses differ by {relative:.1%}" if relative > BF16_LOSS else ""

    found = _compared(trials(), differs, f"losses within {BF16_LOSS:.0%}")
    return Finding(found.passed, found.said, found.remedy, figures)


def memory(environment: Environment) -> Finding:
    """Memory that PyTorch has reserved after each of three units in a row."""
    import gc

    import torch

    reserved = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(3):
            train(fine_tuning(), environment, Path(folder) / str(number))
            gc.collect()
            torch.cuda.empty_cache()
            reserved.append(torch.cuda.memory_reserved(environment.device))
    said = f"{', '.join(f'{size / 2**20:.0f}' for size in reserved)} MiB reserved after three units"
    return Finding(reserved[2] <= GROWTH * reserved[0], said, figures={"reserved": reserved})


def _twice(trial: Trial, environment: Environment, folder: Path) -> str:
    return difference(*(train(trial, environment, folder / name) for name in ("once", "again")))


def _compared(
    those: list[Trial], differs: Callable[[Trial, Path], str], equal: str = "equal to the last bit"
) -> Finding:
    """What `differs` says of each training in a folder of its own; it passes if that is nothing."""
    problems = []
    for trial in those:
        with tempfile.TemporaryDirectory() as folder:
            if text := differs(trial, Path(folder)):
                problems.append(f"{trial.name}: {text}")
    names = ", ".join(trial.name for trial in those)
    return Finding(not problems, "; ".join(problems) or f"{equal} ({names})")
