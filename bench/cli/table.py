"""`bench table`: comparison tables from stored results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import complete
from bench.cli.options import DatasetsOption, Names, ResultsOption
from bench.cli.screen import installed_components, make_console, warn


def table(
    results: ResultsOption = Path("results"),
    dataset: DatasetsOption = None,
    metrics: Annotated[
        Names,
        typer.Option(help="Columns, comma-separated. `bench list metrics`.", autocompletion=complete.metrics),
    ] = None,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="How to render [default: the plugins' default one]. `bench list reporters`.",
            autocompletion=complete.formats,
        ),
    ] = "",
    reported: Annotated[
        bool, typer.Option("--reported", help="Put published numbers for the same data set beside ours.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to a file instead of the screen.")
    ] = None,
) -> None:
    """Compare what has been run. Scores are computed from stored predictions, so this takes seconds.

    Example: bench table --dataset busi --metrics accuracy,auc --format markdown
    """
    from rich.text import Text

    from bench.comparison.reporters import choose_reporter, render
    from bench.comparison.tables import choose_metrics, tables_of
    from bench.results.store import scan
    from bench.study.study import split_names

    registry = installed_components()
    reporter = choose_reporter(registry, format_)
    columns = split_names(metrics)
    choose_metrics(registry, columns)  # an unknown name is said before anything is read
    records, warnings = scan(results)
    compared = tables_of(
        records, results, columns, datasets=split_names(dataset), reported=reported, registry=registry
    )
    warn([*warnings, *compared.warnings])
    if not compared.tables:
        typer.echo(
            f"no finished runs in {results}; make some (`bench run --help`), or name their folder by "
            "--results",
            err=True,
        )
        return
    text = render(reporter, compared.tables, registry)
    if output is None:
        typer.echo(text, nl=False)
    else:
        _write(output, Text.from_ansi(text).plain.rstrip("\n") + "\n" if "\x1b" in text else text)


def _write(path: Path, text: str) -> None:
    from bench.errors import StoreError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror}); choose another --output") from None
    make_console(stderr=True).print(f"written: {path}", markup=False)
