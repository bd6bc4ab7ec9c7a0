"""`bench explain`: what pretraining shows networks, and where they look, on test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli.options import (
    DataOption,
    DatasetsOption,
    DeviceOption,
    Names,
    PicturesOption,
    ResultsOption,
    SetLocalOption,
    ThreadsOption,
    check_results,
    given_names,
)
from bench.cli.question import QuestionOptions
from bench.cli.screen import contain, echo, installed_components, make_console, say, warn
from bench.text import one_line

if TYPE_CHECKING:
    from bench.comparison.methods import Method
    from bench.data.preview.embedding import Embedding
    from bench.explain.explained import Explained, Task
    from bench.explain.measures import Measured
    from bench.explain.summary import Summary


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which images, and for which class.

    Attributes:
        of: for which class maps are made.
        names: of images; none for random ones.
        count: of random images.
        seed: of the random choice, and of noise.
    """

    of: str
    names: tuple[str, ...]
    count: int
    seed: int


def explain(
    results: ResultsOption = Path("results"),
    dataset: DatasetsOption = None,
    methods: Annotated[
        Names,
        typer.Option(
            "--methods",
            help="Rows of `bench table`, comma-separated [default: all whose network was kept].",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Names,
        typer.Option(
            "--images",
            help="Test images, comma-separated: ids or file names [default: random ones].",
            show_default=False,
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=200, help="Random test images.")] = 6,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random choice, and of noise.")] = 0,
    round_: Annotated[
        int | None,
        typer.Option(
            "--round",
            min=0,
            help="The round whose networks and test images are shown [default: the first]; with --measure, "
            "the only one measured [default: all].",
            show_default=False,
        ),
    ] = None,
    of: Annotated[
        str,
        typer.Option("--class", help="Maps are for: predicted (by the method), label, or a class."),
    ] = "predicted",
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Compare the maps of all test images with what guides pretraining, and with masks.",
        ),
    ] = False,
    random_head: Annotated[
        bool,
        typer.Option("--random-head", help="Compare each map with that of a classifier of random weights."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A page (.html), or a new folder of pictures and a csv file."),
    ] = None,
    embed_pictures: PicturesOption = None,
    data: DataOption = None,
    set_: SetLocalOption = None,
    device: DeviceOption = "",
    threads: ThreadsOption = 0,
    format_: Annotated[
        Literal["text", "csv"],
        typer.Option("--format", "-f", help="With --measure: text, or csv with a row a method and image."),
    ] = "text",
) -> None:
    """Show what pretraining makes of test images, and where fine-tuned networks look.

    Needs networks that were kept: `bench run ... --keep model,decoder`.

    Example: bench explain --dataset busi --data DIR -o explain.html
    """
    from bench.cli.progress import display
    from bench.cli.stored_images import image_session, located
    from bench.data.preview.embedding import embedding
    from bench.explain.cam import check_installed
    from bench.explain.chosen import check_round, choose_table, rows_by_round
    from bench.explain.prepare import prepare_task
    from bench.explain.summary import Summary

    _check_asked(output, measure, format_)
    check_installed()
    registry = contain(installed_components())
    check_results(results, needed=True)
    _, tables = QuestionOptions(results=results, dataset=dataset).tables(registry)
    table = choose_table(tables, given_names("--methods", methods), results, registry)
    rounds = rows_by_round(table, results)
    check_round(round_, rounds, table, results, registry)
    session = image_session(data, results, registry, device, threads)
    dataset_ref = located(table.methods[0].units[0].spec.dataset, set_, registry)
    asked = Asked(of=of, names=given_names("--images", images), count=count, seed=seed)
    with ExitStack() as stack:
        report = stack.enter_context(display(make_console(stderr=True))).report
        task = prepare_task(table, tables, dataset_ref, session, of, random_head, report)
        explained = _explained(task, rounds, round_, asked) if output is not None else None
        measured, problems = _measured(task, rounds, round_) if measure else ([], [])
    warn(dict.fromkeys([*(explained.warnings if explained else ()), *problems]))
    summary = Summary(measured, task.sample, task.guides) if measure else None
    if summary is not None:
        _print(summary, measured, task, of, format_)
    if output is not None and explained is not None:
        rule = embedding(registry.datasets.get(dataset_ref.name), embed_pictures)
        written = _write(output, explained, rule, asked, summary, measured)
        if not rule.pictures:
            say(make_console(stderr=True), one_line(rule.why))
        say(make_console(stderr=True), one_line(f"written: {output} ({written})"))


