"""`bench subgroups`: a method's scores on parts of the test images, from stored predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli import complete
from bench.cli.options import (
    DataOption,
    DatasetsOption,
    MarginOption,
    MetricOption,
    Names,
    ResultsOption,
    SetLocalOption,
    check_results,
)
from bench.cli.question import QuestionOptions
from bench.cli.screen import contain, echo, installed_components, make_console, warn

if TYPE_CHECKING:
    from bench.cli.subgroups_text import SubgroupTable
    from bench.comparison.compare import Question, Table
    from bench.comparison.methods import Method
    from bench.comparison.partition import Partition
    from bench.interfaces.executor import Report
    from bench.registry import Registry

KNOWN = ("class", "duplicate", "size", "source")


def subgroups(
    method: Annotated[
        str,
        typer.Argument(
            help="A row of `bench table`, say egmae or convnext_tiny.egmae [default: all].",
            show_default=False,
        ),
    ] = "",
    by: Annotated[
        str,
        typer.Option(
            help="What divides the test images: their class, whether they have a duplicate, their size, "
            "their source, or a column of a csv file that names images by id or path.",
            metavar="class|duplicate|size|source|FILE.csv[:COLUMN]",
            autocompletion=complete.subgroups,
        ),
    ] = "class",
    results: ResultsOption = Path("results"),
    dataset: DatasetsOption = None,
    metric: MetricOption = "",
    margin: MarginOption = None,
    data: DataOption = None,
    set_: SetLocalOption = None,
    format_: Annotated[
        Literal["text", "json"], typer.Option("--format", "-f", help="text, or json with every number.")
    ] = "text",
) -> None:
    """Say how a method does on parts of the test images, and whether it differs from the others.

    Example: bench subgroups egmae --by size
    """
    from bench.cli.progress import display
    from bench.cli.subgroups_text import as_json, show

    registry = contain(installed_components())
    check_results(results, needed=True)
    divide = _division(by, data, results, registry, set_)
    asked = QuestionOptions(results=results, dataset=dataset, metric=metric, margin=margin)
    question, tables = asked.tables(registry)
    with ExitStack() as stack:
        report = stack.enter_context(display(make_console(stderr=True))).report
        found = _scored(tables, method, divide, question, results, registry, report)
    if format_ == "json":
        echo(as_json(found, question))
    elif found:
        show(make_console(), found, question)
    else:
        echo(f"no finished runs in {results}; make some (`bench run --help`)", err=True)


Divide = Callable[["Sequence[Method]", "Report"], "tuple[Partition, list[str]]"]
"""The subgroups of the test images of rows of one table, and warnings."""


def _division(by: str, data: Path | None, results: Path, registry: Registry, set_: Names) -> Divide:
    """What `--by` means. A file is read now, so that what is wrong with it is said before anything else."""
    from bench.cli.stored_images import image_session, located
    from bench.comparison.evidence import read_sample
    from bench.comparison.partition import by_class, by_duplicate

    session = image_session(data, results, registry) if by in ("size", "source") else None
    file = None
    if by not in KNOWN:
        from bench.comparison.subgroup_file import read_subgroup_file, split_column

        _check_is_file(by)
        file = read_subgroup_file(*split_column(by))

    def divide(methods: Sequence[Method], report: Report) -> tuple[Partition, list[str]]:
        rounds = list(read_sample(methods, results).images.values())
        ids = list(dict.fromkeys(id_ for one in rounds for id_ in one.ids))
        if file is not None:
            from bench.comparison.subgroup_file import match

            return match(file, ids)
        if session is not None:
            from bench.cli.image_subgroups import by_size, by_source

            dataset = located(methods[0].units[0].spec.dataset, set_, registry)
            if by == "size":
                return by_size(methods, ids, session, dataset, report), []
            return by_source(ids, session, dataset), []
        return (by_class(rounds) if by == "class" else by_duplicate(methods, ids, results)), []

    return divide


def _check_is_file(by: str) -> None:
    from bench.errors import UnknownName

    looks_like_file = ".csv" in by.lower() or "/" in by or Path(by).is_file()
    if not looks_like_file:
        raise UnknownName("--by", by, [*KNOWN, "FILE.csv"])


def _scored(
    tables: Sequence[Table],
    method: str,
    divide: Divide,
    question: Question,
    results: Path,
    registry: Registry,
    report: Report,
) -> list[SubgroupTable]:
    """The chosen rows of each table. Where one table's images cannot be divided, the others are all the same,
    with a warning. Raises UnknownName for a method that no table has."""
    from bench.cli.subgroups_text import SubgroupTable
    from bench.comparison.methods import find_method
    from bench.comparison.subgroups import score_subgroups
    from bench.errors import BenchError

    chosen = [(table.where, methods) for table in tables if (methods := _rows(table, method))]
    if method and tables and not chosen:
        find_method([each for table in tables for each in table.methods], method)
    found, problems = [], []
    for where, methods in chosen:
        try:
            partition, remarks = divide(methods, report)
        except BenchError as error:
            problems.append(error)
            continue
        warn(remarks)
        margin, metric = question.declared.margin, question.metric
        scores = [score_subgroups(row, results, partition, metric, margin, registry) for row in methods]
        found.append(SubgroupTable(where=where, partition=partition, rows=tuple(scores)))
    if problems and not found:
        raise problems[0]
    warn(f"{error} (left out)" for error in problems)
    return found


def _rows(table: Table, method: str) -> list[Method]:
    from bench.comparison.methods import find_method
    from bench.errors import UnknownName

    if not method:
        return list(table.methods)
    try:
        return [find_method(table.methods, method)]
    except UnknownName:
        return []
