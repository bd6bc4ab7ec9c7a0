"""Subgroups for which the data set itself is needed: the size of its images, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.cli.options import Names, assignments
from bench.comparison.methods import Method
from bench.comparison.partition import NOT_GIVEN, Partition, partition, thirds
from bench.errors import ConfigError, DataError
from bench.identity import Ref
from bench.interfaces.selection import split_external
from bench.study.config import StudyConfig, assign
from bench.study.study import KINDS

if TYPE_CHECKING:
    from bench.execution.session import Session
    from bench.interfaces.executor import Report
    from bench.registry import Registry


def located(dataset: Ref, texts: Names, registry: Registry) -> Ref:
    """A data set as results have it, with the places of files that `--set` gives. Raises ConfigError for
    values that would make it another one."""
    values = dict(assign(StudyConfig(), assignments(texts), KINDS).dataset.get(dataset.name, {}))
    if not values:
        return dataset
    recorded, given = dataset.params.get("test_on"), values.get("test_on")
    if isinstance(recorded, Mapping) and isinstance(given, str):  # parameters need not be said again
        name, root, _ = split_external(given, f"dataset.{dataset.name}.test_on")
        values["test_on"] = {**recorded, "name": name, "root": str(root or "")}
    found = registry.datasets.ref(dataset.name, {**dataset.params, **values})
    if found.params != dataset.params:
        raise ConfigError(
            f"--set: these results are of {dataset.name} with {dict(dataset.params)}, not with "
            f"{dict(found.params)}; only where its files lie can be set here"
        )
    return replace(dataset, local=found.local)


def by_size(
    methods: Sequence[Method], ids: Sequence[str], session: Session, dataset: Ref, report: Report
) -> Partition:
    """Thirds of the number of pixels that images have before they are resized.

    Images are decoded if the image store has been cleaned. Raises DataError if they are not those that the
    methods were tested on.
    """
    from bench.data.audit.search import SHORT

    unit = methods[0].units[0]
    images = session.images(dataset, (SHORT,), report)  # the side that every audit has stored
    if images.content != unit.content:
        raise DataError(
            f"--by size: the images of {images.dataset} in {session.environment.data} are not those of these "
            f"results (content {images.content[:8]}, not {unit.content[:8]}); name the right folder by "
            f"--data, and a reviewed file of your own by --set dataset.{images.dataset}.groups=FILE"
        )
    pixels = {
        id_: float(original.height * original.width)
        for id_, original in zip(images.ids, images.originals, strict=True)
    }
    return thirds(
        "size", {id_: pixels[id_] for id_ in ids}, ("small", "medium", "large"), "{:,.0f} pixels".format
    )


def by_source(ids: Sequence[str], session: Session, dataset: Ref) -> Partition:
    """Where images come from, as the data set says. Raises ConfigError where it does not."""
    sources = session.sources(dataset)
    of = {id_: sources.get(id_, NOT_GIVEN) for id_ in ids}
    if set(of.values()) <= {NOT_GIVEN}:
        raise ConfigError(
            f"--by source: the data set {dataset.name} does not say where its images come from; give a csv "
            "file that does, with the columns id and source: --by FILE.csv"
        )
    return partition("source", [*sorted(set(of.values()) - {NOT_GIVEN}), NOT_GIVEN], of)
