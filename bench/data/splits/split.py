"""Which images train, validate and test: grouped, stratified, drawn once per round."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.data.audit.audit import Audit
from bench.data.audit.clusters import joined, label_conflicts
from bench.data.audit.verdict import Verdict, judge, refusal
from bench.data.images.images import Images
from bench.data.images.index import PARTS, first_few
from bench.data.splits import assign
from bench.errors import DataError, SplitError
from bench.identity import derive_seed, digest
from bench.study.protocol import SplitSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray
OUT = "out"  # the part of images that are in none


class PartCount(NamedTuple):
    images: int
    groups: int


@dataclass(frozen=True)
class Split:
    """The parts of one round. Sequences are of length N, in the order of the images it was made for."""

    dataset: str
    round: int
    seed: int
    settings: SplitSettings
    content: str  # of the images it was drawn from
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    sha256: tuple[str, ...]
    labels: tuple[str, ...]  # class names
    groups: tuple[str, ...]
    parts: tuple[str, ...]  # "train", "val", "test", or "out" for an image that is left out
    notes: tuple[str, ...] = ()
    verdict: Verdict | None = None  # what the audit says of it; None for a manifest older than audits

    @cached_property
    def hash(self) -> str:
        """Identity of what the split fixes: 16 hex digits of a sha256, the same for any order of images."""
        return digest(self.rows())[:16]

    def rows(self) -> list[list[str]]:
        """[id, sha256, class, group, part] of every image, sorted."""
        return sorted(
            map(list, zip(self.ids, self.sha256, self.labels, self.groups, self.parts, strict=True))
        )

    def indices(self, part: str) -> NDArray[np.int64]:
        """Positions of the images of "train", "val" or "test"."""
        return np.flatnonzero(np.array(self.parts) == part)

    def counts(self) -> dict[str, dict[str, PartCount]]:
        """Images and groups of every class in every part."""
        images = Counter(zip(self.parts, self.labels, strict=True))
        groups = Counter((p, c) for p, c, _ in set(zip(self.parts, self.labels, self.groups, strict=True)))
        return {p: {c: PartCount(images[p, c], groups[p, c]) for c in self.classes} for p in PARTS}


# --- drawing -----------------------------------------------------------------------------------------


def draw(images: Images, settings: SplitSettings, round: int, seed: int, audit: Audit | None = None) -> Split:
    """Divide `images`: as the data set itself does, if it does; otherwise by `settings`, `round`, `seed`.

    With `audit`, images that show the same picture share a group, as `settings.groups` and
    `settings.conflicts` say. Raises SplitError if a class would have no training image, a group would be
    divided between parts, or there are too few groups; DataError if only some images have a part.
    """
    official = any(images.parts)
    clusters = audit.clusters(images.ids) if audit and settings.groups == "audited" and not official else []
    groups = images.groups if official else _groups(images, settings, clusters)
    try:
        if official:
            parts = _official(images, settings, round, seed)
        else:
            anywhere = settings.conflicts == "anywhere"
            conflicting = [] if anywhere else label_conflicts(clusters, images.labels.tolist())
            parts = _drawn(images, groups, conflicting, settings, round, seed)
    except SplitError as error:
        raise SplitError(f"{images.dataset}: {error}") from None
    split = Split(
        dataset=images.dataset,
        round=round,
        seed=seed,
        settings=settings,
        content=images.content,
        classes=images.classes,
        ids=images.ids,
        sha256=images.sha256,
        labels=tuple(images.classes[label] for label in images.labels),
        groups=groups,
        parts=tuple(parts),
    )
    _check(split)
    verdict = judge(audit, images, parts) if audit else None
    return dataclasses.replace(split, notes=tuple(_notes(split, official)), verdict=verdict)


def _groups(images: Images, settings: SplitSettings, clusters: Sequence[Sequence[int]]) -> tuple[str, ...]:
    return images.ids if settings.groups == "none" else joined(images.groups, clusters)


def _drawn(
    images: Images,
    groups: Sequence[str],
    conflicting: Sequence[int],
    settings: SplitSettings,
    round: int,
    seed: int,
) -> list[str]:
    """A part for every image. The groups of `conflicting` images train or are left out, as a whole."""
    apart = {groups[i] for i in conflicting}
    rows = [i for i in range(len(images)) if groups[i] not in apart]
    if not rows:
        raise SplitError("the duplicates of every group carry another label; mend the labels")
    labelled, order = _labelled(images, groups, rows)
    anew = derive_seed(seed, images.dataset, "split", settings.method, round)
    if settings.method == "holdout":
        codes = assign.holdout(labelled, settings.val, settings.test, anew)
    elif round < settings.folds:
        once = derive_seed(seed, images.dataset, "split", settings.method, "folds")
        codes = assign.kfold(labelled, settings.val, settings.folds, round, (once, anew))
    else:
        raise SplitError(f"round {round} does not exist with {settings.folds} folds; raise split.folds")
    parts = [OUT if settings.conflicts == "out" else "train"] * len(images)
    for row, code in zip(order, codes, strict=True):
        parts[row] = PARTS[code]
    return parts


def _official(images: Images, settings: SplitSettings, round: int, seed: int) -> list[str]:
    parts = list(images.parts)
    if without := [name for name, part in zip(images.ids, parts, strict=True) if not part]:
        raise DataError(
            f"{images.dataset}: {len(without)} images have no part while others have: {first_few(without)}; "
            "give every image one of train, val, test, or none to any"
        )
    if lacking := {"train", "test"} - set(parts):
        raise DataError(
            f"{images.dataset}: the split that comes with it has no {' and no '.join(sorted(lacking))} part; "
            "give some images that part, or remove all parts to have a split drawn"
        )
    if "val" not in parts:
        rows = np.flatnonzero(np.array(parts) == "train").tolist()
        labelled, order = _labelled(images, images.groups, rows)
        share = settings.val / (1 - settings.test) if settings.method == "holdout" else settings.val
        drawn = assign.validation(
            labelled, share, derive_seed(seed, images.dataset, "split", "official", round)
        )
        for row, code in zip(order, drawn, strict=True):
            parts[row] = PARTS[code]
    return parts


def _labelled(
    images: Images, groups: Sequence[str], rows: Sequence[int]
) -> tuple[assign.Labelled, list[int]]:
    """The images at `rows` sorted by id, so that a split does not depend on the order of the index."""
    order = sorted(rows, key=lambda row: images.ids[row])
    names, number = np.unique([groups[row] for row in order], return_inverse=True)
    return assign.Labelled(images.labels[order], number.astype(np.int64), names.tolist()), order


def _check(split: Split) -> None:
    sides = Counter(group for group, part in set(zip(split.groups, split.parts, strict=True)))
    if leaking := sorted(group for group, count in sides.items() if count > 1):
        raise SplitError(
            f"{split.dataset}: {len(leaking)} groups have images on more than one side of the split: "
            f"{first_few(leaking)}; mend the parts or the groups in the data set's index"
        )
    if empty := sorted(set(PARTS) - set(split.parts)):
        raise SplitError(
            f"{split.dataset}: no images are left for {' and '.join(empty)} "
            f"({len(split.ids)} images in {len(sides)} groups); add images, or change split.val, split.test"
        )
    counts = split.counts()
    if absent := [c for c in split.classes if not counts["train"][c].images]:
        where = "; ".join(f"{c}: " + ", ".join(f"{p} {counts[p][c].images}" for p in PARTS) for c in absent)
        raise SplitError(
            f"{split.dataset} round {split.round}: no training image of class {', '.join(absent)} ({where}); "
            "add images of it from other groups, leave the class out, or take another seed"
        )


def _notes(split: Split, official: bool) -> Iterator[str]:
    if official and split.settings.method == "kfold":
        yield "the data set fixes its own split; split.method kfold was not used"
    if left := split.parts.count(OUT):
        yield f"{left} images are in no part, because their duplicates carry another label"
    counts = split.counts()
    for part in ("val", "test"):
        for name in split.classes:
            if not counts[part][name].images:
                total = sum(counts[p][name].groups for p in PARTS)
                yield f"class {name} ({total} group{'s' * (total != 1)}) has no image in {part}"


def require_sound(split: Split) -> None:
    """Refuse a split that leaks, by its audit. Raises SplitError, or DataError if it was never audited."""
    if split.verdict is None:
        raise DataError(
            f"{split.dataset} round {split.round}: its split manifest is older than audits, so nobody knows "
            "whether it leaks; run the study with other results to draw an audited split"
        )
    if split.verdict.leaks:
        raise SplitError(refusal(split.verdict, split.dataset, split.round))
