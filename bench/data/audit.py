"""What is wrong with a data set before anything is trained: duplicates, contradicting labels, give-aways.

    results/audits/<data set>/<request>.<hash>.json

`request` digests what was asked (content of the data set, settings), `hash` what was found: the duplicates,
by id. The hash is in every split manifest and every record, and in the footer of every table.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from bench.data import duplicates, probes
from bench.data.images import PARTS, Images, View, first_few
from bench.data.probes import Probe
from bench.errors import DataError
from bench.spec import AuditSettings, digest, to_json
from bench.store import replace_text
from bench.types import Progress, Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1  # of the file
REVISION = 1  # raise when the same images and settings would now give other duplicates

Propose = Callable[[], "NDArray[np.int64]"]
"""Further pairs (P, 2) to compare by pixels, made only if the audit is not stored yet."""


@dataclass(frozen=True)
class Duplicate:
    """Two images that show the same picture."""

    first: str  # id
    second: str
    bits: int  # of 64 in which the perceptual hashes differ
    similarity: float  # correlation of aligned detail
    exact: bool  # all pixels are equal


@dataclass(frozen=True)
class Audit:
    """What was found in one data set."""

    dataset: str
    content: str  # of the images
    settings: AuditSettings
    images: int
    candidates: int  # pairs compared by pixels
    duplicates: tuple[Duplicate, ...]
    probes: tuple[Probe, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def hash(self) -> str:
        """Identity of what was found: 16 hex digits of a sha256."""
        found = [[d.first, d.second, d.exact] for d in self.duplicates]
        return digest([REVISION, self.content, to_json(self.settings), found])[:16]

    def clusters(self, ids: Sequence[str]) -> list[list[int]]:
        """Sets of duplicates, as positions in `ids`; images that `ids` does not have are passed over."""
        place = {name: i for i, name in enumerate(ids)}
        known = [d for d in self.duplicates if d.first in place and d.second in place]
        return duplicates.clusters(len(ids), [(place[d.first], place[d.second]) for d in known])


def audit(
    results: Path,
    images: Images,
    settings: AuditSettings,
    threads: int = 1,
    propose: Propose | None = None,
    report: Report = lambda progress: None,
) -> Audit:
    """The audit already stored for these images and settings, or a new one, which is stored.

    `images` must have a view at short side `duplicates.SIDE`; `report` hears of an audit that is made.
    """
    folder = results / "audits" / images.dataset
    request = digest([REVISION, images.content, to_json(settings)])[:8]
    found = sorted(folder.glob(f"{request}.*.json"))
    if found:
        return _read(found[0])
    report(Progress(unit=images.dataset, stage="audit", total=len(images)))
    made = run(images, settings, threads, propose)
    replace_text(folder / f"{request}.{made.hash}.json", _to_text(made, images))
    report(Progress(unit=images.dataset, stage="audit", done=len(images), total=len(images)))
    return made


def path_of(results: Path, made: Audit) -> Path:
    """Where an audit is stored."""
    (path,) = (results / "audits" / made.dataset).glob(f"*.{made.hash}.json")
    return path


def run(images: Images, settings: AuditSettings, threads: int = 1, propose: Propose | None = None) -> Audit:
    """Look for duplicates and give-aways."""
    copies, borders = squares(images.view(duplicates.SIDE))
    further = propose() if propose else None
    pairs = duplicates.find(copies, images.sha256, settings.distance, settings.similarity, further)
    found = tuple(
        Duplicate(images.ids[a], images.ids[b], int(bits), float(alike), images.sha256[a] == images.sha256[b])
        for a, b, bits, alike in zip(pairs.first, pairs.second, pairs.bits, pairs.similarity, strict=True)
    )
    notes = []
    if pairs.distance < settings.distance:
        notes.append(
            f"more than {duplicates.MOST} pairs have hashes within {settings.distance} bits; "
            f"only those within {pairs.distance} were compared by pixels"
        )
    made = Audit(
        images.dataset, images.content, settings, len(images), pairs.candidates, found, notes=tuple(notes)
    )
    together = joined(images.groups, made.clusters(images.ids))
    judged = (
        probes.probe("border pixels", borders, images.labels, together, threads),
        probes.probe("image size and colour", _metadata(images), images.labels, together, threads),
    )
    return dataclasses.replace(made, probes=tuple(p for p in judged if p))


def squares(view: View) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Grey copies (N, SIDE, SIDE) of all images, and the features of their borders (N, F)."""
    side = duplicates.SIDE
    copies = np.empty((len(view), side, side), dtype=np.uint8)
    borders = []
    for i in range(len(view)):
        pixels = view[i]
        image = Image.fromarray(pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0))
        square = image.resize((side, side), Image.Resampling.BILINEAR)
        copies[i] = np.asarray(square.convert("L"))
        borders.append(probes.border(np.asarray(square.convert("RGB"))))
    return copies, np.stack(borders)


