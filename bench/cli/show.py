"""`bench show`: all that is known about one offer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.options import make_console, warn_of_problems

if TYPE_CHECKING:
    from bench.plugins import Catalog, Entry
    from bench.types import Dataset, Model


def show(
    name: Annotated[str, typer.Argument(help="Of a data set, model, strategy, ensemble, metric ...")],
) -> None:
    """Show what an offer is, where it comes from, and its parameters with their defaults.

    Example: bench show egmae
    """
    from rich.table import Table
    from rich.text import Text

    from bench.plugins import SINGULAR, catalog

    offers = catalog()
    warn_of_problems(offers)
    console = make_console()
    for number, (kind, entry) in enumerate(_find(offers, name)):
        if number:
            console.print()
        console.print(Text.assemble((entry.offer.name, "bold"), f"  ({SINGULAR[kind]})"))
        facts = Table(box=None, show_header=False, pad_edge=False)
        facts.add_column(style="dim", no_wrap=True)
        facts.add_column()
        for head, text in _facts(kind, entry):
            if text:
                facts.add_row(head, Text(text))
        console.print(facts)
        if parameters := list(_parameters(kind, entry.offer)):
            _print_parameters(parameters)


def _find(catalog: Catalog, name: str) -> list[tuple[str, Entry]]:
    """Every offer of that name; families are asked only if nothing else has it. Raises UnknownName, or
    PluginError where two plugins claim the name."""
    from bench.errors import UnknownName

    for kind in catalog.entries:
        if (kind, name) in catalog.conflicts:
            catalog.entry(kind, name)
    found = [(kind, entries[name]) for kind, entries in catalog.entries.items() if name in entries]
    if found:
        return found
    try:
        return [("models", catalog.entry("models", name))]
    except UnknownName:
        known = [known for kind in catalog.entries for known in catalog.names(kind)]
        hint = f"(not loaded: {'; '.join(catalog.problems)})" if catalog.problems else ""
        raise UnknownName("offer", name, known, hint) from None


def _facts(kind: str, entry: Entry) -> Iterator[tuple[str, str]]:
    from bench.types import Dataset, Metric, Model, ModelFamily, Strategy

    offer = entry.offer
    yield "about", offer.about
    if isinstance(offer, Dataset):
        yield from _dataset(offer)
    if isinstance(offer, Model):
        yield from _model(offer)
    if isinstance(offer, ModelFamily):
        yield "models", "`bench list models --like TEXT` finds them, `bench show MODEL` shows one"
    if isinstance(offer, Strategy):
        yield "kind", "self-supervised pretraining" if offer.objective else "initial weights"
        yield "needs", ", ".join(sorted(offer.needs))
    if isinstance(offer, Metric):
        yield "better", "higher" if offer.higher_is_better else "lower"
        yield "column", f"{offer.title}{'' if offer.default else ' (only if asked for by --metrics)'}"
    yield "caution", offer.caution
    yield "citation", offer.citation
    yield "licence", offer.licence
    yield "plugin", str(entry.source)
    yield "revision", str(offer.revision)


def _dataset(offer: Dataset) -> Iterator[tuple[str, str]]:
    expected = ", ".join(f"{name} {count}" for name, count in offer.expected.items())
    yield "images", f"{sum(offer.expected.values())}: {expected}" if expected else ""
    yield "home", offer.home
    yield "to get it", offer.fetch


def _model(offer: Model) -> Iterator[tuple[str, str]]:
    from bench.types import LocalWeights

    normalization = offer.normalization(offer.params())
    yield "traits", ", ".join(sorted(offer.traits))
    own = offer.pretrained_source(offer.params()) or "no pretrained weights on this machine"
    file = f"; a local file: --set model.{offer.name}.weights=FILE"
    yield "weights", own + (file if issubclass(offer.params, LocalWeights) else "")
    yield "pixels", f"mean {normalization.mean}, standard deviation {normalization.std}"


# --- parameters --------------------------------------------------------------------------------------


def _parameters(kind: str, offer: Any) -> Iterator[tuple[str, str, str]]:
    """Name as `--set` wants it, default, and allowed values, for every parameter."""
    import typing

    from bench.plugins import SINGULAR

    hints = typing.get_type_hints(offer.params, include_extras=True)
    for field in dataclasses.fields(offer.params):
        default = getattr(offer.params(), field.name)
        name = f"{SINGULAR[kind]}.{offer.name}.{field.name}"
        yield name, repr(default) if default == "" else str(default), allowed(hints[field.name])


def _print_parameters(parameters: list[tuple[str, str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("parameter (--set NAME=VALUE)", "default", "allowed", box=None, pad_edge=False)
    table.columns[0].overflow = "fold"
    for cells in parameters:
        table.add_row(*map(Text, cells))
    console = make_console()
    console.print()
    console.print(table)


def allowed(hint: Any) -> str:
    """The values a type hint allows, in words: "int, >= 1", "gray or rgb", "true or false"."""
    import types
    import typing

    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return ", ".join([allowed(inner[0]), *(bound for extra in inner[1:] for bound in _bounds(extra))])
    if origin is typing.Literal:
        return " or ".join(map(str, inner))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(allowed, inner))
    if origin in (tuple, list):
        return f"[{', '.join('...' if part is Ellipsis else allowed(part) for part in inner)}]"
    if hint is bool:
        return "true or false"
    return getattr(hint, "__name__", str(hint)).replace("NoneType", "nothing")


def _bounds(extra: Any) -> Iterator[str]:
    """The bounds that one of annotated_types' constraints sets."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "a multiple of"}
    for name, sign in signs.items():
        if (bound := getattr(extra, name, None)) is not None:
            yield f"{sign} {bound}"
    if least := getattr(extra, "min_length", None):
        yield f"at least {least} long"
