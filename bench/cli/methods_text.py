"""`bench methods-text`: the methods section of a paper from stored records, and BibTeX of what it cites."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import complete
from bench.cli.options import DatasetsOption, Names, ResultsOption, check_results, given_names
from bench.cli.screen import contain, echo, installed_components, warn, write_output
from bench.text import one_line


def methods_text(
    results: ResultsOption = Path("results"),
    dataset: DatasetsOption = None,
    metrics: Annotated[
        Names,
        typer.Option(
            help="Metrics of your tables, comma-separated [default: those of `bench table`].",
            autocompletion=complete.metrics,
        ),
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="text, markdown or latex [default: text].")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write to a file; its suffix chooses the format (.txt, .md, .tex)."
        ),
    ] = None,
    bib: Annotated[
        Path | None,
        typer.Option("--bib", help="Write the BibTeX to this file [default: below the text]."),
    ] = None,
) -> None:
    """Write the methods section of a paper: what the records say, and what is for you to write.

    Example: bench methods-text --dataset busi --format latex -o methods.tex --bib references.bib
    """
    from bench.comparison.tables import choose_metrics
    from bench.manuscript.document import FORMATS, choose_format
    from bench.manuscript.facts import gather
    from bench.manuscript.methods import methods_text as written
    from bench.results.store import scan

    registry = contain(installed_components())
    check_results(results, needed=False)
    form = choose_format(format_, output, FORMATS)
    chosen = choose_metrics(registry, given_names("--metrics", metrics))
    names = given_names("--dataset", dataset)
    records, warnings = scan(results)
    material = gather(records, results, chosen, registry, names)
    warn([*warnings, *material.warnings])
    if not material.comparisons:
        echo(
            f"no finished runs in {one_line(str(results))}; make some (`bench run --help`), "
            "or name their folder by --results",
            err=True,
        )
        return
    text = written(material, form, with_works=bib is None)
    if bib is not None:
        write_output(bib, str(material.works), "--bib")
    write_output(output, text, "--output")
