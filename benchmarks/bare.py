"""The bare AdamW step of plain PyTorch in a process of its own: `python benchmarks/bare.py --help`.

Network, one fixed batch, forward, backward, step, and nothing of `bench`. How the process is set up is given
by options: environment variables (the process starts itself again with them, because some count only from
the very start), and calls of glibc's mallopt before torch is loaded. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

MALLOPT = {"M_TRIM_THRESHOLD": -1, "M_MMAP_THRESHOLD": -3, "M_MMAP_MAX": -4, "M_ARENA_MAX": -8}
"""Numbers of glibc's malloc.h."""

KEPT = {"M_MMAP_MAX": 0, "M_TRIM_THRESHOLD": 2_000_000_000}
"""glibc neither maps large blocks one by one nor gives memory back."""

OURS = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "3000",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""The environment that `bench.process` sets."""

BEST = {**OURS, "GOMP_SPINCOUNT": "100000"}
"""What is faster still on an idle machine, and many times slower beside a busy process."""

WARM_UP = 3


class Timed(TypedDict):
    """What it prints.

    Attributes:
        step_s: median seconds of a step.
        steps: that were timed.
        system_share: processor seconds in the kernel per second.
        faults_per_step: pages that the kernel had to map.
        peak_mib: most memory that the process held.
        threads: that computed.
    """

    step_s: float
    steps: int
    system_share: float
    faults_per_step: float
    peak_mib: float
    threads: int


def command(
    environment: Mapping[str, str],
    mallopt: Mapping[str, int],
    *,
    model: str,
    size: int,
    batch: int,
    threads: int = 0,
    seconds: float,
) -> list[str]:
    """The command line of a bare step under these settings."""
    words = [sys.executable, "-P", __file__, "--model", model, "--size", str(size), "--batch", str(batch)]
    words += ["--threads", str(threads), "--seconds", str(seconds)]
    for name, text in environment.items():
        words += ["--env", f"{name}={text}"]
    for name, value in mallopt.items():
        words += ["--mallopt", f"{name}={value}"]
    return words


def read(output: str) -> Timed:
    """What a bare step has printed."""
    return cast(Timed, json.loads(output.strip().splitlines()[-1]))


def main(arguments: Sequence[str]) -> None:
    """Time the step, and print what it took."""
    options = _parser().parse_args(arguments)
    _start_again(dict(pair.split("=", 1) for pair in options.env))
    _mallopt({name: int(value) for name, _, value in (pair.partition("=") for pair in options.mallopt)})
    print(json.dumps(timed(options)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Seconds of a bare AdamW step in this process.")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    names = ", ".join(MALLOPT)
    parser.add_argument("--mallopt", action="append", default=[], metavar="NAME=VALUE", help=names)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch takes")
    parser.add_argument("--seconds", type=float, default=5.0, help="of timed steps (and 5 steps) at least")
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    return parser


def _start_again(wanted: Mapping[str, str]) -> None:
    """Start this process again with these environment variables, unless it has them."""
    if any(os.environ.get(name) != text for name, text in wanted.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **wanted})


def _mallopt(settings: Mapping[str, int]) -> None:
    """Call mallopt. Exits where there is none, or it refuses."""
    for name, value in settings.items():
        call = getattr(ctypes.CDLL(None), "mallopt", None)
        if call is None or call(MALLOPT[name], value) != 1:
            sys.exit(f"no mallopt({name}, {value}) here: it is glibc's")


def timed(options: argparse.Namespace) -> Timed:
    """Time the step after a warm-up."""
    import timm
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    net: Any = timm.create_model(options.model, num_classes=3).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    images = torch.randn(options.batch, 3, options.size, options.size)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(options.batch) % 3

    def step() -> float:
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(net(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return time.perf_counter() - started

    for _ in range(WARM_UP):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds: list[float] = []
    while len(seconds) < 5 or sum(seconds) < options.seconds:
        seconds.append(step())
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "step_s": statistics.median(seconds),
        "steps": len(seconds),
        "system_share": (after.ru_stime - before.ru_stime) / sum(seconds),
        "faults_per_step": (after.ru_minflt - before.ru_minflt) / len(seconds),
        "peak_mib": after.ru_maxrss / 2**10,
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
