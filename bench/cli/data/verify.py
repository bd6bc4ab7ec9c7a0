"""`bench data verify`: is this copy of a data set whole, readable, and the version that is expected?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from bench.cli.options import (
    DataOption,
    DatasetArgument,
    OnBadImageOption,
    SetDatasetOption,
    ThreadsOption,
    data_root,
    dataset_of,
)
from bench.cli.screen import contain, installed_components, make_console, say
from bench.text import by_kind

if TYPE_CHECKING:
    from rich.console import Console

    from bench.data.fetch.verify import Verification


def verify(
    name: DatasetArgument,
    data: DataOption = None,
    threads: ThreadsOption = 0,
    set_: SetDatasetOption = None,
    on_bad_image: OnBadImageOption = "fail",
) -> None:
    """Check a data set: counts, classes, every image decoded, checksums. Exit code 1 if anything is wrong.

    Example: bench data verify busi
    """
    from bench.cli.progress import display
    from bench.data.fetch.fetch import image_folder, only_looks_like
    from bench.data.fetch.verify import verify_dataset
    from bench.data.images.listing import select
    from bench.execution.provenance import usable_cores

    registry = contain(installed_components())
    ref = dataset_of(name, set_, registry)
    dataset, params = registry.datasets.get(ref.name), registry.datasets.params(ref)
    root = data_root(data)
    console = make_console()
    with display(console) as shown:
        verification = verify_dataset(
            dataset,
            params,
            root,
            threads or usable_cores(),
            shown.report,
            lambda index: select(index, ref, registry, root),
            skip=on_bad_image == "skip",
        )
    index = verification.index
    place = image_folder(index, root)
    version = f", {index.version}" if index.version else ""
    has_files = any(sample.path for sample in index.samples)
    where = f"in {place}" if has_files else f"data root {root}"
    say(console, f"{name}{version}: {len(index.samples)} images of {len(index.classes)} classes, {where}")
    _print_counts(verification, bool(index.expected or dataset.expected), console)
    _print_details(verification, console)
    if not verification.problems:
        images = len(index.samples) - len(verification.left_out)
        state = f"{len(verification.left_out)} left out" if verification.left_out else ""
        say(console, f"{name} is whole: {images} images, {state or 'all of them readable'}")
        return
    fetchable = bool(dataset.archives(params)) or dataset.download is not None
    remedy = (
        f"move the faulty files away and run `bench data fetch {name}`" if fetchable else dataset.fetch
    ) or "replace the faulty files"
    if only_looks_like(dataset, index, root):
        remedy = f"images of your own only have its layout; if this is a copy of {name}, {remedy}"
    say(console, f"{name} is not as it should be: {', '.join(verification.problems)}; {remedy}")
    raise typer.Exit(1)


def _print_counts(verification: Verification, has_expected: bool, console: Console) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, padding=(0, 2, 0, 0))
    grid.add_column("class")
    columns = ["images", "expected", ""] if has_expected else ["images"]
    for title in columns:
        grid.add_column(title, justify="right")
    rows = [(name, *pair) for name, pair in verification.counts.items()]
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    for name, present, expected in rows:
        difference = f"{present - expected:+d}" if present != expected else ""
        grid.add_row(*map(Text, [name, str(present), str(expected), difference][: len(columns) + 1]))
    console.print(grid)
    if not has_expected:
        say(console, "note: nobody says how many images there should be")


def _print_details(verification: Verification, console: Console) -> None:
    index = verification.index
    for note in (*index.notes, *index.changes, *verification.ranges):
        say(console, f"note: {note}")
    if verification.passed_over:
        say(console, f"passed over: {by_kind(verification.passed_over)}")
    for title, faults in (
        ("left out", verification.left_out),
        ("unreadable", verification.unreadable),
        ("gone or cut short", verification.missing),
        ("fault", verification.faults),
    ):
        for fault in faults:
            say(console, f"{title}: {fault}")
    for name, fault in verification.archives.items():
        say(console, f"{name}: {fault or 'checksum as recorded'}")
