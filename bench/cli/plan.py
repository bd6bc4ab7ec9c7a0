"""`bench plan`: the units of a study, their state, and what the rest will cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    BaselinesOption,
    DataOption,
    DatasetOption,
    DeviceOption,
    EnsemblesOption,
    ModelsOption,
    ProtocolOption,
    ResultsOption,
    RoundsOption,
    SetOption,
    SplitOption,
    StrategiesOption,
    StrictOption,
    StudyOption,
    ThreadsOption,
    make_console,
    make_workplace,
    manifests,
    read_options,
    warn_of_problems,
)

if TYPE_CHECKING:
    from rich.console import Console

    from bench.data.splits import Split
    from bench.estimate import Estimator
    from bench.spec import Ref, UnitSpec
    from bench.study import Plan, Study
    from bench.types import Workplace


def plan(
    dataset: DatasetOption = None,
    strategies: StrategiesOption = None,
    models: ModelsOption = None,
    baselines: BaselinesOption = None,
    ensembles: EnsemblesOption = None,
    protocol: ProtocolOption = "",
    study: StudyOption = None,
    rounds: RoundsOption = None,
    set_: SetOption = None,
    split: SplitOption = None,
    strict: StrictOption = False,
    data: DataOption = None,
    results: ResultsOption = Path("results"),
    device: DeviceOption = "",
    threads: ThreadsOption = 0,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="Time a few steps of work that no record tells about.")
    ] = True,
) -> None:
    """Show what `bench run` with the same options would do, and what it would cost. Trains nothing."""
    from bench.estimate import Estimator
    from bench.plugins import catalog
    from bench.store import scan

    warn_of_problems(catalog())
    names = {
        "datasets": dataset,
        "models": models,
        "baselines": baselines,
        "strategies": strategies,
        "ensembles": ensembles,
    }
    asked = read_options(study, names, protocol, rounds, set_)
    workplace = make_workplace(data, results, device, threads, asked)
    console = make_console()
    laid_out = lay_out(asked, workplace, console, manifests(split), strict)
    records, warnings = scan(results)
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    failed = {r.key: str(r.content.get("reason", "")) for r in records if r.status == "failed"}
    _print_plan(laid_out, Estimator(records, workplace, probe), failed, workplace, console)


def lay_out(
    study: Study, workplace: Workplace, console: Console, given: Sequence[Path] = (), strict: bool = False
) -> Plan:
    """Decode and audit the images, freeze and show the splits, and expand the study into units.

    `given` are split manifests to use; with `strict`, a split that leaks is refused.
    """
    from bench.cli.progress import display
    from bench.plugins import catalog
    from bench.study import expand
    from bench.workbench import prepare_data

    with display(console, 0) as shown:
        splits = prepare_data(study, workplace, shown.report, given=given, strict=strict)
    for dataset in study.datasets:
        print_counts(dataset, splits, console)
    laid_out = expand(study, catalog(), lambda ref, round_: splits[ref, round_].hash)
    for cell in laid_out.not_possible:
        console.print(f"n/a  {cell.label}: {cell.reason}", markup=False)
    return laid_out


def print_counts(dataset: Ref, splits: Mapping[tuple[Ref, int], Split], console: Console) -> None:
    """Images and groups per part and class: round 0 in full, then what is noted about any round, and what
    the audit says."""
    from rich.table import Table

    counts = splits[dataset, 0].counts()
    table = Table(title=f"{dataset.name}: images (groups) of round 0", title_justify="left")
    table.add_column("class")
    for part in counts:
        table.add_column(part, justify="right")
    for name in next(iter(counts.values())):
        cells = (counts[part][name] for part in counts)
        table.add_row(name, *(f"{images} ({groups})" for images, groups in cells))
    totals = (
        [sum(column) for column in zip(*by_class.values(), strict=True)] for by_class in counts.values()
    )
    table.add_section()
    table.add_row("all", *(f"{images} ({groups})" for images, groups in totals))
    console.print(table)
    for (ref, round_), split in splits.items():
        if ref == dataset:
            for note in split.notes:
                console.print(f"note: {dataset.name} round {round_}: {note}", markup=False)
            if split.verdict and split.verdict.leaks:
                console.print(f"LEAK: {dataset.name} round {round_}: {split.verdict.text}", markup=False)


def _print_plan(
    laid_out: Plan, estimator: Estimator, failed: Mapping[str, str], workplace: Workplace, console: Console
) -> None:
    from rich.table import Table

    table = Table("kind", "unit", "state", "expected", "note")
    total = 0.0
    for unit in laid_out.units:
        state, seconds, note = _state(unit, estimator, failed, workplace)
        total += seconds or 0.0
        table.add_row(unit.kind, f"{unit.dataset.name}  {unit.label}", state, _duration(seconds), note)
    for cell in laid_out.not_possible:
        table.add_row("run", cell.label, "n/a", "", cell.reason)
    console.print(table)
    hardware = f"{workplace.device}, {workplace.threads} threads"
    console.print(f"To do: about {_duration(total) or '0 s'} on this machine ({hardware}).")


def _state(
    unit: UnitSpec, estimator: Estimator, failed: Mapping[str, str], workplace: Workplace
) -> tuple[str, float | None, str]:
    """State, expected seconds and a note for one unit."""
    from bench.errors import BenchError
    from bench.spec import key
    from bench.store import exists

    if exists(workplace.results, unit):
        return "done", None, ""
    state = "failed" if key(unit) in failed else "to do"
    note = failed.get(key(unit), "")
    try:
        expected = estimator.expect(unit)
    except BenchError as error:
        return state, None, note or str(error)
    if expected is None:
        return state, None, note
    return state, expected.seconds, note or f"from {expected.basis}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
