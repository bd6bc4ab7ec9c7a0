"""The audit of a data set: its duplicates and shortcut probes, stored as a file.

    results/audits/<data set>/<request>.<hash>.json

`request` is a digest of what an audit depends on: content of the data set and settings. `hash` is a digest of
its result: the duplicates, by id. Split manifests, records and the footers of tables cite the hash.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.data.audit.clusters import clusters, join_groups, label_conflicts
from bench.data.audit.decided import undecided
from bench.data.audit.search import (
    SHORT,
    Copies,
    Duplicate,
    Suspect,
    find_pairs,
    hashes_of,
    reduced_copies,
    suspects,
)
from bench.data.audit.shortcut_features import metadata_features
from bench.data.audit.shortcuts import ShortcutProbe, probe_shortcut
from bench.data.images.images import Images
from bench.data.images.index import first_few
from bench.data.images.pool import UNITED
from bench.errors import DataError
from bench.files import write_result
from bench.identity import digest, to_json
from bench.interfaces.executor import Progress, Report, silent
from bench.study.protocol import AuditSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 2  # of the audit file; files of format 1 know no suspects
SAME_PICTURE = 10  # bits in which the hashes of one picture at another size or compression may differ
REVISION = 2  # of how pairs are searched; raise when the same images and settings would now give others

Propose = Callable[[], "NDArray[np.int64]"]
"""Gives further pairs (P, 2) to compare by pixels; called only if the audit is not stored yet."""


@dataclass(frozen=True)
class Audit:
    """The result of auditing one data set."""

    dataset: str
    content: str  # `Images.content`
    settings: AuditSettings
    images: int
    candidates: int  # pairs compared by pixels
    duplicates: tuple[Duplicate, ...]
    probes: tuple[ShortcutProbe, ...] = ()
    suspects: tuple[Suspect, ...] = ()  # the most similar first
    notes: tuple[str, ...] = ()
    revision: int = 1  # of how pairs were searched: REVISION then

    @cached_property
    def hash(self) -> str:
        """Identity of the duplicates, images and settings: 16 hex digits of a sha256."""
        pairs = [[d.first, d.second, d.exact] for d in self.duplicates]
        return digest([self.revision, self.content, to_json(self.settings), pairs])[:16]

    def clusters(self, ids: Sequence[str]) -> list[list[int]]:
        """Sets of duplicates, as positions in `ids`; images that are not in `ids` are passed over."""
        positions = {id_: i for i, id_ in enumerate(ids)}
        listed = [d for d in self.duplicates if d.first in positions and d.second in positions]
        return clusters(len(ids), [(positions[d.first], positions[d.second]) for d in listed])


def stored_audit(
    results: Path,
    images: Images,
    settings: AuditSettings,
    threads: int = 1,
    propose: Propose | None = None,
    report: Report = silent,
    with_probes: bool = True,
) -> Audit:
    """The audit stored for these images and settings. If there is none, one is made, reported and stored.

    `images` must have a view at the short side SHORT. Raises DataError for a damaged or edited file.
    """
    folder = results / "audits" / images.dataset
    request = digest([REVISION, images.content, to_json(settings)])[:8]
    stored = sorted(folder.glob(f"{request}.*.json"))
    if stored:
        audit = read_audit(stored[0])
        _check_reviewed(images)
        return audit
    report(Progress(unit=images.dataset, stage="audit", total=len(images)))
    new = make_audit(images, settings, threads, propose, with_probes)
    write_result(folder / f"{request}.{new.hash}.json", _to_text(new, images))
    report(Progress(unit=images.dataset, stage="audit", done=len(images), total=len(images)))
    return new


def audit_path(results: Path, audit: Audit) -> Path:
    """The file of a stored audit."""
    (path,) = (results / "audits" / audit.dataset).glob(f"*.{audit.hash}.json")
    return path


def make_audit(
    images: Images,
    settings: AuditSettings,
    threads: int = 1,
    propose: Propose | None = None,
    with_probes: bool = True,
) -> Audit:
    """Look for duplicates, then for suspects and shortcuts with duplicates kept together.

    Raises DataError if a reviewed file was made for other pictures.
    """
    _check_reviewed(images)
    copies = reduced_copies(images.view(SHORT), threads)
    further = propose() if propose else np.empty((0, 2), dtype=np.int64)
    short_sides = [min(o.height, o.width) for o in images.originals]
    found = find_pairs(copies, images.ids, images.sha256, short_sides, settings, further, threads)
    audit = Audit(
        dataset=images.dataset,
        content=images.content,
        settings=settings,
        images=len(images),
        candidates=found.candidates,
        duplicates=found.duplicates,
        notes=found.notes,
        revision=REVISION,
    )
    groups = join_groups(images.groups, audit.clusters(images.ids))
    probes = _probes(images, copies, groups, threads) if with_probes else ()
    return dataclasses.replace(
        audit,
        suspects=tuple(suspects(found.aligned, images.ids, groups)),
        probes=tuple(probes),
    )


def _probes(images: Images, copies: Copies, groups: Sequence[str], threads: int) -> Iterator[ShortcutProbe]:
    """What tells the class that is not the picture."""
    seen = {
        "border pixels": copies.borders,
        "image size and colour": _file_features(images),
        "bright and coloured marks": copies.marks if copies.marks.any() else None,
        "metadata of the files": metadata_features(images.paths, threads),
    }
    for what, features in seen.items():
        if features is not None:
            probe = probe_shortcut(what, features, images.labels, groups, threads)
            if probe is not None:
                yield probe


def _check_reviewed(images: Images) -> None:
    """Raise DataError if a reviewed file gives another hash of a picture than it has."""
    positions = {id_: i for i, id_ in enumerate(images.ids)}
    for file in images.reviewed:
        stated = [image for image in file.images if image.phash and image.id in positions]
        if not stated:
            continue
        hashes = hashes_of(images.view(SHORT), [positions[image.id] for image in stated])
        other = [
            image.id
            for image in stated
            if (int(image.phash, 16) ^ int(hashes[positions[image.id]], 16)).bit_count() > SAME_PICTURE
        ]
        if other:
            raise DataError(
                f"{images.dataset}: {file.name} was reviewed for other pictures: the perceptual hashes of "
                f"{len(other)} of {len(stated)} images are not those that it states ({first_few(other)}); "
                "look at these images again (bench data audit), or go on without it: "
                f"--set dataset.{images.dataset.removesuffix(UNITED)}.groups=none"
            )


def _file_features(images: Images) -> NDArray[np.float32]:
    """(N, 4) height, width, aspect ratio and channels of the original images.

    The size of the file in bytes is left out: it depends on the texture, which may be a medical sign.
    """
    rows = [(o.height, o.width, o.width / o.height, o.channels) for o in images.originals]
    return np.array(rows, dtype=np.float32)


# --- the file ----------------------------------------------------------------------------------------


def audit_counts(audit: Audit, images: Images) -> dict[str, int]:
    """The figures of an audit, by the words that say what they count."""
    sets = audit.clusters(images.ids)
    classes = dict(zip(images.ids, images.labels.tolist(), strict=True))
    groups = dict(zip(images.ids, images.groups, strict=True))
    across = [d for d in audit.duplicates if classes[d.first] != classes[d.second]]
    return {
        "images": audit.images,
        "pairs compared by pixels": audit.candidates,
        "duplicate pairs": len(audit.duplicates),
        "of these with equal pixels": sum(d.exact for d in audit.duplicates),
        "of these across classes": len(across),
        "of these across groups": sum(groups[d.first] != groups[d.second] for d in audit.duplicates),
        "sets of duplicates": len(sets),
        "images in them": sum(map(len, sets)),
        "images in the largest": max(map(len, sets), default=0),
        "images whose duplicates carry another label": len(label_conflicts(sets, images.labels.tolist())),
        "suspected pairs, for a person to decide": len(undecided(audit.suspects, images)),
        "groups of several images": sum(n > 1 for n in Counter(images.groups).values()),
        "groups of several labels": sum(
            n > 1
            for n in Counter(
                g for g, _ in set(zip(images.groups, images.labels.tolist(), strict=True))
            ).values()
        ),
    }


def stored_counts(path: Path) -> dict[str, int]:
    """The same as an audit's file states them; empty where it states none. Raises DataError for a file that
    cannot be read."""
    try:
        counts = json.loads(path.read_text(encoding="utf-8")).get("counts") or {}
        return {str(what): int(count) for what, count in counts.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is not an audit that can be read ({type(error).__name__})") from None


def _to_text(audit: Audit, images: Images) -> str:
    """JSON with one duplicate per line."""
    import cv2

    head = {
        "format": FORMAT,
        "hash": audit.hash,
        "revision": audit.revision,
        "opencv": cv2.__version__,
        "dataset": audit.dataset,
        "content": audit.content,
        "version": images.version,
        "settings": dataclasses.asdict(audit.settings),
        "images": audit.images,
        "candidates": audit.candidates,
        "reviewed": {file.name: file.sha256 for file in images.reviewed},
        "counts": audit_counts(audit, images),
        "probes": [dataclasses.asdict(p) for p in audit.probes],
        "notes": audit.notes,
        "clusters": [[images.ids[i] for i in c] for c in audit.clusters(images.ids)],
        "suspects": [dataclasses.asdict(s) for s in audit.suspects],
        "columns": [f.name for f in dataclasses.fields(Duplicate)],
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    rows = (json.dumps(dataclasses.astuple(d), ensure_ascii=False) for d in audit.duplicates)
    return "{\n" + ",\n".join(lines) + ',\n  "duplicates": [\n    ' + ",\n    ".join(rows) + "\n  ]\n}\n"


def read_audit(path: Path) -> Audit:
    """A stored audit. Raises DataError if it is damaged or was edited."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        audit = Audit(
            dataset=data["dataset"],
            content=data["content"],
            settings=AuditSettings(**data["settings"]),
            images=data["images"],
            candidates=data["candidates"],
            duplicates=tuple(Duplicate(*row) for row in data["duplicates"]),
            probes=tuple(ShortcutProbe(**p) for p in data["probes"]),
            suspects=tuple(Suspect(**s) for s in data.get("suspects", ())),
            notes=tuple(data["notes"]),
            revision=data.get("revision", 1),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: is not an audit that can be read ({type(error).__name__}: {error}); "
            "delete it to have it made again"
        ) from None
    if not audit.hash == data["hash"] == path.name.split(".")[-2]:
        raise DataError(f"{path}: was edited since it was made; delete it to have it made again")
    return audit
