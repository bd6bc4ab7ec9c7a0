"""`bench clean`: remove what can be made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import ResultsOption, check_results
from bench.cli.screen import make_console, say


def clean(
    results: ResultsOption = Path("results"),
    kept: Annotated[
        bool, typer.Option("--kept", help="Remove the weights that --keep kept, and nothing else.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
) -> None:
    """Remove decoded images and checkpoints. Results stay. Refused while units are at work.

    A training that was interrupted begins again, and images are decoded again when they are next needed. With
    --kept, kept models and decoders are removed instead; to have them again, units are trained again.

    Example: bench clean --results results
    """
    import sys

    from rich.filesize import decimal

    from bench.errors import ConfigError, StoreError
    from bench.execution.claim import holders
    from bench.files import cannot_write
    from bench.results.kept import FOLDER

    scratch = results / ".scratch"
    console = make_console()
    check_results(results)
    folder = results / FOLDER if kept else scratch
    parts = sorted(folder.glob("*/*") if kept else folder.iterdir()) if folder.is_dir() else []
    if at_work := holders(scratch):
        names = ", ".join(sorted(set(map(str, at_work))))
        raise StoreError(f"{scratch}: in use by {names}; wait until `bench run` has ended")
    if not parts:
        say(console, f"nothing to remove in {folder}")
        return
    sizes = {part: _size(part) for part in parts}
    for part, size in sizes.items():
        say(console, f"{part}  {decimal(size)}")
    total = decimal(sum(sizes.values()))
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"nobody can be asked here whether to remove these {total}; give --yes")
        if not typer.confirm(f"Remove these {total}?"):
            say(console, "nothing was removed")
            raise typer.Exit(1)
    for part in parts:
        try:
            _remove(part)
        except OSError as error:
            raise cannot_write(part, error) from error
    say(console, f"removed: {total} in {folder}")


def _remove(path: Path) -> None:
    import shutil

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return sum(f.stat().st_size for f in files)
