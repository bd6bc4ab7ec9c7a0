"""`bench compare`: whether one method is better than another, from stored predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import complete
from bench.cli.options import DatasetsOption, ResultsOption, check_results, given_names
from bench.cli.screen import contain, echo, installed_components, warn


def compare(
    first: Annotated[str, typer.Argument(help="A row of `bench table`, say egmae or convnext_tiny.egmae.")],
    second: Annotated[str, typer.Argument(help="Another row.")],
    results: ResultsOption = Path("results"),
    dataset: DatasetsOption = None,
    metric: Annotated[
        str,
        typer.Option(
            help="What is compared [default: the first of tables].", autocompletion=complete.metrics
        ),
    ] = "",
    margin: Annotated[
        float, typer.Option(min=0.0, help="Within which methods are practically equal: 0.01 is one point.")
    ] = 0.01,
) -> None:
    """Say whether one method is better than another, how sure that is, and what it rests on.

    Example: bench compare egmae imagenet --metric auc
    """
    from bench.comparison.compare import compare_methods
    from bench.comparison.sentences import paragraph
    from bench.comparison.tables import choose_metrics
    from bench.results.store import scan

    registry = contain(installed_components())
    check_results(results, needed=True)
    chosen = choose_metrics(registry, [metric] if metric else [])[0]
    records, warnings = scan(results)
    compared = compare_methods(
        records, results, first, second, chosen, margin, given_names("--dataset", dataset), registry
    )
    warn([*warnings, *compared.warnings])
    for one in compared.found:
        if one.difference is None:
            echo(
                f"{one.where}: the two share no round; `bench run` of both with the same --rounds mends that"
            )
        else:
            echo(paragraph(one.where, chosen, one.difference, one.basis))
