"""`bench data fetch`: download a data set, once its licence has been agreed to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    DataOption,
    DatasetArgument,
    SetDatasetOption,
    data_root,
    dataset_of,
)
from bench.cli.screen import contain, echo, installed_components, make_console, say

if TYPE_CHECKING:
    from rich.console import Console

    from bench.data.fetch.fetch import FetchTask


def fetch(
    name: DatasetArgument,
    data: DataOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree to the licence without asking.")] = False,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Keep what was downloaded after it is unpacked.")
    ] = False,
    set_: SetDatasetOption = None,
) -> None:
    """Download a data set, check it and unpack it. The same command again goes on where this one stopped.

    Example: bench data fetch busi
    """
    from bench.data.fetch.fetch import fetch_dataset, plan_fetch

    registry = contain(installed_components())
    ref = dataset_of(name, set_, registry)
    dataset, params = registry.datasets.get(ref.name), registry.datasets.params(ref)
    root = data_root(data)
    console = make_console()
    task = plan_fetch(dataset, params, root)
    if task.is_complete:
        _conclude(task, console, "is already")
        return
    _describe(task, console)
    _agree(task, yes, console)
    try:
        from bench.cli.progress import display

        with display(console) as shown:
            notes = fetch_dataset(task, shown.report, keep=keep_archives)
    except KeyboardInterrupt:
        echo("what has arrived is kept", err=True)
        raise
    for note in notes:
        say(console, f"note: {note}")
    _conclude(task, console, "is now")


def _describe(task: FetchTask, console: Console) -> None:
    """What would come from where, under which terms, and where it would go."""
    from rich.table import Table as Grid
    from rich.text import Text

    dataset = task.dataset
    console.print(Text(f"{dataset.name}: {dataset.about}", style="bold"))
    grid = Grid(box=None, show_header=False, padding=(0, 2, 0, 0))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    facts = {"licence": dataset.licence or "not stated", "cite": dataset.citation, "home": dataset.home}
    for title, text in facts.items():
        if text:
            grid.add_row(title, Text(text))
    for i, archive in enumerate(task.pending):
        grid.add_row("" if i else "download", Text(_source(task, i)))
        for mirror in archive.urls[1:]:
            grid.add_row("", Text(f"  or {mirror}"))
    if not task.archives:
        grid.add_row("download", Text("by the client of its publisher"))
    grid.add_row("to", Text(str(task.folder)))
    console.print(grid)
    if task.index is not None:
        say(console, f"note: {_what_is_there(task)}")


def _source(task: FetchTask, i: int) -> str:
    from rich.filesize import decimal

    from bench.data.fetch.download import part_of

    archive = task.pending[i]
    target = task.folder / archive.name
    if target.is_file():
        return f"{archive.name}  (is there already)"
    size = f"  {decimal(archive.size)}" if archive.size else ""
    if part_of(target).is_file():
        size += f"  ({decimal(part_of(target).stat().st_size)} have arrived)"
    return f"{archive.name}{size}  {archive.urls[0] if archive.urls else task.dataset.home}"


def _agree(task: FetchTask, yes: bool, console: Console) -> None:
    """Consent to the licence, unless it was given before. Raises ConfigError where nobody can be asked."""
    from bench.data.fetch.fetch import has_consent, record_consent
    from bench.errors import ConfigError

    if has_consent(task):
        return
    if yes:
        record_consent(task, "--yes")
        return
    if not sys.stdin.isatty():
        raise ConfigError(
            f"{task.dataset.name}: nobody can be asked here whether they agree to the licence; read it above "
            "and give --yes"
        )
    if not typer.confirm("Do you agree to the licence, and to cite the authors?"):
        console.print("nothing was fetched")
        raise typer.Exit(1)
    record_consent(task, "asked")


def _conclude(task: FetchTask, console: Console, verb: str) -> None:
    """Where it lies and how much of it; raises the index's own error if it finds nothing."""
    from bench.data.fetch.fetch import count_differences, image_folder

    index = task.dataset.index(task.root, task.params)
    version = f", {index.version}" if index.version else ""
    say(
        console,
        f"{task.dataset.name} {verb} in {image_folder(index, task.root)}: {len(index.samples)} images of "
        f"{len(index.classes)} classes{version}",
    )
    for note in index.notes:
        say(console, f"note: {note}")
    if count_differences(index, task.dataset):
        say(
            console,
            f"note: these are not the counts expected; `bench data verify {task.dataset.name}` shows where "
            "they differ",
        )


def _what_is_there(task: FetchTask) -> str:
    from bench.data.fetch.fetch import count_differences, image_folder

    assert task.index is not None
    place = image_folder(task.index, task.root)
    if counts := count_differences(task.index, task.dataset):
        listed = ", ".join(f"{name} {present} of {expected}" for name, (present, expected) in counts.items())
        return f"{place} holds images already, but not as many as expected ({listed})"
    return f"{place} holds images already; what is missing of the download is fetched again"
