"""How fast a process trains by its settings: `python -m benchmarks.process`, from the root of the sources.

The bare AdamW step (`bare.py`) in fresh processes under each setting of threads that wait, of glibc's
allocator, of huge pages, and with other allocators where they are installed; with one and two threads, and
beside a process that computes without end. They alternate. Written to results/<hardware>/process.md and .csv.
Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import ctypes.util
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from bench import BenchError
from benchmarks import bare
from benchmarks.command import CommandFailed, busy, ended_with_this, run
from benchmarks.pairs import ENOUGH
from benchmarks.report import ROOT, Facts, Row, cell, command_line, one_line, prepare, save, tell

OURS = ("OMP_", "GOMP_", "KMP_", "MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "THP_MEM_ALLOC_ENABLE")
"""What the settings are about: taken out of the environment of every process, unless its setting has it."""

SPINS = (100, 1000, 3000, 10_000, 100_000)
ALLOCATORS = ("jemalloc", "tcmalloc", "tcmalloc_minimal")
LOADS = {"idle": 0, "busy": 1}  # processes beside it that compute without end


@dataclass(frozen=True)
class Setting:
    """How a process is set up.

    Attributes:
        name: for the table.
        environment: variables.
        mallopt: calls before torch is loaded.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    mallopt: Mapping[str, int] = field(default_factory=dict)

    @property
    def only_waits(self) -> bool:
        """Whether its variables only say how threads wait for each other, which is nothing to one thread."""
        return bool(self.environment) and all(name.startswith(("OMP_", "GOMP_")) for name in self.environment)


@dataclass(frozen=True)
class Case:
    """What is timed once in each round.

    Attributes:
        setting: of the process.
        threads: that compute.
        load: "idle" or "busy".
    """

    setting: Setting
    threads: int
    load: str


@dataclass(frozen=True)
class Times:
    """What was timed of a case.

    Attributes:
        case: the case.
        timed: by round.
        ratios: seconds of a step over those under PyTorch's default, by round.
        problem: why it was timed no further; "" if it was.
    """

    case: Case
    timed: list[bare.Timed] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    problem: str = ""


DEFAULT = Setting("PyTorch's default")


def main(
    model: Annotated[str, typer.Option(help="Name of timm's network.")] = "tf_efficientnet_lite0",
    size: Annotated[int, typer.Option(min=32, help="Side of the images, pixels.")] = 96,
    batch: Annotated[int, typer.Option(min=1, help="Images per step.")] = 16,
    seconds: Annotated[float, typer.Option(min=0, help="Of steps in each process (and 5 steps).")] = 4.0,
    rounds: Annotated[int, typer.Option(min=1, help="Processes per case.")] = ENOUGH,
    only: Annotated[str, typer.Option(help="Settings whose name has this, beside the default.")] = "",
    load: Annotated[str, typer.Option(help="idle or busy [default: both].")] = "",
    name: Annotated[str, typer.Option(help="Of the files that are written.")] = "process",
    results: Annotated[Path, typer.Option(help="Where results are kept.")] = ROOT / "results",
) -> None:
    """Time the bare step under all settings and write results/<hardware>/process.md and .csv."""
    environment = without_settings(os.environ)
    if load and load not in LOADS:
        raise typer.BadParameter(f"{load!r}: use {' or '.join(LOADS)}")
    options = {"model": model, "size": size, "batch": batch, "seconds": seconds, "rounds": rounds}
    said = command_line("benchmarks.process", main, {**options, "only": only, "load": load, "name": name})
    machine = prepare("cpu", 0, results)
    facts = {**machine.facts, "model": model, "size": str(size), "batch": str(batch)}
    chosen = [setting for setting in every_setting() if only in setting.name or setting == DEFAULT]
    all_times = [Times(case) for case in cases(chosen, [load] if load else list(LOADS))]

    def once(case: Case) -> bare.Timed:
        setting = case.setting
        settings = setting.environment, setting.mallopt
        command = bare.command(
            *settings, model=model, size=size, batch=batch, threads=case.threads, seconds=seconds
        )
        with busy(LOADS[case.load]):
            return bare.read(run(command, environment, ROOT).output)

    for turn in range(rounds):
        started = time.perf_counter()
        all_times = list(timed_again(all_times, once))
        tell(f"round {turn + 1} of {rounds}", f"{time.perf_counter() - started:.0f} s")
        # After each round, so that a machine that is taken away leaves what was measured.
        rows = [row_of(times) for times in all_times]
        save(machine.folder, name, rows, facts, as_markdown(rows, facts, said))


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what the settings are about."""
    return {name: text for name, text in environment.items() if not name.startswith(OURS)}


def every_setting() -> Iterator[Setting]:
    """PyTorch's default and all that are compared with it."""
    passive = {"OMP_WAIT_POLICY": "PASSIVE"}
    waits = {DEFAULT.name: {}, "PASSIVE": passive}
    waits |= {f"PASSIVE, spin {n}": {**passive, "GOMP_SPINCOUNT": str(n)} for n in SPINS}
    for name, environment in waits.items():
        yield Setting(name, environment)
        yield Setting(f"{name}, memory kept", environment, bare.KEPT)
    brief = "PASSIVE, spin 3000"
    huge = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    yield Setting(f"{brief}, THP_MEM_ALLOC_ENABLE", {**waits[brief], "THP_MEM_ALLOC_ENABLE": "1"})
    yield Setting(f"{brief}, hugetlb=1", {**waits[brief], **huge})
    yield Setting(f"{brief}, hugetlb=1, memory kept", bare.OURS, bare.KEPT)
    yield Setting("PASSIVE, spin 100000, hugetlb=1, memory kept", bare.BEST, bare.KEPT)
    for name in ALLOCATORS:
        if library := ctypes.util.find_library(name):
            yield Setting(f"{brief}, {library}", {**waits[brief], "LD_PRELOAD": library})


