"""`bench checklist`: a reporting checklist, filled as far as stored records go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import complete
from bench.cli.options import DatasetsOption, ResultsOption, check_results, given_names
from bench.cli.screen import contain, echo, installed_components, warn, write_output
from bench.text import one_line


def checklist(
    for_: Annotated[
        str,
        typer.Option("--for", help="Which one: claim or tripod-ai.", autocompletion=complete.checklists),
    ],
    results: ResultsOption = Path("results"),
    dataset: DatasetsOption = None,
    format_: Annotated[str, typer.Option("--format", "-f", help="text or markdown [default: text].")] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write to a file; its suffix chooses the format (.txt, .md)."),
    ] = None,
) -> None:
    """Fill a reporting checklist from stored records, with links; the rest is for you to write.

    Example: bench checklist --for claim --dataset busi -o claim.md
    """
    from bench.comparison.tables import choose_metrics
    from bench.manuscript.checklist import read_checklist
    from bench.manuscript.checklist_text import SUFFIXES, checklist_text
    from bench.manuscript.document import choose_format
    from bench.manuscript.facts import gather
    from bench.manuscript.fill import fill
    from bench.results.store import scan

    asked = read_checklist(for_)
    form = choose_format(format_, output, SUFFIXES)
    registry = contain(installed_components())
    check_results(results, needed=False)
    names = given_names("--dataset", dataset)
    records, warnings = scan(results)
    material = gather(records, results, choose_metrics(registry, ()), registry, names)
    warn([*warnings, *material.warnings])
    if not material.comparisons:
        echo(
            f"no finished runs in {one_line(str(results))}, so all of it is for you to write; make some "
            "(`bench run --help`), or name their folder by --results",
            err=True,
        )
        return
    folder = Path.cwd() if output is None else output.parent
    write_output(output, checklist_text(asked, fill(asked, material), form, folder))
