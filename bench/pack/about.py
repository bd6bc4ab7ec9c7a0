"""What comes with packed results: where they were made, what to cite, what may be done with which part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import __version__
from bench.interfaces.dataset import Dataset
from bench.manuscript.bibliography import Used, find
from bench.manuscript.facts import gather, used_in
from bench.registry import DISTRIBUTION, Registry
from bench.results.record import Record

if TYPE_CHECKING:
    from bench.interfaces.metric import Metric
    from bench.manuscript.facts import Material

NOT_HERE = "not installed where this was packed"


class About:
    """What is known about packed results beside their numbers.

    Attributes:
        environment: text of a JSON file: machines and software, each with the units that were made there.
        citations: BibTeX.
        licences: text of a Markdown file.
        datasets: what the images are, by name: as the registry says it, None where it is not installed.
        packages: name -> versions that records name.
        plugins: distributions of others whose components were used.
        warnings: what could not be told.
    """

    def __init__(
        self, records: Sequence[Record], results: Path, metrics: Sequence[Metric], registry: Registry
    ) -> None:
        done = [record for record in records if record.status == "done"]
        material = gather(done, results, metrics, registry)
        used = used_in(material.comparisons)
        self.packages = _versions(done)
        self.plugins = sorted(
            {
                str(plugin["distribution"])
                for record in done
                for plugin in record.provenance.plugins.values()
                if plugin.get("distribution") not in (None, "", "bench", DISTRIBUTION)
            }
        )
        self.environment = _environment(done)
        self.citations = str(material.works)
        self.datasets = {
            each.ref.name: _dataset(each.ref.name, registry) for each in used if each.kind == "dataset"
        }
        self.licences = _licences(used, registry)
        self.warnings = _warnings(material)


def _warnings(material: Material) -> list[str]:
    missing = [f"{reason} (not cited)" for reason in material.works.missing.values()]
    return [*material.warnings, *missing]


def _environment(done: Sequence[Record]) -> str:
    """Each distinct provenance once, with how many units have it."""
    kinds: dict[str, dict[str, Any]] = {}
    for record in done:
        made = record.provenance
        about = {
            "hardware": dict(made.hardware),
            "git": dict(made.git) if made.git is not None else None,
            "packages": dict(made.packages),
            "plugins": {name: dict(plugin) for name, plugin in made.plugins.items()},
            "python": made.python,
            "platform": made.platform,
        }
        text = json.dumps(about, sort_keys=True)
        kinds.setdefault(text, {"units": 0, **about})["units"] += 1
    content = {
        "packed_with": {DISTRIBUTION: __version__},
        "made_with": [kinds[text] for text in sorted(kinds)],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _versions(done: Sequence[Record]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for record in done:
        for name, version in record.provenance.packages.items():
            found.setdefault(name, set()).add(version)
    return {name: sorted(found[name]) for name in sorted(found)}


def _dataset(name: str, registry: Registry) -> Dataset | None:
    entry = find("dataset", name, registry)
    return entry.component if entry and isinstance(entry.component, Dataset) else None


def _licences(used: Sequence[Used], registry: Registry) -> str:
    """The terms of use of every component that results name, for people."""
    lines = ["# Licences and terms of use", ""]
    lines += [
        "This pack holds no image. What its predictions were computed from has terms of its own, as the "
        "plugins state them:",
        "",
    ]
    for each in sorted(used, key=lambda each: (each.kind, each.ref.name)):
        lines.append(f"- {each.kind} {_plain(each.ref.name)}: {_terms(each, registry)}")
    return "\n".join(lines) + "\n"


def _terms(used: Used, registry: Registry) -> str:
    entry = find(used.kind, used.ref.name, registry)
    if entry is None:
        return NOT_HERE
    component = entry.component
    home = f"; {component.home}" if isinstance(component, Dataset) and component.home else ""
    passing_on = ""
    if isinstance(component, Dataset):
        passing_on = (
            f"; passing on: {component.redistribution or 'the licence does not say that it is allowed'}"
        )
    return _plain(f"{component.licence or 'none stated'}{home}{passing_on} (plugin {entry.plugin})")


def _plain(text: str) -> str:
    return " ".join(text.split())
