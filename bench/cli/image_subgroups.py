"""Subgroups for which the data set itself is needed: the size of its images, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.comparison.methods import Method
from bench.comparison.partition import NOT_GIVEN, Partition, partition, thirds
from bench.errors import ConfigError
from bench.identity import Ref

if TYPE_CHECKING:
    from bench.execution.session import Session
    from bench.interfaces.executor import Report


def by_size(
    methods: Sequence[Method], ids: Sequence[str], session: Session, dataset: Ref, report: Report
) -> Partition:
    """Thirds of the number of pixels that images have before they are resized.

    Images are decoded if the image store has been cleaned. Raises DataError if they are not those that the
    methods were tested on.
    """
    from bench.execution.pictures import same_images

    # At the side that every audit has stored.
    images = same_images(methods[0].units[0], session, locate=lambda _: dataset, report=report)
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
