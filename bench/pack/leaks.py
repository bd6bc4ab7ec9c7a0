"""Whether packed splits keep apart what belongs together, counted anew from manifests and audits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from bench.data.audit.audit import Audit, read_audit
from bench.data.images.index import PARTS
from bench.data.splits.manifest import read_named
from bench.data.splits.split import Split
from bench.errors import DataError
from bench.results.record import Record
from bench.results.verify import Verification

AS_STORED = "ask the authors how this came about"


def check_splits(results: Path, records: Sequence[Record], found: Verification) -> None:
    """Count groups, duplicates and equal pictures on two sides of every manifest below `results`; more than
    its own verdict states is added to `found`, and so are records that count other images."""
    audits = _audits(results)
    splits = {}
    for path in sorted((results / "splits").glob("*/*.json")):
        try:
            split = read_named(path)
        except DataError:
            continue  # which the check of all files has told
        splits[split.hash] = split
        found.counts["splits checked for leaks"] += 1
        for fault in _faults(split, audits):
            found.add(path, fault, AS_STORED)
    for record in records:
        stated = record.data.counts if record.data else {}
        manifest = splits.get(record.spec.split)
        if stated and manifest is not None and _plain(stated) != _plain(manifest.counts()):
            found.add(
                record.path or results,
                f"counts other images than its split manifest {manifest.hash} has",
                AS_STORED,
            )


def _plain(counts: Mapping[str, Mapping[str, Sequence[int]]]) -> dict[str, dict[str, tuple[int, ...]]]:
    return {part: {name: tuple(n) for name, n in by.items()} for part, by in counts.items()}


def _audits(results: Path) -> dict[str, Audit]:
    audits = {}
    for path in sorted((results / "audits").glob("*/*.json")):
        try:
            audit = read_audit(path)
        except DataError:
            continue
        audits[audit.hash] = audit
    return audits


def _faults(split: Split, audits: Mapping[str, Audit]) -> Iterable[str]:
    """What a manifest does not say of itself."""
    stated = split.verdict
    groups = _torn(split.groups, split.parts)
    if groups > (stated.leaking_groups if stated else 0):
        of_itself = stated.leaking_groups if stated else "nothing"
        yield f"has {groups} groups on more than one side, and states {of_itself}"
    audit = audits.get(stated.audit) if stated else None
    if stated and audit:
        sets = sum(len({split.parts[i] for i in c} & set(PARTS)) > 1 for c in audit.clusters(split.ids))
        if sets > stated.leaking_clusters:
            yield f"has {sets} sets of duplicates on more than one side, and states {stated.leaking_clusters}"
    same = _torn(split.sha256, split.parts)
    if same > (stated.leaking_clusters if stated else 0):
        yield f"has {same} pictures (equal pixels) on more than one side, which it does not state"


def _torn(names: Sequence[Hashable], parts: Sequence[str]) -> int:
    """How many names have images in more than one part."""
    places: dict[Hashable, set[str]] = defaultdict(set)
    for name, part in zip(names, parts, strict=True):
        if part in PARTS:
            places[name].add(part)
    return sum(len(each) > 1 for each in places.values())