def _check_asked(output: Path | None, measure: bool, format_: str) -> None:
    """Raise ConfigError, before any work is done, for options that do not go together."""
    from bench.cli.pages import check_page_path
    from bench.errors import ConfigError
    from bench.explain.folder import check_folder
    from bench.page import SUFFIXES

    if output is None and not measure:
        raise ConfigError("say where pictures go, by --output FILE.html or a new folder, or give --measure")
    if format_ == "csv" and not measure:
        raise ConfigError("--format csv is of --measure; a folder (--output) has a csv file of its images")
    if output is not None:
        (check_page_path if output.suffix.lower() in SUFFIXES else check_folder)(output)


def _explained(
    task: Task, rounds: Mapping[int, Sequence[Method]], round_: int | None, asked: Asked
) -> Explained:
    from bench.explain.chosen import named_ids, random_ids
    from bench.explain.explained import explain_images

    number = min(rounds) if round_ is None else round_
    tested = task.sample.images
    if asked.names:
        ids = named_ids(asked.names, task.images, tested, number)
    else:
        ids = random_ids(tested[number], asked.count, asked.seed)
    return explain_images(task, rounds[number], number, ids, asked.seed)


def _measured(
    task: Task, rounds: Mapping[int, Sequence[Method]], round_: int | None
) -> tuple[list[Measured], list[str]]:
    from bench.explain.explained import measure_round

    measured, problems = [], []
    for number, rows in rounds.items():
        if round_ in (None, number):
            found, warnings = measure_round(task, rows, number, task.sample.images[number].ids)
            measured += found
            problems += warnings
    return measured, problems


def _print(
    summary: Summary, measured: Sequence[Measured], task: Task, of: str, format_: Literal["text", "csv"]
) -> None:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    from bench.explain.rows import as_csv
    from bench.explain.tables import image_sentences, mean_rows
    from bench.explain.texts import CAUTION, number_texts

    if format_ == "csv":
        echo(as_csv(measured, task.images.classes), nl=False)
        return
    console = make_console()
    heads, rows = mean_rows(summary)
    rounds = sorted({each.look.round for each in measured})
    several = f"{len(rounds)} round{'s' * (len(rounds) != 1)}"
    say(console, one_line(f"{task.where}, {several}: where fine-tuned networks look"))
    grid = Grid(box=box.SIMPLE_HEAD)
    for number, head in enumerate(heads):
        grid.add_column(Text(one_line(head)), justify="right" if number else "left")
    for row in rows:
        grid.add_row(*(Text(one_line(cell)) for cell in row))
    console.print(grid)
    for line in (*image_sentences(summary), *number_texts(summary.names, summary.guides, of), CAUTION):
        say(console, one_line(line))


def _write(
    output: Path,
    explained: Explained,
    rule: Embedding,
    asked: Asked,
    summary: Summary | None,
    measured: Sequence[Measured],
) -> str:
    """Write the page or the folder; what it is, as text. Raises StoreError."""
    from bench.cli.pages import write_whole
    from bench.explain.folder import write_folder
    from bench.explain.page import explain_page
    from bench.page import SUFFIXES

    count = len(explained.images)
    chosen = f"{count} test image{'s' * (count != 1)}"
    chosen += ", as named." if asked.names else f", drawn at random (--seed {asked.seed})."
    if output.suffix.lower() in SUFFIXES:
        return write_whole(output, explain_page(explained, rule, asked.of, chosen, summary))
    files = write_folder(output, explained, rule, asked.of, chosen, measured)
    return f"{files} files"
