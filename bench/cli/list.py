"""`bench list`: what can be named in a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import make_console, warn_of_problems

if TYPE_CHECKING:
    from bench.plugins import Catalog

EVERYTHING = "offers"


def list_offers(
    kind: Annotated[
        str, typer.Argument(help="datasets, models, strategies, ensembles, metrics, executors or reporters.")
    ] = EVERYTHING,
    like: Annotated[
        str, typer.Option("--like", help="Only names that contain this; families of models are searched too.")
    ] = "",
) -> None:
    """List what the installed plugins offer. `bench show NAME` says more about one of them.

    Example: bench list models --like convnext
    """
    from rich.table import Table
    from rich.text import Text

    from bench.plugins import catalog

    offers = catalog()
    warn_of_problems(offers)
    console = make_console()
    wanted = list(offers.entries) if kind == EVERYTHING else [_kind(offers, kind)]
    found = 0
    for name in wanted:
        rows = _rows(offers, name, like.lower())
        found += len(rows)
        if not rows:
            continue
        table = Table(title=name, title_justify="left", title_style="bold", box=None, show_header=False)
        table.add_column(no_wrap=len(wanted) == 1, overflow="fold", min_width=18)
        table.add_column(ratio=1)
        table.add_column(style="dim", justify="right")
        for cells in rows:
            table.add_row(*map(Text, cells))
        console.print(table)
        console.print()
    if not found:
        of = f" that contain {like!r}" if like else ""
        typer.echo(f"no {kind}{of}; install a plugin that offers some, or `bench list` for all", err=True)


def _kind(catalog: Catalog, kind: str) -> str:
    """The catalog's word for a kind, given in the plural or the singular. Raises UnknownName."""
    from bench.errors import UnknownName
    from bench.plugins import SINGULAR

    plural = {singular: plural for plural, singular in SINGULAR.items()}.get(kind, kind)
    if plural not in catalog.entries:
        raise UnknownName("kind of offer", kind, catalog.entries)
    return plural


def _rows(catalog: Catalog, kind: str, like: str) -> list[tuple[str, str, str]]:
    """Name, what it is, and the plugin it comes from. Families are opened only if `like` asks for it."""
    from bench.types import ModelFamily

    rows = []
    for name, entry in catalog.entries[kind].items():
        plugin = entry.source.plugin
        if isinstance(entry.offer, ModelFamily):
            if like:
                members = (member for member in entry.offer.names() if like in member.lower())
                rows += [(member, f"of the family {name}", plugin) for member in members]
            else:
                hint = "a family: name any of its models; `bench list models --like TEXT` finds them"
                rows.append((name, f"{entry.offer.about} ({hint})", plugin))
        elif like in name.lower():
            rows.append((name, entry.offer.about, plugin))
    return rows
