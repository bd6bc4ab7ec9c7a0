"""`bench check-claims`: what a published table's own numbers say about its claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli import complete
from bench.cli.options import Names, ResultsOption, check_results, given_names
from bench.cli.screen import echo, make_console, warn

if TYPE_CHECKING:
    from bench.comparison.congruence import MeasuredCongruence
    from bench.comparison.published_claims import CheckedDataset
    from bench.comparison.published_table import PublishedRow

SHIPPED = "reported"
MOST_IMAGES = 10**7
MOST_ROUNDS = 1000


def check_claims(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE.csv",
            help="CSV with columns dataset, model, accuracy and possibly precision, recall, f1, f1_pr; or "
            f"{SHIPPED}: the published tables that come with bench.",
            show_default=False,
        ),
    ],
    n_test: Annotated[
        Names,
        typer.Option(
            "--n-test",
            help="Test images of a round: a number for one data set, or busi=156,covid=4233. Without it "
            "only F1 is checked: the table does not say it, and images of our own runs are split otherwise.",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        Names,
        typer.Option(
            "--dataset",
            "-d",
            help="Check these data sets of the table alone, comma-separated.",
            autocompletion=complete.datasets,
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="The row to compare with the others [default: the best of each data set].")
    ] = "",
    rounds: Annotated[
        int,
        typer.Option(
            "--rounds",
            "-r",
            min=1,
            max=MOST_ROUNDS,
            help="The accuracies are means over so many rounds of --n-test images each.",
        ),
    ] = 1,
    congruence: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of test images that two methods both predict right [default: as our own runs of the "
            "data set in --results overlap, or half].",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="Only accuracy: the share of images that a method predicts right.")
    ] = "accuracy",
    results: ResultsOption = Path("results"),
    format_: Annotated[Literal["text", "json"], typer.Option("--format", "-f")] = "text",
) -> None:
    """Check a published table: how probably is "A is better than B" false, and which of its numbers can be?

    Example: bench check-claims reported --dataset busi --n-test 156
    """
    from bench.comparison.published_claims import check_dataset
    from bench.errors import ConfigError

    if metric != "accuracy":
        raise ConfigError(
            f"--metric {metric!r}: only accuracy can be checked, because it alone is a number of images over "
            "their number; leave the option out"
        )
    check_results(results, needed=False)
    datasets = _datasets(table, given_names("--dataset", dataset))
    sizes = _sizes(given_names("--n-test", n_test), list(datasets))
    if method:
        datasets = _with_method(method, datasets)
    measured = _measured(results, sizes) if congruence is None and sizes else {}
    checked = [
        check_dataset(
            rows,
            images=sizes.get(name),
            rounds=rounds,
            method=method,
            congruence=congruence,
            measured=measured.get(name),
        )
        for name, rows in datasets.items()
    ]
    if format_ == "json":
        echo(_json(checked), nl=False)
        return
    from bench.cli.claims_text import show

    show(make_console(), checked, congruence, results)


def _datasets(table: str, chosen: Sequence[str]) -> dict[str, list[PublishedRow]]:
    """The rows of each data set, in the order of the table. Raises ConfigError or UnknownName."""
    from bench.comparison.published_table import read_published
    from bench.comparison.reported import reported_files
    from bench.errors import UnknownName

    files = reported_files() if table == SHIPPED else [Path(table)]
    datasets: dict[str, list[PublishedRow]] = {}
    for read in map(read_published, files):
        if read.percentages:
            warn([f"{read.path}: has numbers above 1; all were read as percentages"])
        for row in read.rows:
            datasets.setdefault(row.dataset, []).append(row)
    for name in chosen:
        if name not in datasets:
            raise UnknownName("data set of the table", name, datasets)
    return {name: datasets[name] for name in chosen} if chosen else datasets


def _with_method(method: str, datasets: Mapping[str, list[PublishedRow]]) -> dict[str, list[PublishedRow]]:
    """The data sets that have this method with an accuracy. Raises UnknownName if none has."""
    from bench.errors import UnknownName

    named = {
        name: rows
        for name, rows in datasets.items()
        if any(row.model == method and row.accuracy is not None for row in rows)
    }
    if not named:
        known = (row.model for rows in datasets.values() for row in rows if row.accuracy is not None)
        raise UnknownName("method of the table", method, known)
    if left_out := [name for name in datasets if name not in named]:
        warn([f"{', '.join(left_out)}: no accuracy of {method} (left out)"])
    return named


def _sizes(texts: Sequence[str], datasets: Sequence[str]) -> dict[str, int]:
    """Test images by data set. Raises ConfigError, or UnknownName for a data set that the table does not
    have."""
    from bench.errors import ConfigError, UnknownName
    from bench.parsing import brief

    sizes: dict[str, int] = {}
    for text in texts:
        name, named, number = (part.strip() for part in text.rpartition("="))
        if not (
            number.isascii() and number.isdecimal() and len(number) <= 8 and 2 <= int(number) <= MOST_IMAGES
        ):
            raise ConfigError(
                f"--n-test {brief(text)!r}: must be a number of images from 2 to {MOST_IMAGES}, or such "
                "numbers by data set like busi=156,covid=4233"
            )
        if not named:
            if len(texts) > 1 or len(datasets) > 1:
                example = ",".join(f"{each}=N" for each in datasets[:4])
                raise ConfigError(
                    f"--n-test {number}: for which of the data sets {brief(', '.join(datasets))}? Give "
                    f"--dataset NAME too, or a number for each: --n-test {example}"
                )
            name = datasets[0]
        if name not in datasets:
            raise UnknownName("data set of the table", name, datasets)
        if sizes.setdefault(name, int(number)) != int(number):
            raise ConfigError(
                f"--n-test {name}={number}: given twice; the other time {sizes[name]}; keep one"
            )
    return sizes


def _measured(results: Path, datasets: Mapping[str, int]) -> dict[str, MeasuredCongruence]:
    """Congruences of our own runs of these data sets; what cannot be read is said on stderr."""
    if not results.exists():
        return {}
    from bench.comparison.congruence import measure_congruence
    from bench.results.store import scan

    records, warnings = scan(results)
    measured, more = measure_congruence(records, datasets)
    warn([*warnings, *more])
    return measured


def _json(checked: Sequence[CheckedDataset]) -> str:
    """Everything that was found, under the names of the dataclasses' fields; numbers as shares from 0 to
    1."""
    import json
    from dataclasses import asdict

    def plain(value: object) -> float:
        return float(str(value))  # a Decimal, the only type here that json does not know

    values = [
        {
            "dataset": each.dataset,
            "images": each.images,
            "rounds": each.rounds,
            "compared": each.compared.model if each.compared else None,
            "measured": asdict(each.measured) if each.measured else None,
            "smallest": each.smallest,
            "rows": [
                {
                    "model": row.row.model,
                    "line": row.row.line,
                    **row.row.values,
                    "claim": asdict(row.claim) if row.claim else None,
                    "granularity": asdict(row.granularity) if row.granularity else None,
                    "against_harmonic_mean": dict(row.f1),
                }
                for row in each.rows
            ],
        }
        for each in checked
    ]
    return json.dumps(values, indent=2, default=plain) + "\n"
