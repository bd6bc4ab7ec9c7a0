"""`bench run`: do a study's units, then show its tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    INTERRUPTED,
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

    from bench.spec import UnitSpec
    from bench.study import Plan
    from bench.types import Executor, Outcome, Workplace


def run(
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
    executor: Annotated[
        str, typer.Option(help="How units are worked through [default: local, or packed with --jobs].")
    ] = "",
    jobs: Annotated[
        int, typer.Option(min=1, help="Units at once, each in a process; on a GPU as memory allows.")
    ] = 1,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Use torch.compile: minutes to start, then perhaps faster.")
    ] = False,
) -> None:
    """Pretrain, fine-tune and compare. The same command again goes on where this one stopped.

    Example: bench run --dataset busi --strategies egmae,imagenet
    """
    from bench.cli.plan import lay_out
    from bench.plugins import catalog
    from bench.store import exists

    warn_of_problems(catalog())
    names = {
        "datasets": dataset,
        "models": models,
        "baselines": baselines,
        "strategies": strategies,
        "ensembles": ensembles,
    }
    asked = read_options(study, names, protocol, rounds, set_)
    worker: Executor = catalog().get("executors", executor or ("packed" if jobs > 1 else "local"))
    workplace = make_workplace(data, results, device, threads, asked)
    each = threads or max(1, workplace.threads // jobs)
    workplace = replace(workplace, threads=each, jobs=jobs, compile=compile_)
    console = make_console()
    outcomes: list[Outcome] = []
    try:
        plan = lay_out(asked, workplace, console, manifests(split), strict)
        todo = [unit for unit in plan.units if not exists(results, unit)]
        console.print(
            f"{_units(len(plan.units))}: {len(plan.units) - len(todo)} done, {len(todo)} to do "
            f"({workplace.device}, {workplace.threads} threads)"
        )
        _work(worker, todo, workplace, console, outcomes)
    except KeyboardInterrupt:
        done = sum(outcome.status == "done" for outcome in outcomes)
        typer.echo(
            f"interrupted; {_units(done)} finished in this session, kept. "
            "Run the same command again to go on from the last checkpoint.",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None
    _conclude(plan, workplace, outcomes, console)


def _work(
    worker: Executor,
    todo: list[UnitSpec],
    workplace: Workplace,
    console: Console,
    outcomes: list[Outcome],
) -> None:
    """Work through the units; `outcomes` is filled as they end, so that an interruption can count them."""
    from bench.cli.progress import display
    from bench.run import execute

    with display(console, len(todo)) as shown:
        for outcome in worker.map(execute, todo, workplace, shown.report):
            outcomes.append(outcome)
            shown.ended(outcome)


def _conclude(plan: Plan, workplace: Workplace, outcomes: list[Outcome], console: Console) -> None:
    """The tables of this study; exit code 1 if a unit failed."""
    from bench.cli.table import print_tables
    from bench.spec import key

    keys = {key(unit) for unit in plan.units}
    print_tables(workplace.results, console, keep=lambda record: record.key in keys)
    bad = [outcome for outcome in outcomes if outcome.status != "done"]
    if bad:
        typer.echo(f"{_units(len(bad))} did not finish; run the same command again to retry them.", err=True)
        raise typer.Exit(1)


def _units(count: int) -> str:
    return f"{count} unit{'s' * (count != 1)}"
