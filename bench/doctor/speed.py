"""How fast this machine is, against what it could be: threads, epochs, two processes."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.doctor.finding import Finding
from bench.doctor.trial import device_of, fine_tuning, train
from bench.execution.gpu_sharing import START, mps_runs
from bench.interfaces.executor import Environment, Progress

SLOWER = 1.25  # times as long as with fewer threads, beyond what other work on the machine does to a minimum
EPOCH = 0.7  # speed of an epoch by the engine, of that of bare steps
PACKED = 0.8  # images a second of two processes, of those of one
BATCH, IMAGES = 16, 64


def threads(environment: Environment) -> Finding:
    """The shortest of some bare training steps, with each number of threads."""
    import torch

    device = device_of(environment)
    if device.type != "cpu":
        return Finding(True, f"{environment.threads}; the GPU computes")
    counts = sorted({1, *(2**k for k in range(1, 8) if 2**k < environment.threads), environment.threads})
    step = _bare_step(environment)
    shortest = dict.fromkeys(counts, float("inf"))
    try:
        for _ in range(3):  # in turns, so that other work on the machine hits all alike
            for count in counts:
                torch.set_num_threads(count)
                step()
                started = time.perf_counter()
                step()
                shortest[count] = min(shortest[count], time.perf_counter() - started)
    finally:
        torch.set_num_threads(environment.threads)
    best = min(counts, key=lambda count: shortest[count])
    said = "a step takes " + ", ".join(f"{shortest[n]:.2f} s with {n} thread{'s' * (n > 1)}" for n in counts)
    fine = shortest[environment.threads] <= SLOWER * shortest[best]
    return Finding(fine, said, f"--threads {best}", {"seconds": {str(k): v for k, v in shortest.items()}})


def epoch(environment: Environment) -> Finding:
    """Images a second of whole epochs by the engine, against bare steps of plain PyTorch on one batch."""
    step = _bare_step(environment)
    bare = [_shortest(step, 3)]
    trial = fine_tuning(images=IMAGES, batch=BATCH)
    times: list[float] = []

    def report(progress: Progress) -> None:
        if progress.done == progress.total:
            _wait(environment)
            times.append(time.perf_counter())

    epochs = 4 if environment.device == "cpu" else 12
    with tempfile.TemporaryDirectory() as folder:
        train(trial, environment, Path(folder), epochs=epochs, report=report, images=IMAGES, batch=BATCH)
    bare.append(_shortest(step, 3))
    engine = IMAGES / min(b - a for a, b in itertools.pairwise(times))
    ceiling = BATCH / min(bare)
    ratio = engine / ceiling
    said = f"{engine:.0f} images/s in an epoch, {ceiling:.0f} in bare steps of PyTorch ({ratio:.0%})"
    remedy = "end other work on this machine, then try --threads N"
    if environment.device != "cpu":
        remedy += ", --no-graph"
    return Finding(ratio >= EPOCH, said, remedy, {"engine": engine, "bare": ceiling})


PACE = "import sys; from bench.doctor.speed import pace; pace(sys.argv[1], int(sys.argv[2]))"


def packing(environment: Environment) -> Finding:
    """Images a second of two processes at once, with half the threads each, against one alone."""
    alone = _paces(environment, 1)
    together = _paces(environment, 2)
    ratio = together / alone
    said = f"two processes do {ratio:.2f} x the images a second of one"
    remedy = "--jobs 1"
    if environment.device != "cpu" and not mps_runs():
        said += "; without NVIDIA's MPS they take turns on the GPU, which gains nothing"
        remedy += f", or start NVIDIA's MPS ({START})"
    return Finding(ratio >= PACKED, said, remedy, {"alone": alone, "together": together})


def pace(device: str, threads: int, seconds: float = 2.0) -> None:
    """What one of the processes does: print, when asked, how many images a second it trains on."""
    environment = Environment(data=Path(), results=Path(), device=device, threads=threads)
    step = _bare_step(environment)
    step()
    _wait(environment)
    print("ready", flush=True)
    sys.stdin.readline()
    started, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds:
        step()
        _wait(environment)
        count += 1
    print(BATCH * count / passed, flush=True)


def _paces(environment: Environment, processes: int) -> float:
    """The sum of what so many processes do at the same time."""
    each = str(max(1, environment.threads // processes))
    command = [sys.executable, "-P", "-c", PACE, environment.device, each]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, **pipes) for _ in range(processes)]
    try:
        for child in children:
            if child.stdout.readline().strip() != "ready":  # type: ignore[union-attr]
                raise RuntimeError("one of the processes ended before it had begun")
        for child in children:
            child.stdin.write("go\n")  # type: ignore[union-attr]
            child.stdin.flush()  # type: ignore[union-attr]
        paces = [child.stdout.readline() for child in children]  # type: ignore[union-attr]
        return sum(map(float, paces))
    finally:
        for child in children:
            child.kill()
            child.communicate()


def _bare_step(environment: Environment) -> Callable[[], object]:
    """A training step without anything of the engine: normalise, forward, backward, AdamW."""
    import torch

    device = device_of(environment)
    trial = fine_tuning(images=IMAGES, batch=BATCH)
    images, labels = (t.to(device) for t in next(iter(trial.inputs(None).epoch(0))))
    torch.manual_seed(0)
    module = trial.build().to(device).train().to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = module(images, labels)
        loss.backward()
        optimizer.step()

    return step


def _shortest(step: Callable[[], object], repeats: int) -> float:
    """Seconds of the shortest of some steps, after one that is not counted."""
    import torch

    seconds = []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def _wait(environment: Environment) -> None:
    import torch

    if environment.device.startswith("cuda"):
        torch.cuda.synchronize(environment.device)
