"""`bench show`: all that is known about one component, or about a protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import complete
from bench.cli.screen import installed_components, make_console

if TYPE_CHECKING:
    from rich.console import Console

    from bench.cli.parameters import Parameter
    from bench.interfaces.component import Component
    from bench.interfaces.dataset import Dataset
    from bench.interfaces.model import Model
    from bench.registry import Entry, Kind, Registry

WIDE = 120  # columns from which parameters are a table


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="Of a data set, model, strategy, ensemble, metric, protocol ...",
            autocompletion=complete.components,
        ),
    ],
) -> None:
    """Show what something is, where it comes from, and its parameters: default, allowed values, meaning.

    Example: bench show egmae
    """
    from rich.text import Text

    from bench.cli.parameters import parameters
    from bench.study.config import protocol_names

    registry = installed_components()
    console = make_console()
    if name in protocol_names() or name.endswith(".toml"):
        _show_protocol(name, console)
        return
    for number, (kind, entry) in enumerate(_named(registry, name)):
        if number:
            console.print()
        component = entry.component
        console.print(Text.assemble((component.name, "bold"), f"  ({kind.singular})"))
        _print_facts(list(_facts(entry)), console)
        prefix = f"{kind.singular}.{component.name}"
        classes = getattr(registry, kind.plural).parameters(component)
        named = [parameter for cls in classes for parameter in parameters(cls, prefix)]
        once = {parameter.name: parameter for parameter in reversed(named)}  # its own goes first
        _print_parameters([p for p in named if once[p.name] is p], "default", console)


def _show_protocol(name: str, console: Console) -> None:
    """All values of a protocol, also those that it leaves at their default."""
    from rich.text import Text

    from bench import __version__
    from bench.cli.parameters import values_of
    from bench.parsing import parse
    from bench.study.config import DEFAULT_PROTOCOL, protocol_about, protocol_names, read_protocol
    from bench.study.protocol import Protocol

    title, values = read_protocol(name)
    default: Protocol = parse(Protocol, read_protocol(DEFAULT_PROTOCOL)[1], DEFAULT_PROTOCOL)
    protocol: Protocol = parse(Protocol, {"model": default.model} | values, "protocol")
    console.print(Text.assemble((title, "bold"), "  (protocol)"))
    shipped = name in protocol_names()
    facts = {
        "about": protocol_about(name) if shipped else "",
        "from": f"bench {__version__}" if shipped else name,
        "*": f"differs from the protocol {DEFAULT_PROTOCOL}" if protocol != default else "",
    }
    _print_facts(list(facts.items()), console)
    usual = {parameter.name: parameter.value for parameter in values_of(default, "protocol")}
    marked = [
        p._replace(value=f"{p.value}{'' if p.value == usual[p.name] else ' *'}")
        for p in values_of(protocol, "protocol")
    ]
    _print_parameters(marked, "value", console)


def _named(registry: Registry, name: str) -> list[tuple[Kind, Entry]]:
    """Every component of that name; families are asked only if nothing else has it. Raises UnknownName, or
    PluginError where two plugins claim the name."""
    from bench.errors import UnknownName
    from bench.study.config import protocol_names

    for components in registry.kinds:
        if name in components.conflicts:
            components.entry(name)
    entries: list[tuple[Kind, Entry]] = [
        (components.kind, components.entries[name])
        for components in registry.kinds
        if name in components.entries
    ]
    if name in registry.models.families:
        entries.append((registry.models.kind, registry.models.families[name]))
    if entries:
        return entries
    try:
        return [(registry.models.kind, registry.models.entry(name))]
    except UnknownName:
        known = [known for components in registry.kinds for known in components.names()]
        hint = f"(not loaded: {'; '.join(registry.problems)})" if registry.problems else ""
        raise UnknownName("component", name, [*known, *protocol_names()], hint) from None


def _facts(entry: Entry) -> Iterator[tuple[str, str]]:
    from bench.interfaces.dataset import Dataset
    from bench.interfaces.ensemble import Ensemble
    from bench.interfaces.executor import Executor
    from bench.interfaces.metric import Metric
    from bench.interfaces.model import Model, ModelFamily
    from bench.interfaces.reporter import Reporter
    from bench.interfaces.strategy import Strategy

    component: Component = entry.component
    yield "about", component.about
    if isinstance(component, Dataset):
        yield from _dataset(component)
    if isinstance(component, Model):
        yield from _model(component)
    if isinstance(component, ModelFamily):
        yield "models", "`bench list models --like TEXT` finds them, `bench show MODEL` shows one"
    if isinstance(component, Strategy):
        yield "kind", "self-supervised pretraining" if component.objective else "initial weights"
        traits = " and ".join(sorted(component.needs))
        yield "needs", f"models with the trait {traits}" if traits else ""
    if isinstance(component, Metric):
        yield "better", "higher" if component.higher_is_better else "lower"
        yield "column", f"{component.title}{'' if component.default else ' (only if asked for by --metrics)'}"
    if isinstance(component, Ensemble | Executor | Reporter) and component.default:
        yield "default", "used where a command names none"
    yield "caution", component.caution
    yield "citation", component.citation
    yield "licence", component.licence
    yield "plugin", str(entry.plugin)
    yield "revision", str(component.revision)


def _dataset(dataset: Dataset) -> Iterator[tuple[str, str]]:
    expected = ", ".join(f"{name} {count}" for name, count in dataset.expected.items())
    yield "images", f"{sum(dataset.expected.values())}: {expected}" if expected else ""
    yield "home", dataset.home
    yield "to get it", dataset.fetch
    yield "passing on", dataset.redistribution


def _model(model: Model) -> Iterator[tuple[str, str]]:
    from bench.interfaces.component import LocalWeights

    normalization = model.normalization(model.params())
    yield "traits", ", ".join(sorted(model.traits))
    own = model.pretrained_source(model.params()) or "no pretrained weights on this machine"
    file = f"; a local file: --set model.{model.name}.weights=FILE"
    yield "weights", own + (file if issubclass(model.params, LocalWeights) else "")
    yield "pixels", f"mean {normalization.mean}, standard deviation {normalization.std}"


def _print_facts(facts: Sequence[tuple[str, str]], console: Console) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for head, text in facts:
        if text:
            grid.add_row(head, Text(text))
    console.print(grid)


def _print_parameters(parameters: Sequence[Parameter], values: str, console: Console) -> None:
    """A table; on a narrow terminal, where its columns would be of a few letters, one below the other."""
    if not parameters:
        return
    console.print()
    if console.width >= WIDE:
        _print_table(parameters, values, console)
    else:
        _print_list(parameters, console)


def _print_table(parameters: Sequence[Parameter], values: str, console: Console) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, pad_edge=False)
    grid.add_column("parameter (--set NAME=VALUE)", overflow="fold", min_width=28)
    grid.add_column(values, overflow="fold")
    grid.add_column("allowed")
    grid.add_column("what it is", ratio=1, min_width=40)
    for parameter in parameters:
        grid.add_row(*map(Text, parameter))
    console.print(grid)


def _print_list(parameters: Sequence[Parameter], console: Console) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(Text("parameters (--set NAME=VALUE)", style="bold"))
    for name, value, allowed, about in parameters:
        console.print(Text(f"{name} = {value}"), soft_wrap=True)
        console.print(Padding(Text.assemble(about, " " * bool(about), (f"({allowed})", "dim")), (0, 0, 0, 4)))
