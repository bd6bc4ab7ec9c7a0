"""`bench data verify`: is this copy of a data set whole, readable, and the version that is expected?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from bench.cli.options import (
    DataOption,
    DatasetArgument,
    SetDatasetOption,
    ThreadsOption,
    default_data_root,
    make_console,
    read_dataset,
    say,
    warn_of_problems,
)

if TYPE_CHECKING:
    from rich.console import Console

    from bench.data.verify import Verdict


def verify(
    name: DatasetArgument,
    data: DataOption = None,
    threads: ThreadsOption = 0,
    set_: SetDatasetOption = None,
) -> None:
    """Check a data set: counts, classes, every image decoded, checksums. Exit code 1 if anything is wrong.

    Example: bench data verify busi
    """
    from bench.cli.progress import display
    from bench.data.fetch import where
    from bench.data.verify import verify as examine
    from bench.plugins import catalog
    from bench.provenance import usable_cores

    warn_of_problems(catalog())
    dataset, params = read_dataset(name, set_)
    root = data if data is not None else default_data_root()
    console = make_console()
    with display(console, 0) as shown:
        verdict = examine(dataset, params, root, threads or usable_cores(), shown.report)
    version = verdict.index.version
    place = where(verdict.index, root)
    say(console, f"{name}{f', {version},' if version else ''} in {place}")
    _print_counts(verdict, console)
    _print_details(verdict, console)
    if not verdict.problems:
        say(console, f"{name} is whole: {len(verdict.index.samples)} images, all of them readable")
        return
    fetchable = bool(dataset.archives(params)) or dataset.download is not None
    remedy = (
        f"move the faulty files away and run `bench data fetch {name}`" if fetchable else dataset.fetch
    ) or "replace the faulty files"
    say(console, f"{name} is not as it should be: {', '.join(verdict.problems)}; {remedy}")
    raise typer.Exit(1)


def _print_counts(verdict: Verdict, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("class")
    columns = ["images", "expected", ""] if verdict.expected else ["images"]
    for title in columns:
        table.add_column(title, justify="right")
    names = list(dict.fromkeys([*verdict.counts, *verdict.expected]))
    rows = [(name, verdict.counts.get(name, 0), verdict.expected.get(name, 0)) for name in names]
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    for name, found, wanted in rows:
        difference = f"{found - wanted:+d}" if found != wanted else ""
        table.add_row(*map(Text, [name, str(found), str(wanted), difference][: len(columns) + 1]))
    console.print(table)


def _print_details(verdict: Verdict, console: Console) -> None:
    for note in verdict.index.notes:
        say(console, f"note: {note}")
    for title, faults in (
        ("unreadable", verdict.unreadable),
        ("gone or cut short", verdict.missing),
        ("fault", verdict.faults),
    ):
        for fault in faults:
            say(console, f"{title}: {fault}")
    for name, fault in verdict.archives.items():
        say(console, f"{name}: {fault or 'checksum as recorded'}")
    if not verdict.expected:
        say(console, "note: nobody says how many images there should be")
