"""`bench data audit`: duplicates, contradicting labels, torn groups, give-aways."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    DataOption,
    DeviceOption,
    ResultsOption,
    SetOption,
    ThreadsOption,
    make_console,
    make_workplace,
    warn_of_problems,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from bench.data.audit import Audit, Duplicate
    from bench.data.images import Images

LISTED = 12  # pairs in the terminal
PICTURED = 24  # pairs in the picture


def audit(
    name: Annotated[str, typer.Argument(help="A data set. `bench data list`.")],
    distance: Annotated[
        int | None, typer.Option(min=0, max=16, help="Bits of 64 in which hashes of candidates may differ [10].")
    ] = None,
    similarity: Annotated[
        float | None, typer.Option(help="Correlation of aligned detail that confirms a candidate [0.45].")
    ] = None,
    embed: Annotated[
        str, typer.Option(help="A model whose ImageNet features propose further candidates.")
    ] = "",
    picture: Annotated[
        Path | None, typer.Option(help="Where the picture of the worst pairs goes [default: beside the JSON].")
    ] = None,
    set_: SetOption = None,
    data: DataOption = None,
    results: ResultsOption = Path("results"),
    device: DeviceOption = "",
    threads: ThreadsOption = 0,
) -> None:
    """Look for duplicates, duplicates of another label, torn groups, and borders that give the class away.

    Example: bench data audit busi --similarity 0.6
    """
    from bench.cli.data import dataset_of
    from bench.cli.progress import display
    from bench.data.audit import path_of
    from bench.plugins import catalog
    from bench.spec import AuditSettings, parse
    from bench.workbench import audited

    warn_of_problems(catalog())
    ref = dataset_of(name, set_)
    given = {"distance": distance, "similarity": similarity, "embed": embed or None}
    settings = parse(AuditSettings, {k: v for k, v in given.items() if v is not None}, "audit")
    workplace = make_workplace(data, results, device, threads)
    console = make_console()
    with display(console, 0) as shown:
        images, made = audited(ref, settings, workplace, shown.report, (PICTURE_SHORT,))
    path = path_of(results, made)
    _print(made, images, console)
    worst = sorted(made.duplicates, key=lambda d: _severity(d, images))
    _print_pairs(worst[:LISTED], made, images, console)
    console.print(f"written: {path}", markup=False)
    if worst:
        target = picture or path.with_suffix(".png")
        _draw(worst[:PICTURED], images, target)
        console.print(f"written: {target}", markup=False)


PICTURE_SHORT = 160  # short side at which the pictured images are kept


def _severity(duplicate: Duplicate, images: Images) -> tuple[bool, bool, float, str]:
    """Across classes first, then across groups, then the most alike."""
    a, b = images.ids.index(duplicate.first), images.ids.index(duplicate.second)
    same_class = bool(images.labels[a] == images.labels[b])
    return same_class, images.groups[a] == images.groups[b], -duplicate.similarity, duplicate.first