def cases(settings: Sequence[Setting], loads: Sequence[str]) -> Iterator[Case]:
    """All settings with two threads, and those that mean anything to one thread with one."""
    for threads, setting, load in product((2, 1), settings, loads):
        if threads > 1 or not setting.only_waits:
            yield Case(setting, threads, load)


def timed_again(all_times: Sequence[Times], once: Any) -> Iterator[Times]:
    """One more round: each case once, compared with the default of the same threads and load."""
    defaults: dict[tuple[int, str], float] = {}
    for times in all_times:
        case = times.case
        if times.problem:
            yield times
            continue
        try:
            timed: bare.Timed = once(case)
        except CommandFailed as reason:
            yield Times(case, times.timed, times.ratios, str(reason))
            continue
        step = timed["step_s"]
        if case.setting == DEFAULT:
            defaults[case.threads, case.load] = step
        tell(f"{case.setting.name}, {case.threads} threads, {case.load}", f"{step * 1e3:.1f} ms a step")
        ratio = step / defaults[case.threads, case.load]
        yield Times(case, [*times.timed, timed], [*times.ratios, ratio])


def row_of(times: Times) -> Row:
    """Medians over the processes of a case, and the range of its steps."""
    case, timed = times.case, times.timed
    steps = [one["step_s"] * 1e3 for one in timed]

    def middle(values: Sequence[float]) -> float | None:
        return median(values) if values else None

    return {
        "setting": case.setting.name,
        "environment": " ".join(f"{name}={text}" for name, text in case.setting.environment.items()),
        "mallopt": " ".join(f"{name}={value}" for name, value in case.setting.mallopt.items()),
        "threads": case.threads,
        "load": case.load,
        "processes": len(timed),
        "step_ms": middle(steps),
        "step_ms_min": min(steps, default=None),
        "step_ms_max": max(steps, default=None),
        "over_default": middle(times.ratios),
        "system_share": middle([one["system_share"] for one in timed]),
        "faults_per_step": middle([one["faults_per_step"] for one in timed]),
        "peak_mib": middle([one["peak_mib"] for one in timed]),
        "problem": times.problem,
    }


def as_markdown(rows: Sequence[Row], facts: Facts, command: str) -> str:
    """The tables for readers, one per number of threads and load."""
    kept = ", ".join(f"{name} {value}" for name, value in bare.KEPT.items())
    lines = ["# The bare step by the settings of its process", "", one_line(facts), ""]
    lines += [
        f"Written by `{command}`.",
        "Figures are medians of processes that alternate, with",
        'their range; "/ default" is the median ratio to PyTorch\'s default in the same round.',
        f'"Memory kept": mallopt with {kept}. "In the kernel": processor',
        "seconds there per second of training. Busy: beside one process that computes without end.",
    ]
    for threads, load in dict.fromkeys((row["threads"], row["load"]) for row in rows):
        lines += ["", f"## {threads} {'thread' if threads == 1 else 'threads'}, {load}", ""]
        lines += ["| setting | ms a step | | / default | in the kernel | faults a step | peak MiB |"]
        lines += ["| --- | ---: | --- | ---: | ---: | ---: | ---: |"]
        for row in rows:
            if (row["threads"], row["load"]) == (threads, load):
                spread = (
                    f"{cell(row['step_ms_min'])} to {cell(row['step_ms_max'])}, {row['processes']} processes"
                )
                cells = [cell(row["step_ms"]), row["problem"] or spread, cell(row["over_default"])]
                cells += [cell(row[name]) for name in ("system_share", "faults_per_step", "peak_mib")]
                lines.append(f"| {row['setting']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        with ended_with_this():
            typer.run(main)
    except BenchError as error:
        sys.exit(f"error: {error}")
