"""All checks, in the order in which they are done."""

from __future__ import annotations

from collections.abc import Sequence

from bench.doctor import machine, speed, stages, training
from bench.doctor.finding import Check
from bench.errors import UnknownName

NO_GRAPH = "--no-graph (or BENCH_GRAPH=0)"
PLAIN = f"BENCH_GRAPH=plain, else {NO_GRAPH}"
CPU = "--device cpu"
REPORT = "report it with -o report.json"

CHECKS = (
    Check("versions", "packages are there, in versions that work", machine.versions, "reinstall medbench"),
    Check("device", "PyTorch can compute on the device", machine.device, CPU),
    Check("folders", "data and results have a place, and room", machine.folders, "another --results"),
    Check("locks", "a claim in the results folder keeps others out", machine.locks, "another --results"),
    Check("plugins", "all plugins load", machine.plugins, "set BENCH_BLOCK=NAME", limit=30.0),
    Check("threads", "more threads are faster", speed.threads, "--threads N", limit=90.0),
    Check("repeat", "a training done twice has the same weights", training.repeat, f"{CPU}, and {REPORT}"),
    Check(
        "attention",
        "a network with attention, trained twice, has the same weights",
        training.attention,
        f"use models without attention on this device, and {REPORT}",
    ),
    Check("resume", "a training that goes on equals one in one go", training.resume, REPORT),
    Check("capture", "nothing in a step would be frozen by a graph", training.capture, NO_GRAPH),
    Check("images", "the device's images are the CPU's", stages.images, CPU),
    Check("losses", "losses on the device are the CPU's", stages.losses, CPU, gpu=True),
    Check("graph", "replayed graphs equal ordinary steps", training.graph, PLAIN, gpu=True),
    Check("recapture", "a graph works after one that failed", training.recapture, NO_GRAPH, gpu=True),
    Check(
        "bf16", "bf16 trains like fp32", training.bf16, "--set protocol.precision=fp32", gpu=True
    ),
    Check("memory", "a unit leaves no memory behind", training.memory, REPORT, gpu=True),
    Check("speed", "an epoch costs little more than its steps", speed.epoch, "--threads N", limit=90.0),
    Check("packing", "two units at once are not slower than one", speed.packing, "--jobs 1", limit=120.0),
)  # fmt: skip


def chosen(names: Sequence[str]) -> tuple[Check, ...]:
    """The checks of these names, all if there are none. Raises UnknownName."""
    known = [check.name for check in CHECKS]
    for name in names:
        if name not in known:
            raise UnknownName("check", name, known)
    return tuple(check for check in CHECKS if not names or check.name in names)
