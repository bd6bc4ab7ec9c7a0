"""What must be cited, and under which terms data, weights and software were used."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple

from bench.interfaces.dataset import Dataset
from bench.manuscript.bibliography import find
from bench.manuscript.facts import Material, gather, used_in
from bench.report.gathered import Gathered
from bench.report.section import Section
from bench.report.templating import render
from bench.results.record import Record
from bench.study.spec import RunSpec

_KINDS = {"dataset": "data set", "model": "network"}


class Cited(NamedTuple):
    """What is cited by which keys, or why it is not."""

    kind: str
    name: str
    keys: str


class Terms(NamedTuple):
    """The terms of one thing that was used.

    Attributes:
        kind: data set, network, ...
        name: of the component or package.
        licence: as its author states it.
        more: whether it may be passed on; where weights came from.
    """

    kind: str
    name: str
    licence: str
    more: str


def citations_sections(gathered: Gathered) -> list[Section]:
    """None without a finished run."""
    material = gather(
        gathered.records, gathered.results, gathered.metrics, gathered.registry, gathered.question.datasets
    )
    if not material.comparisons:
        return []
    html = render(
        "citations.html",
        cited=list(_cited(material)),
        uncited=[name for (_, name), keys in material.works.components.items() if not keys],
        bibtex=str(material.works).strip(),
        count=len(material.works.entries),
        terms=[*_of_components(material), *_of_weights(gathered), *_of_packages(gathered)],
        warnings=material.works.warnings,
    )
    return [Section("citations", "Citations and licences", html)]


def _cited(material: Material) -> Iterator[Cited]:
    works = material.works
    for (kind, name), keys in works.components.items():
        if keys:
            yield Cited(_KINDS.get(kind, kind), name, ", ".join(keys))
    for (kind, name), reason in works.missing.items():
        yield Cited(_KINDS.get(kind, kind), name, reason)
    for name, key in works.packages.items():
        yield Cited("software" if name != key else "method", name, key)


def _of_components(material: Material) -> Iterator[Terms]:
    """Data sets, networks and all else that a plugin states terms of."""
    for kind, ref in used_in(material.comparisons):
        entry = find(kind, ref.name, material.registry)
        if entry is None:
            yield Terms(_KINDS.get(kind, kind), ref.name, "not known: it is not installed here", "")
            continue
        component = entry.component
        if not (isinstance(component, Dataset) or component.licence):
            continue
        more = ""
        if isinstance(component, Dataset):
            more = component.redistribution or "nothing says that images may be passed on"
        yield Terms(_KINDS.get(kind, kind), ref.name, component.licence or "not stated", more)


def _of_weights(gathered: Gathered) -> Iterator[Terms]:
    """Where initial weights came from that somebody published, as records say it."""
    sources = {record.weights for record in gathered.records if _is_published(record, gathered)}
    for source in sorted(filter(None, sources)):
        yield Terms("weights", source, "see their source", "")


def _is_published(record: Record, gathered: Gathered) -> bool:
    """Whether a fine-tuning starts from weights that its strategy found somewhere: not from a pretraining of
    ours, and not from random ones."""
    spec = record.spec
    if not isinstance(spec, RunSpec) or spec.start is not None:
        return False
    entry = find("strategy", spec.strategy.name, gathered.registry)
    return entry is None or bool(getattr(entry.component, "freeze", None))


def _of_packages(gathered: Gathered) -> Iterator[Terms]:
    """The packages that records name, with the licence that the installed one states."""
    names = {name for record in gathered.records for name in record.provenance.packages}
    for name in sorted(names):
        yield Terms("software", name, _licence_of(name), "")


def _licence_of(package: str) -> str:
    try:
        about = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return "not known: it is not installed here"
    stated = _field(about, "License-Expression")
    classified = [
        value.rpartition(" :: ")[2]
        for value in about.get_all("Classifier") or ()
        if value.startswith("License ::")
    ]
    lines = _field(about, "License").strip().splitlines()
    return stated or ", ".join(classified) or (lines[0][:80] if lines else "not stated")


def _field(about: metadata.PackageMetadata, name: str) -> str:
    return next(iter(about.get_all(name) or ()), "")
