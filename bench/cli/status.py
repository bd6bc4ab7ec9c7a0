"""`bench status`: what runs on a results folder, from another terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli.options import ResultsOption, check_results
from bench.cli.screen import echo, make_console

if TYPE_CHECKING:
    from rich.console import Console

    from bench.execution.status import FolderStatus

INTERVAL = 2.0  # seconds between two looks
PLAIN = 10.0  # seconds between two lines where the output is no terminal, if nothing has ended


def status(
    results: ResultsOption = Path("results"),
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again and again, until nothing runs any more.")
    ] = False,
    format_: Annotated[
        Literal["text", "json"],
        typer.Option("--format", "-f", help="text, or json: one object; with --watch, one a line."),
    ] = "text",
) -> None:
    """Show what runs on a results folder, on this machine or others, and how far each study is.

    Reads only: it disturbs nothing, and shows studies that have ended too.

    Example: bench status --watch
    """
    from bench.cli.status_text import as_json, show
    from bench.execution.status import look

    check_results(results, needed=True)
    console = make_console()
    if not watch:
        found = look(results)
        if format_ == "json":
            echo(as_json(found, results, indent=1))
        else:
            show(found, results, console)
        return
    if format_ == "json":
        _print_objects(results)
    elif console.is_terminal:
        _redraw(results, console)
    else:
        _print_lines(results)


def _redraw(results: Path, console: Console) -> None:
    """The same screen again and again; what is last there stays."""
    import time

    from rich.live import Live

    from bench.cli.status_text import Screen, ending
    from bench.execution.status import look

    found = look(results)
    with Live(Screen(found, results), console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while found.runs:
            time.sleep(INTERVAL)
            found = look(results)
            live.update(Screen(found, results), refresh=True)
    console.print(ending(found), markup=False)


def _print_lines(results: Path) -> None:
    """A line a study whenever a unit has ended, and every few seconds in between."""
    import time

    from bench.cli.status_text import ending, summary
    from bench.execution.status import look

    said: dict[str, tuple[object, float]] = {}
    found = look(results)
    while True:
        now = time.monotonic()
        for study in found.studies:
            state, (before, then) = (study.done, study.failed, study.runs), said.get(study.name, (None, 0.0))
            news = state != before and (study.runs or before is not None)
            if news or (study.runs and now - then >= PLAIN):
                echo(f"{time.strftime('%H:%M:%S')}  {summary(study)}")
                said[study.name] = (state, now)
        if not found.runs:
            break
        time.sleep(INTERVAL)
        found = look(results)
    echo(ending(found))


def _print_objects(results: Path) -> None:
    """A line of JSON for each look that finds something else."""
    import time

    from bench.cli.status_text import as_json
    from bench.execution.status import look

    while True:
        found: FolderStatus = look(results)
        echo(as_json(found, results))
        if not found.runs:
            return
        time.sleep(INTERVAL)
