"""Entry points -> components -> Registry. The only module that knows pluggy's manager.

A broken plugin never takes the command line down: it becomes a problem that is shown as a warning, and
an error only if something asks for what the plugin should have registered.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, NamedTuple

import pluggy
from typing_extensions import TypeVar

from bench import hookspecs
from bench.errors import ConfigError, PluginError, UnknownName, describe, place_in
from bench.identity import Ref, to_json
from bench.interfaces.component import Component
from bench.interfaces.dataset import Dataset
from bench.interfaces.ensemble import Ensemble
from bench.interfaces.executor import Executor
from bench.interfaces.metric import Metric
from bench.interfaces.model import Model, ModelFamily
from bench.interfaces.reporter import Reporter
from bench.interfaces.selection import Selection, split_external, with_lists
from bench.interfaces.strategy import Strategy
from bench.interfaces.tracker import Tracker
from bench.parsing import check_keys, parse

log = logging.getLogger("bench")

DISTRIBUTION = "medbench"
"""The name under which bench itself is installed: `bench` on the package index is somebody else's project."""


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")


class Kind(NamedTuple):
    """A kind of component: what it is called, its hook, and the classes that the hook returns."""

    plural: str
    singular: str
    hook: str
    classes: tuple[type[Component], ...]


KINDS = (
    Kind("datasets", "dataset", "register_datasets", (Dataset,)),
    Kind("models", "model", "register_models", (Model, ModelFamily)),
    Kind("strategies", "strategy", "register_strategies", (Strategy,)),
    Kind("ensembles", "ensemble", "register_ensembles", (Ensemble,)),
    Kind("metrics", "metric", "register_metrics", (Metric,)),
    Kind("executors", "executor", "register_executors", (Executor,)),
    Kind("reporters", "reporter", "register_reporters", (Reporter,)),
    Kind("trackers", "tracker", "register_trackers", (Tracker,)),
)


@dataclass(frozen=True)
class Plugin:
    """Where a component came from.

    Attributes:
        name: of the entry point.
        distribution: the installed package that has the entry point.
        version: of the distribution.
        package: the top-level package that is imported.
    """

    name: str
    distribution: str
    version: str
    package: str

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


C = TypeVar("C", bound=Component, default=Component, covariant=True)


@dataclass(frozen=True)
class Entry(Generic[C]):
    """A component and the plugin that registered it."""

    component: C
    plugin: Plugin


@dataclass(frozen=True)
class Components(Generic[C]):
    """All components of one kind by name.

    Attributes:
        kind: which kind.
        entries: name -> component and plugin, in the order of registration, our own plugins first.
        conflicts: name -> who claims it, where two plugins do.
        problems: what went wrong while plugins were loaded; part of the message for an unknown name.
    """

    kind: Kind
    entries: Mapping[str, Entry[C]]
    conflicts: Mapping[str, str]
    problems: tuple[str, ...] = ()

    def entry(self, name: str) -> Entry[C]:
        """The component called `name` and its plugin. Raises UnknownName, or PluginError if two claim it."""
        if name in self.conflicts:
            raise PluginError(self.conflicts[name])
        if name in self.entries:
            return self.entries[name]
        hint = f"(not loaded: {'; '.join(self.problems)})" if self.problems else ""
        raise UnknownName(self.kind.singular, name, self.names(), hint)

    def get(self, name: str) -> C:
        """The component called `name`. Raises what `entry` raises."""
        return self.entry(name).component

    def all(self) -> list[C]:
        """The components that have a name of their own, in the order of registration."""
        return [entry.component for entry in self.entries.values()]

    def names(self) -> list[str]:
        """Every name that `get` would find."""
        return list(self.entries)

    def complete(self, prefix: str) -> list[str]:
        """The names that begin with `prefix`; fast, for completion in a shell."""
        return [name for name in self.entries if name.startswith(prefix)]

    def parameters(self, component: Component) -> tuple[type[Any], ...]:
        """The dataclasses of what can be set of a component: its own, and what the core gives all of its
        kind."""
        return (component.params,)

    def params(self, ref: Ref) -> Any:
        """The component's own parameter dataclass, filled from `ref`. Raises ConfigError."""
        values = {**ref.params, **ref.local}
        return parse(self.get(ref.name).params, values, f"{self.kind.singular}.{ref.name}")

    def ref(self, name: str, params: Mapping[str, Any]) -> Ref:
        """A validated reference to the component called `name`. Raises UnknownName or ConfigError."""
        component = self.get(name)
        return make_ref(component, parse(component.params, params, f"{self.kind.singular}.{name}"))

    def first(self, wanted: Callable[[C], bool]) -> C | None:
        """The first component that is `wanted`, or None: which one is a default, say."""
        return next((component for component in self.all() if wanted(component)), None)


