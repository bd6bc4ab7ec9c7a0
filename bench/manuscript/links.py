"""Where what a text says is kept: paths in the results folder, of files that are there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.manuscript.facts import Comparison, distinct
from bench.results.predictions_file import PREDICTIONS
from bench.results.record import RECORD, Record


def manifest_of(comparison: Comparison, split: str) -> Path | None:
    """The split manifest with this hash; None if it is not in the results folder."""
    folder = comparison.results / "splits" / comparison.dataset.name
    return next(iter(sorted(folder.glob(f"*.{split}.json"))), None) if split else None


def manifests(comparison: Comparison) -> list[Path]:
    """The split manifests of all rounds that are in the results folder, in the order of rounds."""
    splits = distinct(
        split for _, split in sorted({(r.spec.round, r.spec.split) for r in comparison.evaluated})
    )
    found = (manifest_of(comparison, split) for split in splits)
    return [path for path in found if path is not None]


def audits(comparison: Comparison) -> list[Path]:
    """The audits that the splits were judged by."""
    folder = comparison.results / "audits" / comparison.dataset.name
    names = distinct(data.audit.audit for data in comparison.data.values() if data.audit)
    return [path for name in names for path in sorted(folder.glob(f"*.{name}.json"))]


def records(units: Iterable[Record]) -> list[Path]:
    """The record files of these units."""
    return list(_files(units, RECORD))


def predictions(units: Iterable[Record]) -> list[Path]:
    """The predictions of these units."""
    return list(_files(units, PREDICTIONS))


def linked(path: Path, folder: Path) -> str:
    """`path` as it is reached from `folder`."""
    return Path(os.path.relpath(path, folder)).as_posix()


def _files(units: Iterable[Record], name: str) -> Iterator[Path]:
    for record in units:
        if record.path is not None and (record.path / name).is_file():
            yield record.path / name
