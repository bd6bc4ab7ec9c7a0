"""`bench data fetch`: bring a data set here, once its licence has been agreed to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    INTERRUPTED,
    DataOption,
    DatasetArgument,
    SetDatasetOption,
    default_data_root,
    make_console,
    read_dataset,
    say,
    warn_of_problems,
)

if TYPE_CHECKING:
    from rich.console import Console

    from bench.data.fetch import Job


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
    from bench.data.fetch import carry_out, plan
    from bench.plugins import catalog

    warn_of_problems(catalog())
    dataset, params = read_dataset(name, set_)
    root = data if data is not None else default_data_root()
    console = make_console()
    job = plan(dataset, params, root)
    if job.complete:
        _conclude(job, console, "is already")
        return
    _describe(job, console)
    _agree(job, yes, console)
    try:
        from bench.cli.progress import display

        with display(console, 0) as shown:
            notes = carry_out(job, shown.report, keep=keep_archives)
    except KeyboardInterrupt:
        typer.echo("interrupted; what has arrived is kept. Run the same command again to go on.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    for note in notes:
        say(console, f"note: {note}")
    _conclude(job, console, "is now")


def _describe(job: Job, console: Console) -> None:
    """What would come from where, under which terms, and where it would go."""
    from rich.table import Table
    from rich.text import Text

    dataset = job.dataset
    console.print(Text(f"{dataset.name}: {dataset.about}", style="bold"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    facts = {"licence": dataset.licence or "not stated", "cite": dataset.citation, "home": dataset.home}
    for title, text in facts.items():
        if text:
            table.add_row(title, Text(text))
    for i, archive in enumerate(job.pending):
        table.add_row("" if i else "download", Text(_source(job, i)))
        for mirror in archive.urls[1:]:
            table.add_row("", Text(f"  or {mirror}"))
    if not job.archives:
        table.add_row("download", Text("by the client of its publisher"))
    table.add_row("to", Text(str(job.folder)))
    console.print(table)
    if job.found is not None:
        say(console, f"note: {_differing(job)}")


def _source(job: Job, i: int) -> str:
    from rich.filesize import decimal

    from bench.data.download import part_of

    archive = job.pending[i]
    target = job.folder / archive.name
    if target.is_file():
        return f"{archive.name}  (is there already)"
    size = f"  {decimal(archive.size)}" if archive.size else ""
    if part_of(target).is_file():
        size += f"  ({decimal(part_of(target).stat().st_size)} have arrived)"
    return f"{archive.name}{size}  {archive.urls[0] if archive.urls else job.dataset.home}"


def _agree(job: Job, yes: bool, console: Console) -> None:
    """Consent to the licence, unless it was given before. Raises ConfigError where nobody can be asked."""
    from bench.data.fetch import has_consent, record_consent
    from bench.errors import ConfigError

    if has_consent(job):
        return
    if yes:
        record_consent(job, "--yes")
        return
    if not sys.stdin.isatty():
        raise ConfigError(
            f"{job.dataset.name}: nobody can be asked here whether they agree to the licence; read it above "
            "and give --yes"
        )
    if not typer.confirm("Do you agree to the licence, and to cite the authors?"):
        console.print("nothing was fetched")
        raise typer.Exit(1)
    record_consent(job, "asked")


def _conclude(job: Job, console: Console, verb: str) -> None:
    """Where it lies and how much of it; raises the index's own error if it finds nothing."""
    from bench.data.fetch import differences, where

    index = job.dataset.index(job.root, job.params)
    version = f", {index.version}" if index.version else ""
    say(
        console,
        f"{job.dataset.name} {verb} in {where(index, job.root)}: {len(index.samples)} images of "
        f"{len(index.classes)} classes{version}",
    )
    for note in index.notes:
        say(console, f"note: {note}")
    if differences(index, job.dataset):
        say(
            console,
            f"note: these are not the counts expected; `bench data verify {job.dataset.name}` shows where "
            "they differ",
        )


def _differing(job: Job) -> str:
    from bench.data.fetch import differences, where

    assert job.found is not None
    place = where(job.found, job.root)
    if counts := differences(job.found, job.dataset):
        listed = ", ".join(f"{name} {found} of {wanted}" for name, (found, wanted) in counts.items())
        return f"{place} holds images already, but not as many as expected ({listed})"
    return f"{place} holds images already; what is missing of the download is fetched again"
