"""Units one after another, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench import Execute, Executor, Outcome, Report, Session, Unit


def local(execute: Execute, units: Sequence[Unit], session: Session, report: Report) -> Iterator[Outcome]:
    """Execute the units in the order given, which respects what each needs."""
    for unit in units:
        yield execute(unit, session, report)


LOCAL = Executor(name="local", about="one unit after another, in this process", map=local, default=True)
