"""`bench compare`: whether one method is better than another, from stored predictions."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import complete
from bench.cli.options import with_options
from bench.cli.question import QuestionOptions
from bench.cli.screen import contain, echo, installed_components

if TYPE_CHECKING:
    from bench.comparison.compare import Compared, Question


@with_options
def compare(
    asked: QuestionOptions,
    first: Annotated[
        str,
        typer.Argument(help="A row of `bench table`, say egmae or convnext_tiny.egmae.", show_default=False),
    ] = "",
    second: Annotated[str, typer.Argument(help="Another row.", show_default=False)] = "",
    all_: Annotated[
        bool, typer.Option("--all", help="All pairs of rows, or all rows with the baseline.")
    ] = False,
    round_: Annotated[
        int | None,
        typer.Option("--round", min=0, help="Look at this round alone.", show_default=False),
    ] = None,
    test: Annotated[
        str,
        typer.Option(
            help="A cross-check beside our own test: nb (corrected t), or mcnemar, delong (one round).",
            autocompletion=complete.crosschecks,
            metavar="nb|mcnemar|delong",
        ),
    ] = "",
    diagram: Annotated[
        Path | None,
        typer.Option(
            help="With --all and six data sets or more: draw mean ranks to this .png, .svg or .pdf.",
            show_default=False,
        ),
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="text, or json with every number.", metavar="text|json")
    ] = "text",
) -> None:
    """Say whether one method is better than another, how sure that is, and what it rests on.

    Example: bench compare egmae imagenet --metric auc
    """
    from bench.comparison.compare import compare_all, compare_pair
    from bench.comparison.crosschecked import CROSSCHECKS
    from bench.comparison.numbers import as_json
    from bench.comparison.sentences import across, matrix, p_text
    from bench.errors import ConfigError, UnknownName

    if all_ == bool(first and second) or (all_ and first):
        raise ConfigError("give two rows to compare (`bench compare egmae imagenet`), or --all")
    for option, value, known in (("test", test, ("", *CROSSCHECKS)), ("format", format_, ("text", "json"))):
        if value not in known:
            raise UnknownName(f"--{option}", value, [name for name in known if name])
    if diagram and not all_:
        raise ConfigError("--diagram goes with --all, not with two rows")
    if all_ and test:
        raise ConfigError("--test goes with two rows, not with --all")
    registry = contain(installed_components())
    question, tables = asked.tables(registry, round_)
    results = asked.results
    if diagram:
        from bench.comparison.diagram import rank_rows
        from bench.figures.critical import critical_drawing
        from bench.figures.output import check_suffix, write

        check_suffix(diagram, "--diagram")
        ranked = rank_rows(tables, question)
        write(critical_drawing(ranked, question), diagram, 6.4, option="--diagram")
        listed = ", ".join(
            f"{name} {rank:.2f}" for name, rank in sorted(ranked.ranks.items(), key=itemgetter(1))
        )
        echo(f"Mean ranks over {ranked.sets} data sets: {listed}. Friedman's test: p {p_text(ranked.p)}.")
        echo(f"written: {diagram}", err=True)
        return
    if all_:
        found = compare_all(tables, results, question, registry)
        text = "\n\n".join(matrix(compared, question) for compared in found)
    else:
        found = compare_pair(tables, results, first, second, question, registry)
        texts = [_text(compared, question, test, results) for compared in found]
        text = "\n\n".join(texts)
        if summary := across(found, first, second):
            text += f"\n\n{summary}"
    echo(as_json(found, question) if format_ == "json" else text or "nothing to compare: one row alone")


def _text(compared: Compared, question: Question, test: str, results: Path) -> str:
    from bench.comparison.crosschecked import crosscheck
    from bench.comparison.sentences import nothing_to_compare, paragraph

    if not compared.differences:
        return f"{compared.where}: {nothing_to_compare(compared, question)}"
    [one] = compared.differences
    return paragraph(compared, one, question, crosscheck(test, compared, one, question, results))
