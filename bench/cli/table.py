"""`bench table`: comparison tables from stored results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from bench.cli import complete
from bench.cli.options import DatasetsOption, Names, ResultsOption, check_results, given_names
from bench.cli.screen import contain, echo, installed_components, warn, write_output
from bench.text import one_line

if TYPE_CHECKING:
    from bench.comparison.tables import Compared
    from bench.interfaces.reporter import Reporter
    from bench.interfaces.rows import Uncertainty
    from bench.registry import Registry

TABLES = {"--per-class": "per class", "--by-share": "by share of labels"}


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
    uncertainty: Annotated[
        str,
        typer.Option(
            help="What stands beside a mean: its 95 % interval, the SD over rounds, or nothing.",
            autocompletion=complete.uncertainties,
            metavar="interval|sd|none",
        ),
    ] = "interval",
    ranks: Annotated[
        bool, typer.Option("--ranks", help="Where rows rank when test images and rounds are resampled.")
    ] = False,
    costs: Annotated[
        bool,
        typer.Option("--costs", help="Training seconds, images/s, latency, peak memory, energy, of records."),
    ] = False,
    why: Annotated[
        str,
        typer.Option(
            help="Where one value comes from, DATASET/ROW/METRIC: busi/egmae/auc.", show_default=False
        ),
    ] = "",
    per_class: Annotated[
        bool,
        typer.Option(
            "--per-class",
            help="A table of each class against the rest: sensitivity, specificity, PPV, NPV, AUC, AUPRC.",
        ),
    ] = False,
    by_share: Annotated[
        bool,
        typer.Option(
            "--by-share",
            help="A table of each metric with a column for each share of labels (`bench run --shares`).",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write to a file; its suffix chooses the format (.md, .html, .tex, .csv, .json).",
        ),
    ] = None,
) -> None:
    """Compare what has been run. Scores are computed from stored predictions, so this takes seconds.

    Example: bench table --dataset busi --metrics accuracy,auc --format markdown
    """
    from rich.text import Text

    from bench.comparison.build import Shown
    from bench.comparison.reporters import render
    from bench.comparison.tables import choose_metrics, tables_of
    from bench.comparison.why import explain
    from bench.results.store import scan

    registry = contain(installed_components())
    check_results(results, needed=False)
    reporter = _reporter(registry, format_, output)
    shown = Shown(
        uncertainty=cast("Uncertainty", uncertainty), ranks=ranks, costs=costs, by_share=by_share
    )  # which checks it
    if by_share:
        _refuse_with(
            "--by-share", {"--reported": reported, "--costs": costs, "--why": why, "--per-class": per_class}
        )
    columns = given_names("--metrics", metrics)
    names = given_names("--dataset", dataset)
    make: Callable[..., Compared] = partial(tables_of, reported=reported)
    if per_class:
        make = _per_class(columns, reported, why)
    else:
        choose_metrics(registry, columns)  # an unknown name is said before anything is read
    records, warnings = scan(results)
    if why:
        text, more = explain(records, results, why, registry)
        warn([*warnings, *more])
        echo(text)
        return
    compared = make(records, results, columns, datasets=names, registry=registry, shown=shown)
    warn([*warnings, *compared.warnings])
    if not compared.tables and by_share:
        echo(
            f"no finished runs in {one_line(str(results))} that differ in the share of labels alone; make "
            "some (`bench run --shares 0.1,1`), or leave out --by-share",
            err=True,
        )
        return
    if not compared.tables:
        echo(
            f"no finished runs in {one_line(str(results))}; make some (`bench run --help`), "
            "or name their folder by --results",
            err=True,
        )
        return
    text = render(reporter, compared.tables, registry)
    if output is None:
        echo(text, nl=False)
    else:
        write_output(output, Text.from_ansi(text).plain.rstrip("\n") + "\n" if "\x1b" in text else text)


def _per_class(columns: Sequence[str], reported: bool, why: str) -> Callable[..., Compared]:
    """What makes tables per class. Raises UnknownName, or ConfigError for options that they do not have."""
    from bench.comparison.one_class import choose_measures
    from bench.comparison.per_class import per_class_tables

    _refuse_with("--per-class", {"--reported": reported, "--why": why})
    choose_measures(columns)
    return per_class_tables


def _refuse_with(kind: str, others: Mapping[str, object]) -> None:
    """Raise ConfigError for an option that the tables of the option `kind` do not have."""
    from bench.errors import ConfigError

    for option, given in others.items():
        if given:
            raise ConfigError(f"{option} is not for tables {TABLES[kind]}; leave out {option} or {kind}")


def _reporter(registry: Registry, name: str, output: Path | None) -> Reporter:
    """The reporter of --format, or of the suffix of --output. Raises ConfigError where they contradict."""
    from bench.comparison.reporters import choose_reporter
    from bench.errors import ConfigError

    suffix = output.suffix.lower() if output else ""
    by_suffix = registry.reporters.first(lambda reporter: suffix in reporter.suffixes) if suffix else None
    if not name:
        return by_suffix or choose_reporter(registry)
    chosen = choose_reporter(registry, name)
    if by_suffix and by_suffix.name != chosen.name and suffix not in chosen.suffixes:
        raise ConfigError(
            f"--output {output}: {suffix} is for {by_suffix.name}, not for --format {chosen.name}; "
            "change one of them"
        )
    return chosen
