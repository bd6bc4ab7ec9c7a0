"""What is wrong with a data set before anything is trained: duplicates, label conflicts, shortcuts.

    results/audits/<data set>/<request>.<hash>.json

`request` digests what was asked (content of the data set, settings), `hash` what was found: the duplicates,
by id. The hash is in every split manifest and every record, and in the footer of every table.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bench.data.audit import duplicates, shortcuts
from bench.data.audit.clusters import clusters, joined, label_conflicts
from bench.data.audit.shortcuts import ShortcutProbe
from bench.data.images.images import Images
from bench.data.images.view import View
from bench.errors import DataError
from bench.files import write_result
from bench.identity import digest, to_json
from bench.interfaces.executor import Progress, Report
from bench.study.protocol import AuditSettings

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
    probes: tuple[ShortcutProbe, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def hash(self) -> str:
        """Identity of what was found: 16 hex digits of a sha256."""
        pairs = [[d.first, d.second, d.exact] for d in self.duplicates]
        return digest([REVISION, self.content, to_json(self.settings), pairs])[:16]

    def clusters(self, ids: Sequence[str]) -> list[list[int]]:
        """Sets of duplicates, as positions in `ids`; images that `ids` does not have are passed over."""
        place = {name: i for i, name in enumerate(ids)}
        known = [d for d in self.duplicates if d.first in place and d.second in place]
        return clusters(len(ids), [(place[d.first], place[d.second]) for d in known])


def stored_audit(
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
    stored = sorted(folder.glob(f"{request}.*.json"))
    if stored:
        return _read(stored[0])
    report(Progress(unit=images.dataset, stage="audit", total=len(images)))
    new = run(images, settings, threads, propose)
    write_result(folder / f"{request}.{new.hash}.json", _to_text(new, images))
    report(Progress(unit=images.dataset, stage="audit", done=len(images), total=len(images)))
    return new


def path_of(results: Path, audit: Audit) -> Path:
    """Where an audit is stored."""
    (path,) = (results / "audits" / audit.dataset).glob(f"*.{audit.hash}.json")
    return path


def run(images: Images, settings: AuditSettings, threads: int = 1, propose: Propose | None = None) -> Audit:
    """Look for duplicates and shortcuts."""
    copies, borders = squares(images.view(duplicates.SIDE))
    further = propose() if propose else None
    pairs = duplicates.find(copies, images.sha256, settings.distance, settings.similarity, further)
    confirmed = tuple(
        Duplicate(images.ids[a], images.ids[b], int(bits), float(alike), images.sha256[a] == images.sha256[b])
        for a, b, bits, alike in zip(pairs.first, pairs.second, pairs.bits, pairs.similarity, strict=True)
    )
    notes = []
    if pairs.distance < settings.distance:
        notes.append(
            f"more than {duplicates.MOST} pairs have hashes within {settings.distance} bits; "
            f"only those within {pairs.distance} were compared by pixels"
        )
    audit = Audit(
        images.dataset, images.content, settings, len(images), pairs.candidates, confirmed, notes=tuple(notes)
    )
    together = joined(images.groups, audit.clusters(images.ids))
    probes = (
        shortcuts.probe("border pixels", borders, images.labels, together, threads),
        shortcuts.probe("image size and colour", _metadata(images), images.labels, together, threads),
    )
    return dataclasses.replace(audit, probes=tuple(p for p in probes if p))


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
        borders.append(shortcuts.border(np.asarray(square.convert("RGB"))))
    return copies, np.stack(borders)


def _metadata(images: Images) -> NDArray[np.float32]:
    """(N, 4) height, width, aspect and channels of the original images. Not their bytes: how well an image
    compresses depends on its texture, from which a class may rightly be told."""
    rows = [(o.height, o.width, o.width / o.height, o.channels) for o in images.originals]
    return np.array(rows, dtype=np.float32)


# --- the file ----------------------------------------------------------------------------------------


def counts(audit: Audit, images: Images) -> dict[str, int]:
    """The figures of an audit, by what they count."""
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
        "groups of several images": sum(n > 1 for n in Counter(images.groups).values()),
        "groups of several labels": sum(
            n > 1
            for n in Counter(
                g for g, _ in set(zip(images.groups, images.labels.tolist(), strict=True))
            ).values()
        ),
    }


def _to_text(audit: Audit, images: Images) -> str:
    """JSON with one duplicate per line."""
    head = {
        "format": FORMAT,
        "hash": audit.hash,
        "dataset": audit.dataset,
        "content": audit.content,
        "version": images.version,
        "settings": dataclasses.asdict(audit.settings),
        "images": audit.images,
        "candidates": audit.candidates,
        "counts": counts(audit, images),
        "probes": [dataclasses.asdict(p) for p in audit.probes],
        "notes": audit.notes,
        "clusters": [[images.ids[i] for i in c] for c in audit.clusters(images.ids)],
        "columns": [f.name for f in dataclasses.fields(Duplicate)],
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    rows = (json.dumps(list(dataclasses.astuple(d)), ensure_ascii=False) for d in audit.duplicates)
    return "{\n" + ",\n".join(lines) + ',\n  "duplicates": [\n    ' + ",\n    ".join(rows) + "\n  ]\n}\n"


def _read(path: Path) -> Audit:
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
            notes=tuple(data["notes"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: is not an audit that can be read ({type(error).__name__}: {error}); "
            "delete it to have it made again"
        ) from None
    if not audit.hash == data["hash"] == path.name.split(".")[-2]:
        raise DataError(f"{path}: was edited since it was made; delete it to have it made again")
    return audit
