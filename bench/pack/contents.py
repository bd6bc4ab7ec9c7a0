"""What of a results folder belongs into a pack."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.audit.audit import read_audit
from bench.data.splits.manifest import read_named
from bench.errors import ConfigError, DataError, StoreError
from bench.pack.archive import Item
from bench.pack.private import absolute_paths, without_machine
from bench.results import kept, store
from bench.results.artefacts import LEFT_OUT
from bench.results.predictions_file import PREDICTIONS
from bench.results.record import RECORD, Record

RESULTS = "results"
"""The folder of a pack in which the results lie as in a results folder."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which of the large files are packed too.

    Attributes:
        encoders: the weights of pretrainings.
        models: trained networks that a study was told to keep.
        paths: records that name paths of a machine, as they are, instead of refusing them.
    """

    encoders: bool = False
    models: bool = False
    paths: bool = False


def packable(records: Iterable[Record], warnings: Sequence[str], results: Path) -> list[Record]:
    """The records, where all of them can be vouched for; failures without what they say of this machine,
    which is no part of any result. Raises StoreError for damaged ones."""
    chosen = list(records)
    bad = [*warnings, *(f"{r.path}: {r.damage}" for r in chosen if r.damage)]
    if bad:
        raise StoreError(
            f"{results}: {len(bad)} unit{'s are' if len(bad) > 1 else ' is'} damaged ({bad[0]}); repeat the "
            "command that made them (`bench verify` names them), then pack: a pack must hold what was stored"
        )
    return [_anonymous(record) if record.status == "failed" else record for record in chosen]


def _anonymous(record: Record) -> Record:
    return dataclasses.replace(
        record, reason=without_machine(record.reason), traceback=without_machine(record.traceback)
    )


def unit_items(record: Record, results: Path, wanted: Wanted) -> Iterator[Item]:
    """The files of one unit. Raises StoreError, or ConfigError for a record that names a path."""
    assert record.path is not None
    inside = f"{RESULTS}/{record.path.relative_to(results).as_posix()}"
    if record.status == "failed":
        yield Item(f"{inside}/{RECORD}", _failure(record))
        return
    content = (record.path / RECORD).read_bytes()
    if not wanted.paths and (path := next(absolute_paths(json.loads(content)), "")):
        raise ConfigError(
            f"{record.path / RECORD}: names the path {path}, which a pack would publish, and a record cannot "
            "be edited; give --with-paths to pack it all the same"
        )
    yield Item(f"{inside}/{RECORD}", content)
    names = record.artefacts if record.artefacts is not None else _older(record.path)
    for name in sorted(names):
        if name == PREDICTIONS or wanted.encoders:
            yield Item(f"{inside}/{name}", record.path / name)
        else:
            stated = (record.artefacts or {}).get(name)
            about = f"sha256 {stated.sha256}, {stated.bytes} bytes" if stated else "of a record of version 1"
            yield Item(f"{inside}/{name}{LEFT_OUT}", f"{name}: {about}; not packed\n".encode())
    if wanted.models:
        yield from _kept(record, results)


def _older(path: Path) -> list[str]:
    """The files beside a record that names none."""
    return [file.name for file in sorted(path.iterdir()) if file.is_file() and file.name != RECORD]


def _kept(record: Record, results: Path) -> Iterator[Item]:
    """What was kept of a unit's networks."""
    assert record.path is not None
    folder = results / kept.FOLDER / record.path.relative_to(results)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield Item(f"{RESULTS}/{file.relative_to(results).as_posix()}", file)


def _failure(record: Record) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return (store.write_failure(Path(folder), record) / RECORD).read_bytes()


def foundation_items(records: Sequence[Record], results: Path) -> Iterator[Item]:
    """The split manifests that records cite, and the audits and pools that these rest on.

    Raises StoreError for a manifest that is missing, DataError for one that is damaged.
    """
    for path in sorted(_foundations(records, results)):
        yield Item(f"{RESULTS}/{path.relative_to(results).as_posix()}", path)


def _foundations(records: Sequence[Record], results: Path) -> set[Path]:
    found: set[Path] = set()
    audits = {r.data.audit.audit for r in records if r.data and r.data.audit}
    splits = {r.spec.split: r.spec.dataset.name for r in records if r.status == "done"}
    for split, dataset in splits.items():
        manifests = sorted((results / "splits").glob(f"*/*.{split}.json"))
        if not manifests:
            raise StoreError(
                f"{results / 'splits' / dataset}: has no manifest of split {split}, which results cite; copy "
                "it there from where they were made"
            )
        for path in manifests:
            verdict = read_named(path).verdict
            audits |= {verdict.audit} if verdict else set()
        found |= set(manifests)
    for path in (results / "pools").glob("*/*.json"):
        if path.name.partition(".")[0] in splits:
            found.add(path)
            audits |= {_audit_of_pool(path)}
    for audit in audits:
        found |= set((results / "audits").glob(f"*/*.{audit}.json"))
    for path in found:
        if path.parent.parent.name == "audits":
            read_audit(path)
    return found


def _audit_of_pool(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["audit"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(
            f"{path}: cannot be read; delete it and run the study from its start, or `bench verify`"
        ) from None
