"""`bench list`: what can be named in a command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from bench.cli import complete
from bench.cli.screen import installed_components, make_console

if TYPE_CHECKING:
    from rich.console import Console

    from bench.registry import Components, Plugin, Registry

EVERYTHING = "components"


class _Line(NamedTuple):
    name: str
    about: str
    plugin: str
    version: str


def list_components(
    kind: Annotated[
        str,
        typer.Argument(
            help="datasets, models, strategies, ensembles, metrics, executors, reporters, protocols, plugins.",
            autocompletion=complete.kinds,
        ),
    ] = EVERYTHING,
    like: Annotated[
        str, typer.Option("--like", help="Only names that contain this; families of models are searched too.")
    ] = "",
) -> None:
    """List what the installed plugins register, and the protocols. `bench show NAME` says more about one.

    Example: bench list models --like convnext
    """
    registry = installed_components()
    console = make_console()
    sections = dict(_sections(registry, like.lower()))
    wanted = sections if kind == EVERYTHING else {(name := _plural(registry, kind, sections)): sections[name]}
    shown = 0
    for title, lines in wanted.items():
        matching = list(lines)
        shown += len(matching)
        if matching:
            _print(title, matching, console, narrow=len(wanted) > 1)
    if not shown:
        of = f" that contain {like!r}" if like else ""
        typer.echo(f"no {kind}{of}; install a plugin that registers some, or `bench list` for all", err=True)


def _sections(registry: Registry, like: str) -> Iterator[tuple[str, Iterable[_Line]]]:
    """What is listed under each title; only what is asked for is looked up."""
    for components in registry.kinds:
        yield components.kind.plural, _components(registry, components, like)
    yield "protocols", _protocols(like)
    yield "plugins", _plugins(registry, like)


def _plural(registry: Registry, kind: str, sections: Iterable[str]) -> str:
    """The title for a kind, given in the plural or the singular. Raises UnknownName."""
    from bench.errors import UnknownName

    singular = {components.kind.singular: components.kind.plural for components in registry.kinds}
    plural = {**singular, "protocol": "protocols", "plugin": "plugins"}.get(kind, kind)
    if plural not in sections:
        raise UnknownName("kind of component", kind, sections)
    return plural


def _components(registry: Registry, components: Components[Any], like: str) -> Iterator[_Line]:
    """Families are opened only if `like` asks for it."""
    if components is registry.models:
        for name, entry in registry.models.families.items():
            if like:
                members = (member for member in entry.component.names() if like in member.lower())
                yield from (_line(member, f"of the family {name}", entry.plugin) for member in members)
            else:
                hint = "a family: name any of its models; `bench list models --like TEXT` finds them"
                yield _line(name, f"{entry.component.about} ({hint})", entry.plugin)
    for name, entry in components.entries.items():
        if like in name.lower():
            yield _line(name, entry.component.about, entry.plugin)


def _line(name: str, about: str, plugin: Plugin) -> _Line:
    return _Line(name, about, plugin.name, plugin.version)


def _protocols(like: str) -> Iterator[_Line]:
    from bench import __version__
    from bench.study.config import protocol_about, protocol_names

    for name in protocol_names():
        if like in name:
            yield _Line(name, protocol_about(name), "", __version__)


def _plugins(registry: Registry, like: str) -> Iterator[_Line]:
    for plugin in registry.plugins:
        if like in plugin.name.lower():
            counts = [
                f"{count} {components.kind.plural if count > 1 else components.kind.singular}"
                for components in registry.kinds
                if (count := sum(entry.plugin == plugin for entry in components.entries.values()))
            ]
            yield _Line(plugin.name, ", ".join(counts), plugin.distribution, plugin.version)


def _print(title: str, lines: Iterable[_Line], console: Console, narrow: bool) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(title=title, title_justify="left", title_style="bold", box=None)
    grid.add_column("name", no_wrap=not narrow, overflow="fold", min_width=18)
    grid.add_column("what it is", ratio=1)
    grid.add_column("package" if title == "plugins" else "plugin", style="dim", justify="right")
    grid.add_column("version", style="dim", justify="right")
    for line in lines:
        grid.add_row(*map(Text, line))
    console.print(grid)
    console.print()
