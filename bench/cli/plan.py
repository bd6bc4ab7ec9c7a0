"""`bench plan`: the units of a study, their state, and what the rest will cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import EnvironmentOptions, StudyOptions, with_options
from bench.cli.screen import contain, echo, installed_components, make_console, share, units, warn
from bench.text import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from bench.execution.estimate import Estimator
    from bench.execution.plan import Plan
    from bench.study.spec import UnitSpec

LONG = 500  # rows from which a table of lines is drawn too slowly
TITLES = ("kind", "unit", "state", "expected", "note")


@with_options
def plan(
    study: StudyOptions,
    where: EnvironmentOptions,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="Time a few steps of work that no record tells about.")
    ] = True,
    detect: Annotated[
        float | None,
        typer.Option(
            help="Say whether the study can show a true difference of so many points of accuracy.",
            metavar="POINTS",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show what `bench run` with the same options would do, and what it would cost. Trains nothing."""
    from bench.cli.detectable import check_points, show_detectable
    from bench.cli.plans import show_plan
    from bench.execution.estimate import Estimator
    from bench.results.store import scan

    if detect is not None:
        check_points(detect)
    registry = installed_components()
    asked = study.study(registry)
    environment = where.environment()
    console = make_console()
    planned = show_plan(asked, environment, contain(registry), study, console)
    records, warnings = scan(environment.results)
    warn(warnings)
    failed = {record.key: record.reason for record in records if record.status == "failed"}
    _print_plan(planned, Estimator(records, planned.session, probe), failed, console)
    if detect is not None:
        show_detectable(planned, records, detect, redraw=not study.split)


def _print_plan(planned: Plan, estimator: Estimator, failed: Mapping[str, str], console: Console) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    from bench.execution.plan import keeping
    from bench.execution.time_left import makespan

    environment = planned.session.environment
    to_do = {unit.key for unit in planned.to_do}
    rows: list[tuple[str, ...]] = []
    expected: dict[str, float] = {}  # seconds, by key
    unknown = 0
    for unit in planned.units:
        state, seconds, note = _state(unit, estimator, failed) if unit.key in to_do else ("done", None, "")
        if again := keeping(environment, unit):
            note = f"{again}; {note}" if note else again
        if unit.key in to_do:
            expected[unit.key] = seconds or 0.0
        lasts = unit.key in to_do and unit.kind != "ensemble"  # an ensemble takes no time to speak of
        unknown += lasts and seconds is None
        name = f"{unit.dataset.name}  {planned.called(unit)}"
        rows.append((unit.kind, name, state, _duration(seconds) or "unknown" * lasts, note))
    rows += [(cell.kind, cell.label, "n/a", "", cell.reason) for cell in planned.not_possible]
    if len(rows) > LONG:
        _print_lines([TITLES, *rows])
    else:
        grid = Grid(*TITLES)
        grid.columns[1].overflow = "fold"
        for row in rows:
            grid.add_row(*map(Text, row))
        console.print(grid)
    needs = {unit.key: [need.key for need in unit.needs] for unit in planned.units}
    total = makespan(expected, needs, [], environment.jobs)
    hardware = f"{', '.join(environment.devices or (environment.device,))}, {share(environment)}"
    console.print(f"To do: {_total(total, unknown)} on this machine ({hardware}).")


def _print_lines(rows: Sequence[tuple[str, ...]]) -> None:
    """Rows in columns without borders: ten thousand take a tenth of a second instead of five."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        echo(one_line("  ".join(cells).rstrip()))


def _state(unit: UnitSpec, estimator: Estimator, failed: Mapping[str, str]) -> tuple[str, float | None, str]:
    """State, expected seconds and a note for one unit that is to do."""
    from bench.errors import BenchError

    state = "failed" if unit.key in failed else "to do"
    note = failed.get(unit.key, "")
    try:
        expected = estimator.expect(unit)
    except BenchError as error:
        return state, None, note or str(error)
    if expected is None:
        return state, None, note
    return state, expected.seconds, note or f"from {expected.basis}"


def _total(seconds: float, unknown: int) -> str:
    """How long all takes, and how much that leaves out."""
    if not unknown:
        return f"about {_duration(seconds)}"
    if not seconds:
        return f"{units(unknown)} of unknown duration"
    return f"at least {_duration(seconds)}, and {units(unknown)} of unknown duration"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
