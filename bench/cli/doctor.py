"""`bench doctor`: check this machine before results are trusted to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import complete
from bench.cli.options import EnvironmentOptions, Names, with_options
from bench.cli.screen import make_console, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.doctor.finding import Check, Result
    from bench.interfaces.executor import Environment

COLOURS = {"PASS": "green", "FAIL": "bold red", "skipped": "dim"}


@with_options
def doctor(
    where: EnvironmentOptions,
    only: Annotated[
        Names,
        typer.Option(
            "--only", help="Checks to do, comma-separated [default: all].", autocompletion=complete.checks
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A JSON file with all that was found, for a report of a problem."
        ),
    ] = None,
) -> None:
    """Check this machine: two minutes, a verdict, and the option that avoids each failure.

    Trains small networks to see that what results rely on holds here: trainings repeat and resume to the last
    bit; a GPU sees the CPU's images, and its graphs do what ordinary steps do. Several GPUs are checked one
    after another. Exit code 1 if a check failed.

    Example: bench doctor --device cuda -o report.json
    """
    import time
    from dataclasses import replace

    from bench.doctor.checks import CHECKS, chosen
    from bench.doctor.examine import examine, verdict
    from bench.execution.verdict import keep
    from bench.study.study import split_names

    checks = chosen(split_names(only))
    if output is not None:
        _check_output(output)
    asked = where.environment(jobs=1)
    reports = []
    for device in asked.devices or (asked.device,):  # one after the other, each as if it were alone
        environment = replace(asked, device=device, devices=())
        started = time.perf_counter()
        progress = _Progress(len(checks))
        results = []
        try:
            for result in examine(checks, environment, progress.begun):
                results.append(result)
                progress.ended(result)
        finally:
            progress.close()
        seconds, found = time.perf_counter() - started, verdict(results)
        if len(checks) == len(CHECKS):
            failures = {result.name: result.remedy for result in results if result.status == "FAIL"}
            keep(device, found, failures)
        reports.append(_report(environment, found, results))
        _print(results, environment, found, seconds)
    if output is not None:
        _write(output, reports[0] if len(reports) == 1 else {"devices": reports})
    if any(report["verdict"] == "FAIL" for report in reports):
        raise typer.Exit(1)


class _Progress:
    """Which check is at work: in a terminal as it goes, elsewhere a line for each that has ended."""

    def __init__(self, count: int) -> None:
        self.console = make_console(stderr=True)
        self.count, self.number = count, 0
        self.status = self.console.status("") if self.console.is_terminal else None
        if self.status:
            self.status.start()

    def begun(self, check: Check) -> None:
        if self.status:
            self.status.update(f"{self.number + 1} of {self.count}: {check.question}")

    def ended(self, result: Result) -> None:
        self.number += 1
        if not self.status:
            say(
                self.console,
                f"{self.number} of {self.count}: {result.name} {result.status} ({result.seconds:.0f} s)",
            )

    def close(self) -> None:
        if self.status:
            self.status.stop()


def _check_output(path: Path) -> None:
    """Raises ConfigError before two minutes are spent on a report that could not be written."""
    import tempfile

    from bench.errors import ConfigError

    if path.suffix not in ("", ".json"):
        raise ConfigError(f"-o {path}: the report is JSON; name it {path.with_suffix('.json')}")
    try:
        if path.exists():
            with path.open("r+b"):
                return
        with tempfile.NamedTemporaryFile(dir=path.parent):
            return
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"-o {path}: cannot be written ({reason}); name another file") from error


def _report(environment: Environment, verdict: str, results: Sequence[Result]) -> dict[str, Any]:
    from bench.execution.verdict import machine_key

    return {
        "machine": machine_key(environment.device),
        "device": environment.device,
        "threads": environment.threads,
        "verdict": verdict,
        "checks": [result.plain for result in results],
    }


def _write(path: Path, report: dict[str, Any]) -> None:
    from bench.errors import StoreError
    from bench.files import write_json

    try:
        write_json(path, report)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror or error}); name another file"
        ) from error


def _print(results: Sequence[Result], environment: Environment, verdict: str, seconds: float) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    console = make_console()
    grid = Grid(box=None, pad_edge=False)
    grid.add_column("check")
    grid.add_column("")
    grid.add_column("what was found", overflow="fold")
    for result in results:
        line = f"not so: {result.question}" if result.status == "FAIL" else result.said
        grid.add_row(Text(result.name), Text(result.status, style=COLOURS[result.status]), Text(line))
    console.print(grid)
    console.print()
    for result in results:
        if result.status == "FAIL":
            say(console, f"FAIL {result.name}: {result.said}")
            say(console, f"     remedy: {result.remedy}")
    counts = {status: sum(r.status == status for r in results) for status in COLOURS}
    say(
        console,
        f"{verdict} on {environment.device}, {environment.threads} threads: {counts['PASS']} passed, "
        f"{counts['FAIL']} failed, {counts['skipped']} skipped, in {seconds:.0f} s",
    )
