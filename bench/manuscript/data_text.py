"""Sentences about the images: their source, how many of which class, their terms of use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.interfaces.component import Component
from bench.interfaces.dataset import Dataset
from bench.interfaces.selection import external_name, tested_on
from bench.manuscript.bibliography import find
from bench.manuscript.document import Cite, Code, Gap, Section, Sentence, listed
from bench.manuscript.facts import Comparison, Material, distinct
from bench.results.record import DataSummary

PARTS = ("train", "val", "test")
SHOWN = 16  # digits of a hash


def data_section(comparison: Comparison, material: Material) -> Section:
    """Which images: their source, how many of which class, their terms of use."""
    sentences = [*source(comparison, material), *classes(comparison)]
    sentences.append(
        (
            Gap(
                "where, when and from whom the images were acquired, with which devices; who established the "
                "labels and how; ethics approval and consent"
            ),
        )
    )
    return Section("Data", tuple(sentences))


def source(comparison: Comparison, material: Material) -> Iterator[Sentence]:
    """The data set, its reference, parameters and terms of use."""
    name = comparison.dataset.name
    registered = find("dataset", name, material.registry)
    component = registered.component if registered else None
    external = tested_on(comparison.dataset.params)  # said below
    title = name if external or comparison.title == name else f"{comparison.title} ({name})"
    about = f" ({component.about})" if component else ""
    cited = material.works.components.get(("dataset", name), ())
    versions = distinct(data.version for data in comparison.data.values() if data.version)
    version = f", {listed(versions)}" if versions else ""
    yield (f"Images came from the data set {title}{about}", Cite(cited), f"{version}.")
    if component is None:
        yield (Gap(f"what {name} is and how it is cited: its plugin is not installed here"),)
    elif not cited:
        yield (Gap(f"a reference for the data set {name}, if there is one"),)
    if comparison.dataset.params:
        values = listed(f"{key} = {_value(value)}" for key, value in comparison.dataset.params.items())
        yield (f"Its parameters that differ from their defaults were {values}.",)
    if bits := distinct(data.bits for data in comparison.data.values() if data.bits):
        yield (f"Images stored with 16 bits were reduced from {listed(map(str, bits))} bits to 8.",)
    yield _terms(component)
    yield from _external(comparison, material)
    if changes := distinct(change for data in comparison.data.values() for change in data.changes):
        yield (f"As this study used the images: {'; '.join(changes)}.",)


def _external(comparison: Comparison, material: Material) -> Iterator[Sentence]:
    """The data set that was tested on, if it is another one."""
    name = external_name(comparison.dataset.params)
    if not name:
        return
    registered = find("dataset", name, material.registry)
    about = f" ({registered.component.about})" if registered else ""
    cited = material.works.components.get(("dataset", name), ())
    yield (f"Images for the external test came from the data set {name}{about}", Cite(cited), ".")
    if not cited:
        yield (Gap(f"a reference for the data set {name}, if there is one"),)
    yield _terms(registered.component if registered else None)


def _terms(component: Component | None) -> Sentence:
    if isinstance(component, Dataset) and component.licence:
        return (f"Terms of use: {component.licence}.",)
    return (Gap("its terms of use"),)


def _value(value: object) -> str:
    """A parameter as a user writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + "}"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def classes(comparison: Comparison) -> Iterator[Sentence]:
    """How many images of which class there were."""
    totals = distinct(_per_class(data) for data in comparison.data.values() if data.counts)
    if not totals:
        yield (Gap("how many images of which class there are; the records do not say"),)
        return
    names = list(totals[0])
    sums = sorted({sum(images for images, _ in total.values()) for total in totals})
    several = f"{sums[0]} to {sums[-1]} images, by round," if len(sums) > 1 else f"{sums[0]} images"
    grouped = any(groups < images for total in totals for images, groups in total.values())
    counts = []
    for name in names:
        images = sorted({total[name][0] for total in totals if name in total})
        groups = sorted({total[name][1] for total in totals if name in total})
        text = f"{name} ({_span(images)} images"
        counts.append(text + (f" in {_span(groups)} groups)" if grouped else ")"))
    yield (f"The study used {several} of {len(names)} classes: {listed(counts)}.",)
    contents = distinct(data.content for data in comparison.data.values() if data.content)
    if contents:
        digests = listed(content[:SHOWN] for content in contents)
        yield ("Images, labels and groups have the sha256 digest ", Code(digests), " (its first digits).")


def _span(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _per_class(data: DataSummary) -> dict[str, tuple[int, int]]:
    """Images and groups of each class in all parts together."""
    names = list(next(iter(data.counts.values())))
    parts = data.counts.values()
    return {
        name: (
            sum(counts[name].images for counts in parts if name in counts),
            sum(counts[name].groups for counts in parts if name in counts),
        )
        for name in names
    }