def _metadata(images: Images) -> NDArray[np.float32]:
    """(N, 4) height, width, aspect and channels of the original images. Not their bytes: how well an image
    compresses is its texture, which may be told from."""
    rows = [(o.height, o.width, o.width / o.height, o.channels) for o in images.originals]
    return np.array(rows, dtype=np.float32)


def joined(groups: Sequence[str], clusters: Iterable[Sequence[int]]) -> tuple[str, ...]:
    """`groups` (N,), those that share a cluster made one, under the first of their names."""
    names = sorted(set(groups))
    number = {name: i for i, name in enumerate(names)}
    links = [(number[groups[c[0]]], number[groups[i]]) for c in clusters for i in c[1:]]
    first = list(range(len(names)))
    for members in duplicates.clusters(len(names), links):
        for member in members:
            first[member] = members[0]
    return tuple(names[first[number[group]]] for group in groups)


def contradictions(clusters: Iterable[Sequence[int]], labels: Sequence[Any]) -> list[int]:
    """Positions of images whose duplicates carry another label."""
    return sorted(i for c in clusters if len({labels[i] for i in c}) > 1 for i in c)


# --- what an audit says of a split -------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What one audit says of one split."""

    audit: str  # hash
    settings: AuditSettings
    torn_clusters: int  # sets of duplicates on more than one side
    torn_groups: int  # of the data set's own groups
    exposed: int  # validation and test images with a duplicate or group mate on another side
    contradicted: int  # validation and test images whose duplicates carry another label
    kept_out: int  # images kept out of validation and test because their duplicates carry another label
    examples: tuple[str, ...] = ()  # "id (part) = id (part)"
    remarks: tuple[str, ...] = ()  # what else a reader of results should know

    @property
    def leaks(self) -> bool:
        return bool(self.torn_clusters or self.torn_groups)

    @property
    def text(self) -> str:
        """The leaks in one sentence."""
        if not self.leaks:
            return "no duplicates and no group on two sides"
        return (
            f"{self.torn_clusters} sets of duplicates and {self.torn_groups} groups are on more than one "
            f"side: {self.exposed} validation and test images have a duplicate or group mate elsewhere"
        )


def judge(made: Audit, images: Images, parts: Sequence[str]) -> Verdict:
    """What `made` says of the split that gives each of `images` its part."""
    clusters = made.clusters(images.ids)
    torn = [c for c in clusters if len(_sides(c, parts)) > 1]
    members: dict[str, list[int]] = defaultdict(list)
    for i, group in enumerate(images.groups):
        members[group].append(i)
    torn_groups = [m for m in members.values() if len(_sides(m, parts)) > 1]
    exposed = {i for c in (*torn, *torn_groups) for i in c if parts[i] in ("val", "test")}
    contradicted = contradictions(clusters, images.labels.tolist())
    judged = [i for i in contradicted if parts[i] in ("val", "test")]
    return Verdict(
        audit=made.hash,
        settings=made.settings,
        torn_clusters=len(torn),
        torn_groups=len(torn_groups),
        exposed=len(exposed),
        contradicted=len(judged),
        kept_out=len(contradicted) - len(judged),
        examples=tuple(_example(c, images.ids, parts) for c in (*torn, *torn_groups)[:5]),
        remarks=(*made.notes, *(p.text for p in made.probes if p.beats)),
    )


