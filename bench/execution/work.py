"""Working through a plan, beside other processes that may work through the same results folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Container, Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.errors import BenchError, PluginError, blame_text, failure_of
from bench.execution.claim import Holder, forget, holder
from bench.execution.exchange import FOLDER, folder_of_a_command
from bench.execution.run import execute, suspects, write_failure
from bench.files import remove_leftovers
from bench.interfaces.executor import Environment, Execute, Executor, Outcome, Progress, Report, silent
from bench.results import kept, store
from bench.results.record import RECORD
from bench.study.spec import UnitSpec

if TYPE_CHECKING:
    from bench.execution.plan import Plan
    from bench.execution.session import Session

POLL = 1.0  # seconds between two looks at what other processes work on


def work(
    plan: Plan, executor: Executor, report: Report = silent, *, max_failures: int = 0
) -> Generator[Outcome]:
    """Do what is left of a plan; yields one outcome per unit as they end.

    Units that another process works on are waited for, after all that is free has been done. After so many
    failures (0: no limit) no further unit is begun. Raises PluginError for an executor that fails.
    """
    session, report = plan.session, partial(_report_by_name, plan.names, report)
    environment = session.environment
    units = plan.to_do
    sweep(environment, spare={unit.key for unit in units})
    if not units:
        return
    with folder_of_a_command(environment.scratch) as folder:
        session.environment = dataclasses.replace(environment, exchange=folder)
        try:
            session.leave_indexes()
            yield from _work_through(units, session, executor, report, max_failures)
        finally:
            session.environment = environment


def _work_through(
    units: Sequence[UnitSpec], session: Session, executor: Executor, report: Report, max_failures: int
) -> Iterator[Outcome]:
    environment, began, failures = session.environment, time.time(), 0
    while units:
        held: list[UnitSpec] = []
        for outcome in _map(executor, units, session, report):
            unit = cast(UnitSpec, outcome.unit)  # one of those that the executor was given
            if outcome.status == "held":
                held.append(unit)
                continue
            yield (outcome := _complete(outcome, unit, session))
            failures += outcome.status == "failed"
            if max_failures and failures >= max_failures:
                return
        units = []
        for unit in _wait(held, environment, report):
            if outcome_elsewhere := _ended_elsewhere(unit, environment.results, began, environment.keep):
                yield outcome_elsewhere
            else:
                units.append(unit)


def _report_by_name(names: Mapping[str, str], report: Report, news: Progress) -> None:
    """Pass on news of a unit under the name that the plan gives it."""
    report(dataclasses.replace(news, unit=names.get(news.key, news.unit)))


def sweep(environment: Environment, spare: Container[str] = ()) -> None:
    """Remove what killed processes left: temporary files, checkpoints and locks of units that are done.

    Those of the units with the keys `spare` stay, which are done again for their weights, and those of units
    that another process does again.
    """
    results, scratch = environment.results, environment.scratch
    patterns = ("runs/*", "pretrain/*", "kept/*/*", "failures/*/*", "splits/*", "audits/*")
    for pattern in patterns:
        for folder in results.glob(pattern):
            remove_leftovers(folder)
    remove_leftovers(scratch / "checkpoints")
    remove_leftovers(scratch / FOLDER)
    done = {
        key
        for place in ("runs", "pretrain")
        for path in results.glob(f"{place}/*/*")
        if (key := path.name.rpartition(".")[2]) not in spare and not _at_work(scratch, key)
    }
    for checkpoint in (scratch / "checkpoints").glob("*.pt"):
        if checkpoint.name.partition(".")[0] in done:
            checkpoint.unlink(missing_ok=True)
    for lock in (scratch / "claims").glob("*.lock"):
        if lock.stem in done:
            forget(scratch, lock.stem)


def _at_work(scratch: Path, key: str) -> bool:
    """Whether a process works on the unit of this key."""
    return (scratch / "claims" / f"{key}.json").is_file() and holder(scratch, key) is not None


def _map(
    executor: Executor, units: Sequence[UnitSpec], session: Session, report: Report
) -> Iterator[Outcome]:
    """What an executor yields, checked."""
    registry = session.registry
    owner = next((e.plugin for e in registry.executors.entries.values() if e.component is executor), None)
    remedy = f"repair the plugin{f' {owner}' if owner else ''}, or choose another --executor"
    try:
        for outcome in executor.map(cast(Execute, execute), units, session, report):
            if not isinstance(outcome, Outcome):
                raise PluginError(
                    f"executor {executor.name!r} gave {type(outcome).__name__} instead of Outcome; {remedy}"
                )
            yield outcome
    except BenchError:
        raise
    except Exception as error:  # whatever a third-party executor raises
        raise failure_of(f"executor {executor.name!r} failed", error, registry.plugins, remedy) from error


def _complete(outcome: Outcome, unit: UnitSpec, session: Session) -> Outcome:
    """The outcome, with a failure record of what could not store its own: its process was gone."""
    if outcome.status != "failed" or not outcome.traceback:
        return outcome
    place = blame_text(outcome.traceback, session.registry.plugins) or suspects(unit, session)
    reason = f"{outcome.reason} ({place})" if place else outcome.reason
    write_failure(unit, session, reason, outcome.traceback)
    return dataclasses.replace(outcome, reason=reason)


# --- units of other processes ------------------------------------------------------------------------


def _wait(units: Sequence[UnitSpec], environment: Environment, report: Report) -> Sequence[UnitSpec]:
    """Wait until one of these units that other processes work on is free or done; gives them all."""
    names: dict[str, Holder] = {}
    while units:
        keys = {unit.key for unit in units}
        # Those that need another of these units are not at work themselves.
        first = [unit for unit in units if not any(need.key in keys for need in unit.needs)]
        holders = {unit: holder(environment.scratch, unit.key) for unit in first}
        if not all(holders.values()):
            break
        for unit, other in holders.items():
            if other is not None and names.get(unit.key) != other:
                names[unit.key] = other
                stage = f"waits for {other}, which works on it"
                report(Progress(unit=unit.label, stage=stage, key=unit.key))
        time.sleep(POLL)
    return units


def _ended_elsewhere(unit: UnitSpec, results: Path, began: float, keep: Sequence[str] = ()) -> Outcome | None:
    """How another process ended a unit since this one began, if it did."""
    if kept.finished(results, unit, keep):
        return Outcome(unit=unit, status="done")
    failure = store.failure_path(results, unit) / RECORD
    if failure.is_file() and failure.stat().st_mtime >= began:
        known = store.read_failure(results, unit)
        return Outcome(unit=unit, status="failed", reason=known.reason if known else "in another process")
    return None
