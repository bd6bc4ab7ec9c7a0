"""Entry points -> offers -> Catalog. The only module that knows pluggy's manager.

A broken plugin never takes the command line down: it becomes a problem that is shown as a warning, and
an error only if something asks for what the plugin should have offered.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from bench import hookspecs
from bench.errors import PluginError, UnknownName
from bench.spec import Ref, parse, to_json
from bench.types import (
    Dataset,
    Ensemble,
    Executor,
    Metric,
    Model,
    ModelFamily,
    Offer,
    Reporter,
    Strategy,
)

KINDS: Mapping[
    str, tuple[str, tuple[type[Offer], ...]]
] = {  # hook -> what its offers are called, their types
    "register_datasets": ("datasets", (Dataset,)),
    "register_models": ("models", (Model, ModelFamily)),
    "register_strategies": ("strategies", (Strategy,)),
    "register_ensembles": ("ensembles", (Ensemble,)),
    "register_metrics": ("metrics", (Metric,)),
    "register_executors": ("executors", (Executor,)),
    "register_reporters": ("reporters", (Reporter,)),
}
SINGULAR = {"strategies": "strategy"} | {
    k: k[:-1] for k in ("datasets", "models", "ensembles", "metrics", "executors", "reporters")
}


@dataclass(frozen=True)
class Source:
    """The plugin an offer came from."""

    plugin: str  # entry-point name
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.plugin} ({self.distribution} {self.version})"


@dataclass(frozen=True)
class Entry:
    offer: Any
    source: Source


@dataclass(frozen=True)
class Catalog:
    """All offers by kind and name, and what went wrong while collecting them."""

    entries: Mapping[str, Mapping[str, Entry]]  # "datasets" -> name -> entry
    problems: tuple[str, ...] = ()
    conflicts: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def entry(self, kind: str, name: str) -> Entry:
        """The offer called `name` and its source. Raises UnknownName, or PluginError if two claim it."""
        if (kind, name) in self.conflicts:
            raise PluginError(self.conflicts[kind, name])
        offers = self.entries[kind]
        if name in offers and not isinstance(offers[name].offer, ModelFamily):
            return offers[name]
        for entry in offers.values():
            if isinstance(entry.offer, ModelFamily) and (found := entry.offer.find(name)):
                return Entry(found, entry.source)
        hint = f"(not loaded: {'; '.join(self.problems)})" if self.problems else ""
        raise UnknownName(SINGULAR[kind], name, self.names(kind), hint)

    def get(self, kind: str, name: str) -> Any:
        """The offer called `name`."""
        return self.entry(kind, name).offer

    def offers(self, kind: str) -> list[Any]:
        """All offers of a kind, in the order they were registered."""
        return [entry.offer for entry in self.entries[kind].values()]

    def names(self, kind: str) -> list[str]:
        """Every name that `get` would find, those of families included."""
        names: list[str] = []
        for name, entry in self.entries[kind].items():
            names += entry.offer.names() if isinstance(entry.offer, ModelFamily) else [name]
        return names

    def params(self, kind: str, ref: Ref) -> Any:
        """The offer's own parameter dataclass, filled from `ref`. Raises ConfigError."""
        offer: Offer = self.get(kind, ref.name)
        return parse(offer.params, {**ref.params, **ref.local}, f"{SINGULAR[kind]}.{ref.name}")

    def ref(self, kind: str, name: str, params: Mapping[str, Any]) -> Ref:
        """A validated reference to the offer called `name`. Raises UnknownName or ConfigError."""
        offer: Offer = self.get(kind, name)
        return make_ref(offer, parse(offer.params, params, f"{SINGULAR[kind]}.{name}"))


def make_ref(offer: Offer, params: Any) -> Ref:
    """The reference to `offer` with these validated parameters, defaults left out."""
    local = {
        f.name: getattr(params, f.name)
        for f in dataclasses.fields(params)
        if not f.metadata.get("identity", True) and getattr(params, f.name) != f.default
    }
    return Ref(offer.name, to_json(params), offer.revision, local)


def load(group: Iterable[EntryPoint] | None = None) -> Catalog:
    """Collect the offers of every installed plugin that BENCH_BLOCK does not name."""
    blocked = {name.strip() for name in os.environ.get("BENCH_BLOCK", "").split(",") if name.strip()}
    found = entry_points(group=hookspecs.PROJECT) if group is None else group
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    problems: list[str] = []
    collected: dict[str, dict[str, list[Entry]]] = {kind: {} for kind, _ in KINDS.values()}
    for point in sorted(found, key=lambda point: point.name):
        if point.name in blocked:
            continue
        source = _source(point)
        try:
            plugin = point.load()
            manager.register(plugin, name=point.name)
        except Exception as error:  # whatever a stranger's module raises on import
            problems.append(
                f"plugin {source} could not be loaded: {type(error).__name__}: {error}; "
                f"repair or uninstall it, or set BENCH_BLOCK={point.name}"
            )
            continue
        problems += _misspelt(plugin, source)
        for hook, (kind, wanted) in KINDS.items():
            function = _implementation(manager, hook, point.name)
            if function is None:
                continue
            try:
                offers = list(function())
                for offer in offers:
                    if not isinstance(offer, wanted):
                        raise TypeError(f"{hook} returned {offer!r}")
            except Exception as error:
                problems.append(
                    f"plugin {source}: {hook} failed: {type(error).__name__}: {error}; "
                    f"repair it, or set BENCH_BLOCK={point.name}"
                )
                continue
            for offer in offers:
                collected[kind].setdefault(offer.name, []).append(Entry(offer, source))
    return _catalog(collected, problems)


@cache
def catalog() -> Catalog:
    """The catalog of this process."""
    return load()


def _source(point: EntryPoint) -> Source:
    if point.dist is None:
        return Source(point.name, point.value, "?")
    return Source(point.name, point.dist.name, point.dist.version)


def _implementation(manager: pluggy.PluginManager, hook: str, plugin: str) -> Any:
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        if implementation.plugin_name == plugin:
            return implementation.function
    return None


def _misspelt(plugin: Any, source: Source) -> list[str]:
    """Functions marked as hooks under a name that is none; pluggy would ignore them silently."""
    import difflib

    problems = []
    for name in dir(plugin):
        if hasattr(getattr(plugin, name, None), f"{hookspecs.PROJECT}_impl") and name not in KINDS:
            near = difflib.get_close_matches(name, KINDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"hooks: {', '.join(KINDS)}"
            problems.append(f"plugin {source} implements {name}, which is no hook; {hint}")
    return problems


def _catalog(collected: dict[str, dict[str, list[Entry]]], problems: list[str]) -> Catalog:
    entries: dict[str, dict[str, Entry]] = {}
    conflicts: dict[tuple[str, str], str] = {}
    for kind, by_name in collected.items():
        entries[kind] = {}
        for name, all_claims in by_name.items():
            claims = [claim for claim in all_claims if not claim.offer.stand_in] or all_claims
            if len(claims) == 1:
                entries[kind][name] = claims[0]
                continue
            owners = " and ".join(str(c.source) for c in claims)
            conflicts[kind, name] = (
                f"{SINGULAR[kind]} {name!r} is offered by {owners}; uninstall one, "
                f"or set BENCH_BLOCK={claims[-1].source.plugin} to switch it off"
            )
    return Catalog(entries, (*problems, *conflicts.values()), conflicts)
