"""`bench label-noise`: images at odds with their label, from stored predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli.options import (
    DataOption,
    DatasetsOption,
    Names,
    PicturesOption,
    ResultsOption,
    SetLocalOption,
    check_results,
)
from bench.cli.question import QuestionOptions
from bench.cli.screen import contain, echo, installed_components, make_console, warn

if TYPE_CHECKING:
    from bench.comparison.compare import Table
    from bench.comparison.methods import Method
    from bench.execution.pictures import Pictured
    from bench.execution.session import Session
    from bench.interfaces.executor import Report


def label_noise(
    method: Annotated[
        str,
        typer.Argument(
            help="A row of `bench table`, say egmae or convnext_tiny.egmae [default: all but ensembles].",
            show_default=False,
        ),
    ] = "",
    results: ResultsOption = Path("results"),
    dataset: DatasetsOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A page with the pictures (.html).")
    ] = None,
    embed_pictures: PicturesOption = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Images that are shown, at most.")] = 50,
    reviewed: Annotated[
        Path | None,
        typer.Option("--reviewed", help="A new csv file of the shown images, for a person to fill in."),
    ] = None,
    data: DataOption = None,
    set_: SetLocalOption = None,
    format_: Annotated[
        Literal["text", "csv", "json"],
        typer.Option("--format", "-f", help="text; csv or json with all images, whatever --most says."),
    ] = "text",
) -> None:
    """List the images most at odds with their label, for a person to look at. No label is changed.

    The predictions are those of the test parts: each by a model that did not train on the image.

    Example: bench label-noise --dataset busi --data DIR -o busi-labels.html
    """
    from bench.cli.label_noise_page import noise_page
    from bench.cli.label_noise_text import as_csv, as_json, as_template, show
    from bench.cli.pages import check_page_path, write_whole
    from bench.cli.progress import display
    from bench.cli.stored_images import image_session
    from bench.comparison.label_noise import judge_labels

    registry = contain(installed_components())
    check_results(results, needed=True)
    if output is not None:
        check_page_path(output)
    _, tables = QuestionOptions(results=results, dataset=dataset).tables(registry)
    chosen = list(_chosen(tables, method))
    if reviewed is not None:
        _check_template(reviewed, chosen)
    found = [judge_labels(table.where, table.methods, results) for table in chosen]
    if format_ == "text" and found:
        show(make_console(), found, most)
    elif format_ != "text":
        echo((as_csv if format_ == "csv" else as_json)(found), nl=False)
    if not found:
        echo(f"no finished runs in {results}; make some (`bench run --help`)", err=True)
        return
    console = make_console(stderr=True)
    if output is not None:
        session = image_session(data, results, registry)
        with ExitStack() as stack:
            report = stack.enter_context(display(console)).report
            pictured = [_pictured(t.methods, session, set_, embed_pictures, report) for t in chosen]
        warn(dict.fromkeys(str(each.problem) for each in pictured if each.problem))
        size = write_whole(output, noise_page(found, pictured, most))
        console.print(f"written: {output} ({size})", markup=False)
    if reviewed is not None:
        write_whole(reviewed, as_template(found[0].doubts[:most]), "--reviewed")
        console.print(f"written: {reviewed}", markup=False)
        console.print("fill in group or exclude (yes) where you decide, and delete the other lines")


def _chosen(tables: Sequence[Table], name: str) -> Iterator[Table]:
    """The tables with the rows whose predictions are used: the named one; else all but ensembles, which say
    what their members say. Raises UnknownName for a method that no table has."""
    from bench.comparison.methods import find_method
    from bench.errors import UnknownName

    some = False
    for table in tables:
        rows = [row for row in table.methods if not row.is_ensemble] or table.methods
        try:
            rows = [find_method(table.methods, name)] if name else rows
        except UnknownName:
            continue
        some = True
        yield table._replace(methods=rows)
    if name and tables and not some:
        find_method([row for table in tables for row in table.methods], name)


def _check_template(path: Path, tables: Sequence[Table]) -> None:
    """Raise ConfigError for a file that is there, which may hold a person's decisions, of several data sets,
    or of one whose test images are another's."""
    from bench.errors import ConfigError
    from bench.interfaces.selection import external_name

    if path.exists():
        raise ConfigError(
            f"--reviewed {path}: is there already; name a new file, so that no decision is lost"
        )
    others = [external_name(table.methods[0].units[0].spec.dataset.params) for table in tables]
    if any(others):
        raise ConfigError(
            f"--reviewed: the images that were tested on are those of {', '.join(filter(None, others))}, for "
            "which no file can decide here; leave it away"
        )
    if len(tables) > 1:
        where = ", ".join(table.where for table in tables)
        raise ConfigError(
            f"--reviewed: a file is of one data set and protocol, and these results have {where}; "
            "name one by --dataset, or keep the results of each protocol in a folder of its own (--results)"
        )


def _pictured(
    methods: Sequence[Method], session: Session, set_: Names, asked: bool | None, report: Report
) -> Pictured:
    """The images of one table, if they may be shown and are there. Raises why they are not if the user asked
    for pictures; else the page has none, and says why."""
    from bench.cli.stored_images import located
    from bench.execution.pictures import pictured

    unit = next(iter(methods[0].done.values()))
    found = pictured(unit, session, asked, lambda ref: located(ref, set_, session.registry), report)
    if asked and found.problem:
        raise found.problem
    return found
