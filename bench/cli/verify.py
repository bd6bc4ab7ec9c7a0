"""`bench verify`: is every stored result what was stored?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import ResultsOption, check_results
from bench.cli.screen import echo, make_console, say
from bench.text import one_line

if TYPE_CHECKING:
    from bench.results.verify import Verification


def verify(
    folder: Annotated[
        Path | None,
        typer.Argument(help="The results folder [default: that of --results].", show_default=False),
    ] = None,
    results: ResultsOption = Path("results"),
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Compute all scores and ensembles again, by another way.")
    ] = False,
) -> None:
    """Check every stored result: records, checksums, predictions against splits, audits, stored images.

    One line for each problem, with its remedy; exit code 1 if there is any. Nothing is changed.

    Example: bench verify results --recompute
    """
    from bench.results.verify import Verification, verify_results

    place = results if folder is None else folder
    check_results(place, "--results" if folder is None else "FOLDER")
    found = Verification()
    records = verify_results(place, found)
    if recompute:
        from bench.cli.screen import contain, installed_components
        from bench.results.recompute import recompute as compute_again

        compute_again(place, records, contain(installed_components()), found)
    console = make_console()
    for problem in found.problems:
        echo(one_line(str(problem)))
    say(console, f"{place}: {_summary(found)}")
    if found.problems:
        raise typer.Exit(1)


def _summary(found: Verification) -> str:
    checked = ", ".join(f"{count} {what}" for what, count in found.counts.items()) or "nothing to check"
    count = len(found.problems)
    problems = f"{count} problem{'s' * (count != 1)}" if count else "no problem"
    return f"{checked}; {problems}"
