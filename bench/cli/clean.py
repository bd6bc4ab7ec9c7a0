"""`bench clean`: remove what can be made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import ResultsOption
from bench.cli.screen import make_console, say


def clean(
    results: ResultsOption = Path("results"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
) -> None:
    """Remove decoded images and checkpoints. Results stay; do it while nothing runs.

    A training that was interrupted begins again, and images are decoded again when they are next needed.

    Example: bench clean --results results
    """
    import shutil

    from rich.filesize import decimal

    from bench.errors import ConfigError
    from bench.files import cannot_write

    scratch = results / ".scratch"
    console = make_console()
    if not results.is_dir():
        raise ConfigError(f"--results {results}: no such folder; name the folder that results are kept in")
    parts = sorted(path for path in scratch.iterdir()) if scratch.is_dir() else []
    if not parts:
        say(console, f"nothing to remove in {scratch}")
        return
    sizes = {part: _size(part) for part in parts}
    for part, size in sizes.items():
        say(console, f"{part}  {decimal(size)}")
    if not yes and not typer.confirm(f"Remove these {decimal(sum(sizes.values()))}?"):
        say(console, "nothing was removed")
        raise typer.Exit(1)
    try:
        shutil.rmtree(scratch)
    except OSError as error:
        raise cannot_write(scratch, error) from error
    say(console, f"removed: {scratch}")


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return sum(f.stat().st_size for f in files)
