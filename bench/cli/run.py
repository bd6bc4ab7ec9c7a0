"""`bench run`: do a study's units, then show its tables."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import complete
from bench.cli.options import EnvironmentOptions, StudyOptions, with_options
from bench.cli.screen import contain, echo, installed_components, make_console, say, share, units, warn
from bench.errors import ConfigError
from bench.parsing import brief

if TYPE_CHECKING:
    from pathlib import Path

    from bench.execution.plan import Plan
    from bench.interfaces.executor import Outcome

AUTO = "auto"


@with_options
def run(
    study: StudyOptions,
    where: EnvironmentOptions,
    executor: Annotated[
        str,
        typer.Option(
            help="How units are worked through [default: the plugins' default one].",
            autocompletion=complete.executors,
        ),
    ] = "",
    jobs: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="Units at once, each in a process; auto: as many as cores and memory carry, one a GPU.",
        ),
    ] = AUTO,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Work in this process, as a debugger needs it.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Seconds after which a unit is given up "
            "[default: when it is silent for half an hour and twice as long as all it has done].",
            show_default=False,
        ),
    ] = 0.0,
    max_failures: Annotated[
        int,
        typer.Option(
            min=0, help="Begin no further unit after so many failed [default: no limit].", show_default=False
        ),
    ] = 0,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Use torch.compile: minutes to start, then perhaps faster.")
    ] = False,
    no_graph: Annotated[
        bool, typer.Option("--no-graph", help="Do ordinary steps on a GPU, not CUDA graphs ($BENCH_GRAPH=0).")
    ] = False,
) -> None:
    """Pretrain, fine-tune and compare. The same command again goes on where this one stopped.

    Example: bench run --dataset busi --strategies egmae,imagenet
    """
    from bench.cli.logs import study_log
    from bench.cli.plans import show_plan
    from bench.cli.progress import display
    from bench.execution.follow import check_trackers, followed
    from bench.execution.plan import choose_executor, keeping
    from bench.execution.status_file import told
    from bench.execution.verdict import unchecked
    from bench.execution.work import work
    from bench.interfaces.executor import both

    registry = installed_components()
    asked = study.study(registry)
    environment = where.environment(
        jobs=_number_of(jobs), compile=compile_, graph=not no_graph, timeout=timeout
    )
    devices = environment.devices or (environment.device,)
    worker = choose_executor(registry, executor, environment, in_process)
    if not worker.parallel:  # a unit has all cores to itself
        environment = replace(environment, jobs_given=True)
    trackers = check_trackers(asked, registry)
    components = registry if worker.in_process else contain(registry, timeout)
    console = make_console(stderr=True)  # standard output has the tables alone
    warn(dict.fromkeys(line for device in devices for line in unchecked(device)))
    outcomes: list[Outcome] = []
    try:
        with study_log(asked, environment.results) as log, told(asked, environment.scratch) as status:
            begin = partial(worker.prepare, environment) if worker.prepare else None
            plan = show_plan(asked, environment, components, study, console, begin, status.report)
            log.begun(plan, devices)
            to_do = plan.to_do
            console.print(
                f"{units(len(plan.units))}: {len(plan.units) - len(to_do)} done, {len(to_do)} to do "
                f"({', '.join(devices)}, {share(plan.session.environment)})"
            )
            if again := [unit for unit in to_do if keeping(plan.session.environment, unit)]:
                say(console, f"{units(len(again))} of these are done, and done again to keep their weights")
            with (
                followed(plan, to_do, status, trackers) as following,
                display(console, to_do, plan.names) as shown,
                closing(
                    work(plan, worker, both(shown.report, following.report), max_failures=max_failures)
                ) as ended,
            ):
                for outcome in ended:
                    outcomes.append(outcome)
                    log.ended(outcome)
                    shown.ended(outcome)
                    following.ended(outcome)
    except KeyboardInterrupt:
        done = sum(outcome.status == "done" for outcome in outcomes)
        echo(f"{units(done)} finished in this session, kept; checkpoints too", err=True)
        raise
    _tell_kept(plan)
    _conclude(plan, outcomes, len(to_do), log.path)


def _number_of(jobs: str) -> int | None:
    """Units at once; None for "auto". Raises ConfigError."""
    if jobs == AUTO:
        return None
    if not jobs.isdecimal():
        raise ConfigError(f"--jobs {brief(jobs)}: give a number from 1, or {AUTO}")
    return int(jobs)


def _tell_kept(plan: Plan) -> None:
    """Write the cards of what this study keeps, and say how much that is."""
    from rich.filesize import decimal

    from bench.kept.card import write_cards
    from bench.results import kept

    environment = plan.session.environment
    if not environment.keep:
        return
    results = environment.results
    write_cards(results, plan.units, plan.session.registry)
    folders = [kept.path_of(results, unit) for unit in plan.units if kept.kind_of(unit) in environment.keep]
    there = [folder for folder in folders if folder.is_dir()]
    size = decimal(sum(map(kept.bytes_in, there)))
    echo(f"kept: the weights of {units(len(there))}, {size}, in {results / kept.FOLDER}", err=True)


def _conclude(plan: Plan, outcomes: list[Outcome], to_do: int, log: Path) -> None:
    """The tables of this study; exit code 1 if a unit failed."""
    from bench.comparison.build import Shown
    from bench.comparison.curve import has_shares
    from bench.comparison.reporters import render
    from bench.comparison.tables import tables_of
    from bench.errors import PluginError
    from bench.results.store import scan

    session, study = plan.session, plan.study
    keys = {unit.key for unit in plan.units}
    records, warnings = scan(session.environment.results)
    of_study = [record for record in records if record.key in keys]
    compared = tables_of(of_study, session.environment.results, registry=session.registry)
    warn([*warnings, *compared.warnings])
    tables = list(compared.tables)
    if has_shares([record.spec for record in of_study]):
        metric = study.evidence.metric or next(c.name for table in tables for c in table.columns)
        by_share = Shown(by_share=True)
        tables += tables_of(
            of_study, session.environment.results, [metric], registry=session.registry, shown=by_share
        ).tables
    reporter = session.registry.reporters.first(lambda reporter: reporter.default)
    broken = ""
    if tables and reporter:
        try:
            echo(render(reporter, tables, session.registry), nl=False)
        except PluginError as error:
            broken = str(error)
    failed = [outcome for outcome in outcomes if outcome.status != "done"]
    if failed:
        left = to_do - len(outcomes)
        unbegun = f", {left} were not begun (--max-failures)" if left else ""
        echo(
            f"{units(len(failed))} did not finish{unbegun}; run the same command again to retry them. "
            f"The log has what failed and where: {log}",
            err=True,
        )
    if broken:
        raise PluginError(broken)
    if failed or plan.unlisted:
        raise typer.Exit(1)
