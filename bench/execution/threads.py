"""How many threads a study's units get: the number that it began with.

Another number of threads adds up in another order. Training makes that difference grow: 0.05 in a probability
after two epochs. So a study that goes on keeps the number of the units that are done on the same kind of
device, or of the checkpoint of the unit at work, unless --threads asks for another.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import StoreError
from bench.execution.session import Session
from bench.interfaces.executor import Environment
from bench.results import store
from bench.study.spec import EnsembleSpec, UnitSpec

log = logging.getLogger("bench")


def keep_threads(units: Sequence[UnitSpec], session: Session) -> None:
    """Give the session the number of threads that these units were begun with. Where another number was asked
    for, warn that rows will differ."""
    environment = session.environment
    if environment.device.startswith("cuda"):  # the CPU's threads add nothing up there
        return
    begun = threads_begun_with(units, environment)
    if begun is None or begun == environment.threads:
        return
    if environment.threads_given:
        log.warning(
            "this study was begun with %d threads a unit and goes on with %d: rounding differs, and with it "
            "results, which tables will say; leave out --threads to keep %d",
            begun,
            environment.threads,
            begun,
        )
        return
    log.warning(
        "%d threads a unit, as this study was begun with (%d would be this machine's share); --threads %d "
        "overrides that",
        begun,
        environment.threads,
        environment.threads,
    )
    session.environment = replace(environment, threads=begun)


def threads_begun_with(units: Sequence[UnitSpec], environment: Environment) -> int | None:
    """The number of threads of the first unit that is done on such a device, else that of a checkpoint; None
    if nothing has begun."""
    kind = _kind(environment.device)
    for unit in units:
        if isinstance(unit, EnsembleSpec) or not store.exists(environment.results, unit):
            continue
        try:
            hardware = store.read(environment.results, unit).provenance.hardware
        except StoreError:  # said where its results are read
            continue
        threads = hardware.get("threads")
        if isinstance(threads, int) and threads > 0 and _kind(hardware.get("device")) == kind:
            return threads
    return _of_checkpoint(units, environment.scratch / "checkpoints", kind)


def _kind(device: object) -> str:
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
