"""The two executors of this machine: units in processes of their own, or in this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench import Executor

if TYPE_CHECKING:
    from bench import Environment, Execute, Outcome, Report, Session, Unit


def packed(execute: Execute, units: Sequence[Unit], session: Session, report: Report) -> Iterator[Outcome]:
    """Execute up to `environment.jobs` units at once, each in a process of its own."""
    from bench_standard.packed import execute_packed  # multiprocessing takes long to import

    return execute_packed(execute, units, session, report)


def prepare(environment: Environment) -> None:
    """Begin to load what units need."""
    from bench_standard.pool import load

    load(environment.device)


def local(execute: Execute, units: Sequence[Unit], session: Session, report: Report) -> Iterator[Outcome]:
    """Execute the units in the order given, which respects what each needs."""
    for unit in units:
        yield execute(unit, session, report)


EXECUTORS = (
    Executor(
        name="packed",
        about="--jobs units at once, each in a process of its own, which stays for the next one",
        map=packed,
        prepare=prepare,
        default=True,
        parallel=True,
    ),
    Executor(
        name="local",
        about="one unit after another, in this process (--in-process)",
        map=local,
        in_process=True,
    ),
)
