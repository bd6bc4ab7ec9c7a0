"""How a study shares the machine: how many units are at work at once, and how many threads each of them gets.

Another number of threads adds up in another order. Training makes that difference grow: 0.05 in a probability
after two epochs. So the numbers are settled when a study is planned, from all of its units, and a study that
goes on keeps those of the units that are done on the same kind of device, or of the checkpoint of the unit at
work, unless --threads asks for another.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import StoreError
from bench.execution import memory, provenance
from bench.execution.gpu_sharing import mps_runs
from bench.execution.session import Session
from bench.interfaces.executor import Environment
from bench.results import store
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec

log = logging.getLogger("bench")

KINDS = ("pretrain", "run")  # of units that train
GAIN = 0.6
"""So many threads do a step about threads ** GAIN times as fast as one: a step of tf_efficientnet_lite0 at 96
pixels took 203 to 207 ms with one and 132 to 155 ms with two, on two cores of an AMD EPYC."""
BASE = 2**30  # bytes of a worker beside what its step needs: PyTorch, the network
PER_INPUT_BYTE = 300  # bytes that a step needs for each byte of its batch in float32


def share_machine(units: Sequence[UnitSpec], session: Session) -> None:
    """Settle in the session's environment how many of these units are at work at once, and their threads.

    What was asked for stands; where threads were asked for that a study was not begun with, warn that rows
    will differ. Of what was not: on a CPU as many units as keep all cores busy and find memory; on GPUs one a
    device, or with NVIDIA's MPS, which lets them overlap, one a core, begun as the GPU's memory allows.
    """
    environment = session.environment
    if environment.device.startswith("cuda"):  # the CPU's threads add nothing up there
        if not environment.jobs_given and mps_runs():
            cores = provenance.usable_cores()
            jobs = max(environment.jobs, min(cores, _width(units)))
            each = environment.threads if environment.threads_given else max(1, cores // jobs)
            session.environment = replace(environment, jobs=jobs, threads=each)
        return
    begun = {kind: threads_begun_with(_of_kind(units, kind), environment) for kind in KINDS}
    if environment.threads_given:
        _warn_of_other_threads(begun, environment)
        threads = dict.fromkeys(KINDS, environment.threads)
    else:
        fair = _fair_shares(units, environment)
        threads = {kind: begun[kind] or fair[kind] for kind in KINDS}
        _tell_kept_threads(threads, fair)
    session.environment = replace(
        environment,
        threads=threads["run"],
        pretrain_threads=threads["pretrain"] if threads["pretrain"] != threads["run"] else 0,
    )
    if not environment.jobs_given:
        cores = provenance.usable_cores()
        at_once = cores // min(threads[kind] for kind in KINDS if _of_kind(units, kind) or kind == "run")
        jobs = max(1, min(at_once, _width(units), _within(memory.available_memory(), units)))
        session.environment = replace(session.environment, jobs=jobs, cores=cores)


def one_at_a_time(units: Sequence[UnitSpec], session: Session) -> None:
    """The same for an executor that works on one unit at a time, which gets all cores."""
    environment = session.environment
    threads = environment.threads if environment.threads_given else provenance.usable_cores()
    session.environment = replace(
        environment, jobs=1, jobs_given=True, cores=0, threads=threads, pretrain_threads=0
    )
    share_machine(units, session)


def _fair_shares(units: Sequence[UnitSpec], environment: Environment) -> dict[str, int]:
    """Threads of a pretraining and of a run, if the study has not begun. By the memory there is, not by what
    is free of it now, so that the same command gives the same bits another time."""
    if environment.jobs_given:
        return dict.fromkeys(KINDS, environment.threads)
    cores, most = provenance.usable_cores(), _within(memory.total_memory(), units)
    return {kind: threads_each(len(_of_kind(units, kind)), cores, most) for kind in KINDS}


def threads_each(units: int, cores: int, most: int) -> int:
    """Threads of each of so many like units, at most `most` at once, with which all are done soonest.

    One for each would leave cores idle where units are few, or where a last one is left over.
    """

    def duration(threads: int) -> float:
        at_once = min(cores // threads, most)
        return math.ceil(units / at_once) / float(threads**GAIN)

    return min(range(1, cores + 1), key=lambda threads: (duration(threads), threads)) if units else cores


def _width(units: Sequence[UnitSpec]) -> int:
    """How many of these units can be at work at once: each run starts from one pretraining, or from none."""
    return max(len(_of_kind(units, kind)) for kind in KINDS)


def _within(free: int, units: Sequence[UnitSpec]) -> int:
    """How many of these units so much memory carries at once; at least one, which has to make do with it."""
    needs = [memory_of(unit) for unit in units if isinstance(unit, PretrainSpec | RunSpec)]
    return max(1, free // max(needs, default=BASE))


def memory_of(unit: PretrainSpec | RunSpec) -> int:
    """Bytes that the process of a unit takes on a CPU, by a rule of thumb: 1.5 GiB for tf_efficientnet_lite0
    at 96 pixels and batch 16, which was seen to take 1.1. `packed` looks at what units really hold."""
    batch = unit.pretrain.batch if isinstance(unit, PretrainSpec) else unit.finetune.batch
    return BASE + PER_INPUT_BYTE * batch * 3 * unit.size**2 * 4


def _of_kind(units: Sequence[UnitSpec], kind: str) -> list[UnitSpec]:
    return [unit for unit in units if unit.kind == kind]


# --- what a study was begun with ---------------------------------------------------------------------


def threads_begun_with(units: Sequence[UnitSpec], environment: Environment) -> int | None:
    """The number of threads of the first unit that is done on such a device, else that of a checkpoint; None
    if nothing has begun."""
    kind = _device_kind(environment.device)
    for unit in units:
        if isinstance(unit, EnsembleSpec) or not store.exists(environment.results, unit):
            continue
        try:
            hardware = store.read(environment.results, unit).provenance.hardware
        except StoreError:  # said where its results are read
            continue
        threads = hardware.get("threads")
        if isinstance(threads, int) and threads > 0 and _device_kind(hardware.get("device")) == kind:
            return threads
    return _of_checkpoint(units, environment.scratch / "checkpoints", kind)


def _warn_of_other_threads(begun: dict[str, int | None], environment: Environment) -> None:
    for number in dict.fromkeys(begun.values()):
        if number is not None and number != environment.threads:
            log.warning(
                "this study was begun with %d threads a unit and goes on with %d: rounding differs, and with "
                "it results, which tables will say; leave out --threads to keep %d",
                number,
                environment.threads,
                number,
            )


def _tell_kept_threads(threads: dict[str, int], fair: dict[str, int]) -> None:
    for number, share in dict.fromkeys((threads[kind], fair[kind]) for kind in KINDS):
        if number != share:
            log.warning(
                "%d threads a unit, as this study was begun with (%d would be this machine's share); "
                "--threads %d overrides that",
                number,
                share,
                share,
            )


def _device_kind(device: object) -> str:
    """ "cpu", "mps": a device's name without its number."""
    return str(device).partition(":")[0]


def _of_checkpoint(units: Sequence[UnitSpec], folder: Path, kind: str) -> int | None:
    """Of the checkpoint of a unit at work; None if there is none, or one of another device."""
    if not folder.is_dir():
        return None
    keys = {unit.key for unit in units}
    for path in sorted(folder.glob("*.pt")):
        if path.name.partition(".")[0] not in keys:
            continue
        from bench.engine import checkpoint

        begun = checkpoint.begun_with(path)
        if begun and begun.device == kind:
            return begun.threads
    return None