@dataclass(frozen=True)
class Models(Components[Model]):
    """The models, with those that families make when they are asked for."""

    families: Mapping[str, Entry[ModelFamily]] = dataclasses.field(default_factory=dict)

    def entry(self, name: str) -> Entry[Model]:
        if name not in self.conflicts and name not in self.entries:
            for family in self.families.values():
                if model := family.component.find(name):
                    return Entry(model, family.plugin)
        return super().entry(name)

    def names(self) -> list[str]:
        return [*(n for f in self.families.values() for n in f.component.names()), *self.entries]

    def complete(self, prefix: str) -> list[str]:
        members = [n for f in self.families.values() for n in f.component.complete(prefix)]
        return list(dict.fromkeys([*super().complete(prefix), *members]))


class External(NamedTuple):
    """The data set that another one is tested on; `root` is its data root, if that is another one."""

    dataset: Ref
    root: Path | None


@dataclass(frozen=True)
class Datasets(Components[Dataset]):
    """The data sets. Each has the parameters of `Selection` beside its own, which go first."""

    def parameters(self, component: Component) -> tuple[type[Any], ...]:
        return (component.params, Selection)

    def shared(self, name: str) -> set[str]:
        """The parameters of `Selection` that the data set called `name` has no own of the same name for."""
        own = {f.name for f in dataclasses.fields(self.get(name).params)}
        return {f.name for f in dataclasses.fields(Selection)} - own

    def params(self, ref: Ref) -> Any:
        own, _ = self._divided(ref.name, {**ref.params, **ref.local})
        return parse(self.get(ref.name).params, own, f"{self.kind.singular}.{ref.name}")

    def selection(self, ref: Ref) -> Selection:
        """What is used of the data set, filled from `ref`. Raises ConfigError."""
        return self._selection(ref.name, {**ref.params, **ref.local})

    def ref(self, name: str, params: Mapping[str, Any]) -> Ref:
        component, where = self.get(name), f"{self.kind.singular}.{name}"
        known = [f.name for cls in self.parameters(component) for f in dataclasses.fields(cls)]
        check_keys(known, params, where)
        own, _ = self._divided(name, params)
        selection = self._selection(name, params)
        ref, chosen = make_ref(component, parse(component.params, own, where)), to_json(selection)
        local = dict(ref.local) | ({"groups": selection.groups} if selection.groups else {})
        if (external := self._external(name, selection.test_on)) is not None:
            other = external.dataset
            chosen["test_on"] = {"name": other.name, **other.params} if other.params else other.name
            if more := dict(other.local) | ({"root": str(external.root)} if external.root else {}):
                local["test_on"] = {"name": other.name, **other.params, **more}
        return dataclasses.replace(ref, params={**ref.params, **chosen}, local=local)

    def external(self, ref: Ref) -> External | None:
        """The data set that this one is tested on, if it is another. Raises ConfigError or UnknownName."""
        return self._external(ref.name, self.selection(ref).test_on)

    def _divided(self, name: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The component's own parameters, and those of `Selection`."""
        shared = self.shared(name)
        own = {key: value for key, value in values.items() if key not in shared}
        return own, {key: value for key, value in values.items() if key in shared}

    def _selection(self, name: str, values: Mapping[str, Any]) -> Selection:
        _, chosen = self._divided(name, values)
        return parse(Selection, with_lists(chosen), f"{self.kind.singular}.{name}")

    def _external(self, name: str, given: str | Mapping[str, Any]) -> External | None:
        """What a value of `test_on` of the data set `name` means. Raises ConfigError or UnknownName."""
        if not given:
            return None
        where = f"{self.kind.singular}.{name}.test_on"
        other, root, params = split_external(given, where)
        for key in ("test_on", "test_source"):
            if key in params and key in self.shared(other):
                raise ConfigError(f"{where}.{key}: all images of {other} are the test part; leave it out")
        try:
            ref = self.ref(other, params)
        except UnknownName as error:
            raise ConfigError(f"{where}: {error}") from None
        if other == name and root is None and not params:
            raise ConfigError(
                f"{where}: {name} cannot be tested on itself; name another data set, or another copy as "
                f'"{name}:PATH"'
            )
        return External(ref, root)


@dataclass(frozen=True)
class Registry:
    """All components of the installed plugins, by kind, and what went wrong while collecting them."""

    datasets: Datasets
    models: Models
    strategies: Components[Strategy]
    ensembles: Components[Ensemble]
    metrics: Components[Metric]
    executors: Components[Executor]
    reporters: Components[Reporter]
    trackers: Components[Tracker]
    plugins: tuple[Plugin, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[Components, ...]:
        """The components of every kind, in the order of KINDS."""
        return (
            self.datasets,
            self.models,
            self.strategies,
            self.ensembles,
            self.metrics,
            self.executors,
            self.reporters,
            self.trackers,
        )


def make_ref(component: Component, params: Any) -> Ref:
    """The reference to `component` with these validated parameters, defaults left out."""
    local = {
        f.name: getattr(params, f.name)
        for f in dataclasses.fields(params)
        if not f.metadata.get("identity", True) and getattr(params, f.name) != f.default
    }
    return Ref(component.name, to_json(params), component.revision, local)


@cache
def installed() -> Registry:
    """The registry of the installed plugins, collected once per process."""
    return collect(entry_points(group=hookspecs.PROJECT))


def collect(points: Iterable[EntryPoint]) -> Registry:
    """Load every plugin that BENCH_BLOCK does not name, and register its components."""
    blocked = {name.strip() for name in os.environ.get("BENCH_BLOCK", "").split(",") if name.strip()}
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    plugins: list[Plugin] = []
    problems: list[str] = []
    claims: dict[Kind, dict[str, list[Entry]]] = {kind: {} for kind in KINDS}
    for plugin, point in _plugins(points):
        if plugin.name in blocked:
            continue
        plugins.append(plugin)
        try:
            module = point.load()
            manager.register(module, name=point.name)
        except (Exception, SystemExit) as error:  # whatever a third-party module raises on import
            log.debug("plugin %s", plugin, exc_info=error)
            problems.append(_problem(plugin, "could not be loaded", error))
            continue
        problems += _misspelt(module, plugin)
        for kind in KINDS:
            try:
                components = _registered(manager, kind, point.name)
            except (Exception, SystemExit) as error:  # whatever a third-party hook raises
                log.debug("plugin %s", plugin, exc_info=error)
                problems.append(_problem(plugin, f"failed in {kind.hook}", error))
                continue
            for component in components:
                claims[kind].setdefault(component.name, []).append(Entry(component, plugin))
    return _registry(claims, plugins, problems)


def _plugins(points: Iterable[EntryPoint]) -> list[tuple[Plugin, EntryPoint]]:
    """Sorted by name, those of bench's own distribution first: their metrics are the first columns.

    Two distributions can offer one plugin, where one of them is an earlier installation under another name.
    """
    # Metadata holds the whole README, so a distribution's is parsed once, not for each of its entry points.
    versions: dict[Distribution, tuple[str, str]] = {}
    plugins = []
    for point in points:
        name, version = point.value, "?"
        if dist := point.dist:
            if dist not in versions:
                metadata = dist.metadata
                versions[dist] = metadata["Name"], metadata["Version"]
            name, version = versions[dist]
        plugins.append((Plugin(point.name, name, version, point.module.partition(".")[0]), point))
    ordered = sorted(plugins, key=lambda pair: (pair[0].distribution != DISTRIBUTION, pair[0].name))
    once: dict[tuple[str, str], tuple[Plugin, EntryPoint]] = {}
    for plugin, point in ordered:
        once.setdefault((point.name, point.value), (plugin, point))
    return list(once.values())


def _problem(plugin: Plugin, what: str, error: BaseException) -> str:
    """One line that names the plugin, the place in its code, the error and the remedy."""
    place = place_in(error, {plugin.package})[1]
    if isinstance(error, SyntaxError):  # found before any line of the file has run
        place = f"{error.filename}:{error.lineno}"
    return (
        f"plugin {plugin} {what}: {describe(error)}{f' at {place}' if place else ''}; "
        f"repair or uninstall it, or set BENCH_BLOCK={plugin.name}"
    )


def _registered(manager: pluggy.PluginManager, kind: Kind, plugin: str) -> list[Component]:
    """What the plugin's hook for this kind returns; empty if it does not implement it."""
    hook: pluggy.HookCaller = getattr(manager.hook, kind.hook)
    components: list[Any] = []
    for implementation in hook.get_hookimpls():
        if implementation.plugin_name == plugin:
            components += implementation.function()  # type: ignore[arg-type]  # checked below
    for component in components:
        if not isinstance(component, kind.classes):
            raise TypeError(f"{kind.hook} returned {component!r}")
        if not _NAME.fullmatch(component.name):  # it becomes part of paths and of option values
            raise ValueError(
                f"the name {component.name!r} is not letters, digits and . _ + - alone, or begins with a dot"
            )
    return components


def _misspelt(module: Any, plugin: Plugin) -> list[str]:
    """Functions marked as hooks under another name than a hook's; pluggy would ignore them silently."""
    hooks = [kind.hook for kind in KINDS]
    problems = []
    for name in dir(module):
        if hasattr(getattr(module, name, None), f"{hookspecs.PROJECT}_impl") and name not in hooks:
            near = difflib.get_close_matches(name, hooks, n=1)
            hint = f"did you mean {near[0]}?" if near else f"hooks: {', '.join(hooks)}"
            problems.append(f"plugin {plugin} implements {name}, which is not a hook; {hint}")
    return problems


def _registry(
    claims: Mapping[Kind, Mapping[str, list[Entry]]], plugins: list[Plugin], problems: list[str]
) -> Registry:
    entries: dict[str, dict[str, Entry[Any]]] = {}  # `_registered` has checked their classes
    conflicts: dict[str, dict[str, str]] = {}
    for kind, by_name in claims.items():
        chosen = entries.setdefault(kind.plural, {})
        disputed = conflicts.setdefault(kind.plural, {})
        for name, claimants in by_name.items():
            rivals = [entry for entry in claimants if not entry.component.replaceable] or claimants
            if len(rivals) == 1:
                chosen[name] = rivals[0]
                continue
            owners = " and ".join(str(entry.plugin) for entry in rivals)
            disputed[name] = (
                f"{kind.singular} {name!r} is registered by {owners}; uninstall one, "
                f"or set BENCH_BLOCK={rivals[-1].plugin.name} to switch it off"
            )
    all_problems = (*problems, *(text for disputed in conflicts.values() for text in disputed.values()))
    families = {n: e for n, e in entries["models"].items() if isinstance(e.component, ModelFamily)}
    single = {n: e for n, e in entries["models"].items() if n not in families}

    def components(kind: Kind) -> Components[Any]:
        return Components(kind, entries[kind.plural], conflicts[kind.plural], all_problems)

    datasets, models, strategies, ensembles, metrics, executors, reporters, trackers = KINDS
    return Registry(
        datasets=Datasets(datasets, entries[datasets.plural], conflicts[datasets.plural], all_problems),
        models=Models(models, single, conflicts["models"], all_problems, families),
        strategies=components(strategies),
        ensembles=components(ensembles),
        metrics=components(metrics),
        executors=components(executors),
        reporters=components(reporters),
        trackers=components(trackers),
        plugins=tuple(plugins),
        problems=all_problems,
    )
