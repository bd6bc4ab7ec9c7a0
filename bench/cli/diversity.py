"""`bench diversity`: how differently methods err, and how much combining them could gain at most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli.options import DatasetsOption, ResultsOption, check_results, given_names
from bench.cli.screen import contain, echo, installed_components, make_console, warn

if TYPE_CHECKING:
    from bench.comparison.compare import Table
    from bench.comparison.diversity import Diversity


def diversity(
    methods: Annotated[
        list[str] | None,
        typer.Argument(
            help="Rows of `bench table`, two or more [default: all but ensembles].", show_default=False
        ),
    ] = None,
    results: ResultsOption = Path("results"),
    dataset: DatasetsOption = None,
    format_: Annotated[
        Literal["text", "csv", "json"], typer.Option("--format", "-f", help="text; csv or json.")
    ] = "text",
) -> None:
    """Say how differently methods err on test images: disagreement, Q, error correlation, double fault.

    Beside that stand the oracle (an image counts if any of them gets it right), the best of them, and the
    ensembles of them that are stored.

    Example: bench diversity egmae mae imagenet --dataset busi
    """
    from bench.cli.diversity_text import as_csv, as_json, show
    from bench.comparison.compare import titled_tables
    from bench.comparison.scored import score_records
    from bench.comparison.tables import of_datasets
    from bench.results.store import scan

    registry = contain(installed_components())
    check_results(results, needed=True)
    records, warnings = scan(results)
    chosen = of_datasets(records, given_names("--dataset", dataset), results)
    units, damage = score_records(chosen, [], registry, results)
    warn([*warnings, *damage])
    found = _measured(titled_tables(units), results, methods or ())
    if format_ == "text" and found:
        show(make_console(), found)
    elif format_ != "text":
        echo((as_csv if format_ == "csv" else as_json)(found), nl=False)
    if not found:
        echo(f"no finished runs in {results}; make some (`bench run --help`)", err=True)


def _measured(tables: Sequence[Table], results: Path, names: Sequence[str]) -> list[Diversity]:
    """Of every table that has the named methods. What others lack is said on stderr; raises the first such
    error where no table can be measured."""
    from bench.comparison.diversity import chosen_diversity
    from bench.comparison.methods import find_method
    from bench.errors import ConfigError, UnknownName

    found, problems = [], []
    for table in tables:
        try:
            found.append(chosen_diversity(table.where, table.methods, results, names))
        except ConfigError as error:  # a row that it lacks, too
            problems.append(error)
    if not found and problems:
        for name in names:
            find_method([method for table in tables for method in table.methods], name)
        raise problems[0]
    warn(f"left out: {error}" for error in problems if not isinstance(error, UnknownName))
    return found
