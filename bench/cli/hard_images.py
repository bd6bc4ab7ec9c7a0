"""`bench hard-images`: test images that all methods get wrong, confidently, or disagree on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.options import DatasetsOption, ResultsOption, check_results
from bench.cli.question import QuestionOptions
from bench.cli.screen import contain, echo, installed_components, make_console


def hard_images(
    results: ResultsOption = Path("results"),
    dataset: DatasetsOption = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Images of each list, at most.")] = 10,
    format_: Annotated[
        Literal["text", "csv", "json"],
        typer.Option(
            "--format", "-f", help="text; csv or json with every tested image, whatever --most says."
        ),
    ] = "text",
) -> None:
    """List the test images that every method gets wrong, the most confident errors, and the most disagreed.

    The predictions are those of the test parts, over all rounds: each by a model that did not train on the
    image. `bench report` shows the images themselves, where their licence allows it.

    Example: bench hard-images --dataset busi --format csv > busi-images.csv
    """
    from bench.cli.hard_images_text import as_csv, as_json, show
    from bench.comparison.hard_images import read_hard_images

    registry = contain(installed_components())
    check_results(results, needed=True)
    _, tables = QuestionOptions(results=results, dataset=dataset).tables(registry)
    found = [read_hard_images(table.where, table.methods) for table in tables]
    if format_ == "text" and found:
        show(make_console(), found, most)
    elif format_ != "text":
        echo((as_csv if format_ == "csv" else as_json)(found), nl=False)
    if not found:
        echo(f"no finished runs in {results}; make some (`bench run --help`)", err=True)