def _sides(members: Sequence[int], parts: Sequence[str]) -> set[str]:
    return {parts[i] for i in members} & set(PARTS)


def _example(members: Sequence[int], ids: Sequence[str], parts: Sequence[str]) -> str:
    first = next(i for i in members if parts[i] in PARTS)
    other = next(i for i in members if parts[i] in PARTS and parts[i] != parts[first])
    return f"{ids[first]} ({parts[first]}) = {ids[other]} ({parts[other]})"


def verdict_from_json(data: dict[str, Any]) -> Verdict:
    """Read a verdict back from a manifest or record."""
    from pydantic import TypeAdapter

    return TypeAdapter(Verdict).validate_python(data)


# --- the file ----------------------------------------------------------------------------------------


def counts(made: Audit, images: Images) -> dict[str, int]:
    """The figures of an audit, by what they count."""
    clusters = made.clusters(images.ids)
    classes = dict(zip(images.ids, images.labels.tolist(), strict=True))
    groups = dict(zip(images.ids, images.groups, strict=True))
    across = [d for d in made.duplicates if classes[d.first] != classes[d.second]]
    return {
        "images": made.images,
        "pairs compared by pixels": made.candidates,
        "duplicate pairs": len(made.duplicates),
        "of these with equal pixels": sum(d.exact for d in made.duplicates),
        "of these across classes": len(across),
        "of these across groups": sum(groups[d.first] != groups[d.second] for d in made.duplicates),
        "sets of duplicates": len(clusters),
        "images in them": sum(map(len, clusters)),
        "images in the largest": max(map(len, clusters), default=0),
        "images whose duplicates carry another label": len(contradictions(clusters, images.labels.tolist())),
        "groups of several images": sum(n > 1 for n in Counter(images.groups).values()),
        "groups of several labels": sum(
            n > 1
            for n in Counter(
                g for g, _ in set(zip(images.groups, images.labels.tolist(), strict=True))
            ).values()
        ),
    }


def _to_text(made: Audit, images: Images) -> str:
    """JSON with one duplicate a line."""
    head = {
        "format": FORMAT,
        "hash": made.hash,
        "dataset": made.dataset,
        "content": made.content,
        "version": images.version,
        "settings": dataclasses.asdict(made.settings),
        "images": made.images,
        "candidates": made.candidates,
        "counts": counts(made, images),
        "probes": [dataclasses.asdict(p) for p in made.probes],
        "notes": made.notes,
        "clusters": [[images.ids[i] for i in c] for c in made.clusters(images.ids)],
        "columns": [f.name for f in dataclasses.fields(Duplicate)],
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    rows = (json.dumps(list(dataclasses.astuple(d)), ensure_ascii=False) for d in made.duplicates)
    return "{\n" + ",\n".join(lines) + ',\n  "duplicates": [\n    ' + ",\n    ".join(rows) + "\n  ]\n}\n"


def _read(path: Path) -> Audit:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        made = Audit(
            dataset=data["dataset"],
            content=data["content"],
            settings=AuditSettings(**data["settings"]),
            images=data["images"],
            candidates=data["candidates"],
            duplicates=tuple(Duplicate(*row) for row in data["duplicates"]),
            probes=tuple(Probe(**p) for p in data["probes"]),
            notes=tuple(data["notes"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: is no audit that can be read ({type(error).__name__}: {error}); "
            "delete it to have it made again"
        ) from None
    if not made.hash == data["hash"] == path.name.split(".")[-2]:
        raise DataError(f"{path}: was edited since it was made; delete it to have it made again")
    return made


def refuse(verdict: Verdict, dataset: str, round_: int) -> str:
    """The message with which a leaking split is refused."""
    return (
        f"{dataset} round {round_}: audit {verdict.audit[:8]} finds that {verdict.text} "
        f"({first_few(verdict.examples, 3)}); use split.groups audited, mend the groups, "
        "or leave --strict away to go on and have it said under every table"
    )
