"""`bench list`: what can be named in a command."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from bench.cli import complete
from bench.cli.screen import echo, installed_components
from bench.text import one_line

if TYPE_CHECKING:
    from bench.registry import Components, Plugin, Registry

EVERYTHING = "components"
GAP = "  "  # between columns


class _Line(NamedTuple):
    name: str
    about: str
    plugin: str
    version: str


def list_components(
    kind: Annotated[
        str,
        typer.Argument(
            help="datasets, models, strategies, ensembles, metrics, executors, reporters, trackers, "
            "protocols or plugins.",
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
    sections = dict(_sections(registry, like.lower()))
    wanted = sections if kind == EVERYTHING else {(name := _plural(registry, kind, sections)): sections[name]}
    shown = 0
    for title, lines in wanted.items():
        matching = list(lines)
        shown += len(matching)
        if matching:
            _print(title, matching)
    if not shown:
        of = f" that contain {like!r}" if like else ""
        echo(f"no {kind}{of}; install a plugin that registers some, or `bench list` for all", err=True)


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


def _components(registry: Registry, components: Components, like: str) -> Iterator[_Line]:
    """Families are opened only if `like` asks for it."""
    if components is registry.models:
        for name, family in registry.models.families.items():
            if like:
                members = (member for member in family.component.names() if like in member.lower())
                yield from (_line(member, f"of the family {name}", family.plugin) for member in members)
            else:
                hint = "a family: name any of its models; `bench list models --like TEXT` finds them"
                yield _line(name, f"{family.component.about} ({hint})", family.plugin)
    for name, entry in components.entries.items():
        if like in name.lower():
            yield _line(name, entry.component.about, entry.plugin)


def _line(name: str, about: str, plugin: Plugin) -> _Line:
    return _Line(*map(one_line, (name, about, plugin.name, plugin.version)))


def _protocols(like: str) -> Iterator[_Line]:
    from bench import __version__
    from bench.study.config import protocol_about, protocol_names

    for name in protocol_names():
        if like in name:
            yield _Line(name, protocol_about(name), "bench", __version__)


def _plugins(registry: Registry, like: str) -> Iterator[_Line]:
    for plugin in registry.plugins:
        if like in plugin.name.lower():
            counts = [
                f"{count} {components.kind.plural if count > 1 else components.kind.singular}"
                for components in registry.kinds
                if (count := sum(entry.plugin == plugin for entry in components.entries.values()))
            ]
            yield _Line(plugin.name, ", ".join(counts), plugin.distribution, plugin.version)


def _print(title: str, lines: Sequence[_Line]) -> None:
    """A table as wide as the terminal. Plain text: with rich, `bench list` would take a third longer."""
    heads = _Line("name", "what it is", "package" if title == "plugins" else "plugin", "version")
    longest = [max(len(line[column]) for line in (heads, *lines)) for column in range(len(heads))]
    total = shutil.get_terminal_size((160, 24)).columns
    name = min(max(18, longest[0]), max(18, total // 2))
    about = min(longest[1], max(20, total - name - longest[2] - longest[3] - 3 * len(GAP)))
    color = False if os.environ.get("NO_COLOR") else None
    echo(typer.style(title, bold=True), color=color)
    for line in (heads, *lines):
        names, texts = textwrap.wrap(line.name, name), textwrap.wrap(line.about, about)
        ends = [f"{line.plugin:<{longest[2]}}{GAP}{line.version}"]
        for first, text, end in zip_longest(names, texts, ends, fillvalue=""):
            row = f"{first:<{name}}{GAP}{text:<{about}}{GAP}"
            echo((row + typer.style(end, dim=True)) if end else row.rstrip(), color=color)
    echo()
