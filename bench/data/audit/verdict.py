"""What an audit says of a split: which duplicates and groups are in more than one part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from bench.data.audit.clusters import label_conflicts
from bench.data.audit.decided import undecided
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

_LATER = ("revision", "pairs", "groups", "published", "suspects", "suspects_apart")
"""Fields that older manifests and records lack: not written at their default, so that those stay the same."""


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
        revision: of how the audit searched for pairs; 1 is hashes and shifts alone.
        pairs: number of pairs of duplicates that the audit found; None in a verdict of revision 1.
        groups: number of groups of several images that the data set or a reviewed file names.
        published: whether the data set itself names groups (patients, lesions).
        suspects: number of suspected pairs of which nobody has decided whether they belong together.
        suspects_apart: number of those whose images are in different parts.
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
    revision: int = 1
    pairs: int | None = None
    groups: int = 0
    published: bool = True
    suspects: int = 0
    suspects_apart: int = 0

    @property
    def leaks(self) -> bool:
        """Whether duplicates or a group are in more than one part."""
        return bool(self.leaking_clusters or self.leaking_groups)

    @property
    def text(self) -> str:
        """The leaks in one sentence, or what was found instead: never more than was looked for."""
        if not self.leaks:
            return nothing_apart([self])
        return (
            f"{self.leaking_clusters} sets of duplicates and {self.leaking_groups} groups are on more than "
            f"one side: {self.leaked} validation and test images have a duplicate or group mate elsewhere"
        )

    @property
    def search(self) -> str:
        """How the audit looked for duplicates, in words."""
        settings = self.settings
        embedded = f" and nearest neighbours of {settings.embed}" if settings.embed else ""
        if self.revision == 1 or not settings.keypoints:
            return (
                f"perceptual hash within {settings.distance} bits{embedded}, detail {settings.similarity:g} "
                "alike after a shift"
            )
        return (
            f"perceptual hashes within {settings.distance} bits, keypoints{embedded}; detail "
            f"{settings.similarity:g} alike after a shift or an affine map"
        )


def nothing_apart(verdicts: Sequence[Verdict]) -> str:
    """What one audit says of splits that do not leak, one of each round."""
    verdict = max(verdicts, key=lambda verdict: verdict.suspects_apart)
    if verdict.pairs is None:
        return "no duplicates and no group found on two sides"
    text = f"{_number(verdict.pairs, 'pair')} of duplicates found" if verdict.pairs else "no duplicates found"
    if verdict.groups or verdict.published:
        text += f", {_number(verdict.groups, 'group')} of several images known"
    text += ", none on two sides" if verdict.pairs or verdict.groups else ""
    text += "" if verdict.published else "; patients and lesions are not published"
    if verdict.suspects:
        apart = f"{'up to ' * (len(verdicts) > 1)}{verdict.suspects_apart} of them"
        text += (
            f"; {_number(verdict.suspects, 'suspected pair')}, {apart} on two sides, for a person to decide"
        )
    return text


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def judge(audit: Audit, images: Images, parts: Sequence[str]) -> Verdict:
    """What `audit` says of a split, given the part of every image."""
    duplicates = audit.clusters(images.ids)
    leaking = [c for c in duplicates if len(_parts_of(c, parts)) > 1]
    members: dict[str, list[int]] = defaultdict(list)
    for i, group in enumerate(images.groups):
        members[group].append(i)
    leaking_groups = [m for m in members.values() if len(_parts_of(m, parts)) > 1]
    leaked = {i for c in (*leaking, *leaking_groups) for i in c if parts[i] in ("val", "test")}
    part_of = dict(zip(images.ids, parts, strict=True))
    suspected = [(part_of[s.first], part_of[s.second]) for s in undecided(audit.suspects, images)]
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
        revision=audit.revision,
        pairs=len(audit.duplicates),
        groups=sum(len(group) > 1 for group in members.values()),
        published=images.grouped,
        suspects=len(suspected),
        suspects_apart=sum(len(set(pair) & set(PARTS)) > 1 for pair in suspected),
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
    later = {f.name: f.default for f in fields(Verdict) if f.name in _LATER}
    values = asdict(verdict)
    if verdict.settings.keypoints:  # a later field, too
        del values["settings"]["keypoints"]
    return {
        _STORED_AS.get(name, name): value
        for name, value in values.items()
        if name not in later or value != later[name]
    }


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
