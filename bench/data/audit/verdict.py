"""What an audit says of a split: which duplicates and groups are in more than one part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from bench.data.audit.clusters import label_conflicts
from bench.data.images.index import PARTS, first_few
from bench.study.protocol import AuditSettings

if TYPE_CHECKING:
    from bench.data.audit.audit import Audit
    from bench.data.images.images import Images

_STORED_AS = {
    "leaking_clusters": "torn_clusters",
    "leaking_groups": "torn_groups",
    "leaked": "exposed",
    "label_conflicts": "contradicted",
}
"""Fields whose names in manifests and records are older ones; stored files are never rewritten."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one audit says of one split.

    Attributes:
        audit: hash of the audit.
        settings: settings of the audit.
        leaking_clusters: number of sets of duplicates that are in more than one part.
        leaking_groups: number of the data set's own groups that are in more than one part.
        leaked: number of validation and test images with a duplicate or group mate in another part.
        label_conflicts: number of validation and test images whose duplicates carry another label.
        kept_out: number of images kept out of validation and test because their duplicates carry another
            label.
        examples: some of the leaks, as "id (part) = id (part)".
        remarks: what else a reader of results should know.
    """

    audit: str
    settings: AuditSettings
    leaking_clusters: int
    leaking_groups: int
    leaked: int
    label_conflicts: int
    kept_out: int
    examples: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def leaks(self) -> bool:
        """Whether duplicates or a group are in more than one part."""
        return bool(self.leaking_clusters or self.leaking_groups)

    @property
    def text(self) -> str:
        """The leaks in one sentence."""
        if not self.leaks:
            return "no duplicates and no group on two sides"
        return (
            f"{self.leaking_clusters} sets of duplicates and {self.leaking_groups} groups are on more than "
            f"one side: {self.leaked} validation and test images have a duplicate or group mate elsewhere"
        )


def judge(audit: Audit, images: Images, parts: Sequence[str]) -> Verdict:
    """What `audit` says of a split, given the part of every image."""
    duplicates = audit.clusters(images.ids)
    leaking = [c for c in duplicates if len(_parts_of(c, parts)) > 1]
    members: dict[str, list[int]] = defaultdict(list)
    for i, group in enumerate(images.groups):
        members[group].append(i)
    leaking_groups = [m for m in members.values() if len(_parts_of(m, parts)) > 1]
    leaked = {i for c in (*leaking, *leaking_groups) for i in c if parts[i] in ("val", "test")}
    conflicting = label_conflicts(duplicates, images.labels.tolist())
    evaluated = [i for i in conflicting if parts[i] in ("val", "test")]
    return Verdict(
        audit=audit.hash,
        settings=audit.settings,
        leaking_clusters=len(leaking),
        leaking_groups=len(leaking_groups),
        leaked=len(leaked),
        label_conflicts=len(evaluated),
        kept_out=len(conflicting) - len(evaluated),
        examples=tuple(_example(c, images.ids, parts) for c in (*leaking, *leaking_groups)[:5]),
        remarks=(*audit.notes, *(p.text for p in audit.probes if p.beats)),
    )


def _parts_of(members: Sequence[int], parts: Sequence[str]) -> set[str]:
    """The parts that these images are in; an image that is left out is in none."""
    return {parts[i] for i in members} & set(PARTS)


def _example(members: Sequence[int], ids: Sequence[str], parts: Sequence[str]) -> str:
    first = next(i for i in members if parts[i] in PARTS)
    other = next(i for i in members if parts[i] in PARTS and parts[i] != parts[first])
    return f"{ids[first]} ({parts[first]}) = {ids[other]} ({parts[other]})"


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict in the form of manifests and records."""
    return {_STORED_AS.get(name, name): value for name, value in asdict(verdict).items()}


def verdict_from_json(data: Mapping[str, Any]) -> Verdict:
    """A verdict from a manifest or record."""
    field_names = {_STORED_AS.get(f.name, f.name): f.name for f in fields(Verdict)}
    values = {field_names[key]: value for key, value in data.items() if key in field_names}
    values["settings"] = AuditSettings(**values["settings"])
    for name in ("examples", "remarks"):
        values[name] = tuple(values.get(name, ()))
    return Verdict(**values)


def refusal(verdict: Verdict, dataset: str, round_: int) -> str:
    """The message with which a leaking split is refused."""
    return (
        f"{dataset} round {round_}: audit {verdict.audit[:8]} finds that {verdict.text} "
        f"({first_few(verdict.examples, 3)}); use split.groups audited, mend the groups, "
        "or leave --strict away to go on; every table will then say that the split leaks"
    )
