"""Showing a plan: what the splits hold, and which cells cannot exist."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.cli.screen import echo
from bench.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from bench.cli.options import StudyOptions
    from bench.execution.plan import Plan, Splits
    from bench.identity import Ref
    from bench.interfaces.executor import Environment, Progress, Report
    from bench.registry import Registry
    from bench.study.study import Study


def show_plan(
    study: Study,
    environment: Environment,
    registry: Registry,
    options: StudyOptions,
    console: Console,
    begin: Callable[[], None] | None = None,
    also: Report | None = None,
) -> Plan:
    """Plan a study, showing progress on stderr, and on `console` its splits and cells that cannot exist.

    `begin` is called when images are new, before they are decoded: so there will be work. `also` hears what
    is shown.
    """
    from bench.cli.progress import display
    from bench.cli.screen import make_console
    from bench.execution.plan import make_plan
    from bench.execution.session import Session
    from bench.interfaces.executor import both

    session = Session(replace(environment, asked=study.asked, keep=study.keep), registry)
    with display(make_console(stderr=True)) as shown:
        shows = both(shown.report, also) if also else shown.report
        report = _begins(begin, shows) if begin else shows
        plan = make_plan(study, session, report, manifests=options.split or (), strict=options.strict)
    for failed in plan.unlisted:
        echo(one_line(f"FAILED  {failed.label}: {failed.reason}"), err=True)
    for dataset in dict.fromkeys(ref for ref, _ in plan.splits):
        print_counts(dataset, plan.splits, console)
    for cell in plan.not_possible:
        console.print(f"n/a  {cell.label}: {cell.reason}", markup=False)
    for note in plan.notes:
        console.print(f"note: {note}", markup=False)
    return plan


def _begins(begin: Callable[[], None], report: Report) -> Report:
    """A report that calls `begin` at the first news of images that are decoded."""
    called = False

    def tell(news: Progress) -> None:
        nonlocal called
        if news.stage == "decode" and not called:
            called = True
            begin()
        report(news)

    return tell


def print_counts(dataset: Ref, splits: Splits, console: Console) -> None:
    """Images and groups per part and class: round 0 in full, then what is noted about any round, and what
    the audit says."""
    from rich.table import Table as Grid
    from rich.text import Text  # class names are those of folders: brackets in them are not markup

    counts = splits[dataset, 0].counts()
    grid = Grid(title=Text(f"{dataset.name}: images (groups) of round 0"), title_justify="left")
    grid.add_column("class")
    for part in counts:
        grid.add_column(part, justify="right")
    for name in next(iter(counts.values())):
        cells = (counts[part][name] for part in counts)
        grid.add_row(Text(name), *(f"{images} ({groups})" for images, groups in cells))
    totals = (
        [sum(column) for column in zip(*by_class.values(), strict=True)] for by_class in counts.values()
    )
    grid.add_section()
    grid.add_row("all", *(f"{images} ({groups})" for images, groups in totals))
    console.print(grid)
    for (ref, round_), split in splits.items():
        if ref == dataset:
            for note in split.notes:
                console.print(f"note: {dataset.name} round {round_}: {note}", markup=False)
            if split.verdict and split.verdict.leaks:
                console.print(f"LEAK: {dataset.name} round {round_}: {split.verdict.text}", markup=False)
