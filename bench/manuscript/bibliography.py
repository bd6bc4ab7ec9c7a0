"""What a text cites: the components that were used, the packages they ran on, the methods of the engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import NamedTuple

from bench.errors import BenchError, PluginError
from bench.identity import Ref
from bench.interfaces.component import Component
from bench.interfaces.metric import Metric
from bench.manuscript.bibtex import Entry, merged, misc, read_entries
from bench.registry import DISTRIBUTION, Components, Plugin, Registry
from bench.registry import Entry as Registered

PACKAGES = {
    DISTRIBUTION: "bench",
    "bench": "bench",  # as the distribution was called in older records
    "torch": "ansel2024pytorch",
    "timm": "wightman2019timm",
    "scikit-learn": "pedregosa2011scikit",
    "fvcore": "fvcore",
    "numpy": "harris2020numpy",
}
"""Package of a record -> the key of its work in software.bib."""

OPTIMIZER, SCHEDULE = "loshchilov2019adamw", "loshchilov2017sgdr"
VARIANCE, ADJUSTMENT = "nadeau2003inference", "holm1979simple"


class Used(NamedTuple):
    """A component that records name.

    Attributes:
        kind: "dataset", "model", ...
        ref: its name, parameters and revision, as the records have them.
    """

    kind: str
    ref: Ref


@dataclass(frozen=True)
class Bibliography:
    """Works, and who is cited by which of them.

    Attributes:
        entries: each work once, sorted by key.
        components: (kind, name) of a component -> keys; none for a component that gives no citation.
        packages: name of a package, or of a method of ours -> key.
        missing: components that are not installed, with the reason.
        warnings: plugins whose BibTeX cannot be read; their components are cited by their citation.
    """

    entries: tuple[Entry, ...]
    components: Mapping[tuple[str, str], tuple[str, ...]]
    packages: Mapping[str, str]
    missing: Mapping[tuple[str, str], str]
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.entries)) + "\n" * bool(self.entries)


def bibliography(
    used: Iterable[Used],
    metrics: Iterable[Metric],
    packages: Iterable[str],
    registry: Registry,
    methods: Iterable[str] = (OPTIMIZER, SCHEDULE),
) -> Bibliography:
    """The works of these components, metrics and packages (names of distributions), and of `methods` (keys of
    software.bib)."""
    found: dict[tuple[str, str], list[Entry]] = {}
    missing: dict[tuple[str, str], str] = {}
    warnings: list[str] = []
    named = [(kind, ref.name) for kind, ref in used]
    for kind, name in [*named, *(("metric", metric.name) for metric in metrics)]:
        try:
            entry = components_of(kind, registry).entry(name)
        except BenchError as error:
            missing[kind, name] = str(error)
            continue
        try:
            found[kind, name] = works_of(entry.component, entry.plugin)
        except PluginError as error:
            warnings.append(f"{error} (cited by its citation)")
            found[kind, name] = works_of(replace(entry.component, bibtex=""), entry.plugin)
    known = [name for name in dict.fromkeys(packages) if name in PACKAGES]
    shared = software()
    own = {name: PACKAGES[name] for name in known} | {key: key for key in methods}
    entries, keys = merged([*([shared[key]] for key in own.values()), *found.values()])
    return Bibliography(
        entries=tuple(entries),
        components=dict(zip(found, keys[len(own) :], strict=True)),
        packages={name: key for name, (key,) in zip(own, keys, strict=False)},
        missing=missing,
        warnings=tuple(warnings),
    )


def works_of(component: Component, plugin: Plugin) -> list[Entry]:
    """The works that a component asks to be cited by: its own BibTeX, or a @misc of its citation.

    Raises PluginError if its `bibtex` cannot be read.
    """
    if not component.bibtex:
        about = f"{component.name}: {component.about}"
        return [misc(component.name, component.citation, about)] if component.citation else []
    try:
        return read_entries(component.bibtex)
    except ValueError as error:
        raise PluginError(
            f"plugin {plugin}: `bibtex` of {component.name} is no BibTeX ({error}); repair the plugin"
        ) from None


def components_of(kind: str, registry: Registry) -> Components:
    """The components of a kind, as records name it."""
    return next(components for components in registry.kinds if components.kind.singular == kind)


def find(kind: str, name: str, registry: Registry) -> Registered | None:
    """A component with its plugin; None if it is not installed, or two plugins claim its name."""
    try:
        return components_of(kind, registry).entry(name)
    except BenchError:
        return None


@cache
def software() -> dict[str, Entry]:
    """The entries of software.bib by key."""
    text = (resources.files("bench.manuscript") / "software.bib").read_text(encoding="utf-8")
    return {entry.key: entry for entry in read_entries(text)}


def names_of(used: Sequence[Used], kind: str) -> list[str]:
    """The names of the used components of one kind, each once, in their order."""
    return list(dict.fromkeys(each.ref.name for each in used if each.kind == kind))
