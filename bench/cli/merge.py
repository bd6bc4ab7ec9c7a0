"""`bench merge`: results of several machines in one folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.screen import echo, make_console, say
from bench.text import one_line

if TYPE_CHECKING:
    from bench.pack.merge import Merge, Source


def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="PACK.zip|FOLDER...", help="Packs, and results folders.", show_default=False),
    ],
    into: Annotated[
        Path, typer.Option("--into", help="The results folder that they become part of.", show_default=False)
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be merged, and write nothing.")
    ] = False,
    keep_going: Annotated[
        bool,
        typer.Option("--keep-going", help="Merge the rest where machines contradict each other."),
    ] = False,
) -> None:
    """Join results of several machines, after their checksums were compared. Nothing is overwritten.

    Equal units are kept once. Where one unit has different predictions on two machines, both are named and
    nothing is merged, unless --keep-going is given. Exit code 1 if anything was left out.

    Example: bench merge lab.zip /mnt/cluster/results --into results
    """
    from bench.api import check_folder
    from bench.errors import StoreError
    from bench.pack.copies import copy_into
    from bench.pack.merge import plan_merge

    check_folder(into, "--into")
    with ExitStack() as stack:
        opened_sources = list(_opened(sources, into, keep_going, stack))
        planned = plan_merge([source for source, _ in opened_sources], into)
        planned.damaged[:0] = [what for _, problems in opened_sources for what in problems]
        for kind, problems in (
            ("conflict", planned.conflicts),
            ("refused", planned.refused),
            ("left out", planned.damaged),
        ):
            for problem in problems:
                echo(one_line(f"{kind}: {problem}"))
        for note in planned.notes:
            echo(one_line(note))
        if planned.stops and not keep_going:
            raise StoreError(
                "nothing was merged: what is named above cannot be joined; --keep-going merges the rest"
            )
        if not dry_run:
            copy_into(into, planned.foundations.values(), planned.units.values())
    say(make_console(), f"{into}: {'would have ' * dry_run}{_summary(planned)}")
    if not planned.is_clean:
        raise typer.Exit(1)


def _opened(
    sources: list[Path], into: Path, keep_going: bool, stack: ExitStack
) -> Iterator[tuple[Source, list[str]]]:
    """The sources, and what is wrong with packs. Raises ConfigError for what is none, DataError for a pack
    that is not what was packed."""
    from bench.api import check_folder
    from bench.errors import ConfigError, DataError
    from bench.pack.contents import RESULTS
    from bench.pack.crate import METADATA
    from bench.pack.merge import Source
    from bench.pack.opened import is_pack, opened

    for path in sources:
        if is_pack(path):
            pack = stack.enter_context(opened(path))
            if pack.differing and not keep_going:
                more = f", and {others} more" if (others := len(pack.differing) - 1) else ""
                raise DataError(
                    f"{path}: {pack.differing[0]}{more}; get it once more, or give --keep-going to "
                    "merge what is sound in it"
                )
            yield Source(str(path), pack.results), [f"{path}: {what}" for what in pack.differing]
            continue
        check_folder(path, "FOLDER")
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder; name packs and results folders")
        results = path / RESULTS if (path / METADATA).is_file() else path
        if results.resolve() == into.resolve():
            raise ConfigError(f"{path}: is the folder that --into names; name others to merge into it")
        yield Source(str(path), results), []


def _summary(planned: Merge) -> str:
    return ", ".join(f"{count} {what}" for what, count in planned.counts.items()) or "nothing to merge"
