"""Draw the split of one round: which images train, validate and test, grouped and stratified."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.data.audit.audit import Audit
from bench.data.audit.clusters import join_groups, label_conflicts
from bench.data.audit.verdict import Verdict, judge, refusal
from bench.data.images.images import Images
from bench.data.images.index import PARTS, first_few
from bench.data.splits import assign
from bench.errors import DataError, SplitError
from bench.identity import derive_seed, digest
from bench.study.protocol import SplitSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUT = "out"  # stands for the part of an image that is left out


class PartCount(NamedTuple):
    """Size of one class in one part."""

    images: int
    groups: int


@dataclass(frozen=True)
class Split:
    """The split of one round. All sequences are of length N, in the order of the images it was drawn for."""

    dataset: str
    round: int
    seed: int
    settings: SplitSettings
    content: str  # `Images.content` of the images it was drawn from
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    sha256: tuple[str, ...]
    labels: tuple[str, ...]  # class names
    groups: tuple[str, ...]
    parts: tuple[str, ...]  # "train", "val", "test", or "out" for an image that is left out
    notes: tuple[str, ...] = ()
    verdict: Verdict | None = None  # of the audit; None for a manifest older than audits

    @cached_property
    def hash(self) -> str:
        """Identity of the split: 16 hex digits of a sha256 that ignores the order of the images."""
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


def draw_split(
    images: Images, settings: SplitSettings, round: int, seed: int, audit: Audit | None = None
) -> Split:
    """Divide `images` into parts: the data set's own if it fixes them, otherwise drawn by `settings`.

    With `audit`, `settings.groups` and `settings.conflicts` decide whether duplicates share a group, and what
    becomes of those with different labels. Raises SplitError if a class would have no training image, a group
    would be divided between parts, or there are too few groups; DataError if only some images have a part.
    """
    official = any(images.parts)
    mended = official and settings.mend != "none"
    wanted = settings.groups == "audited" and not official
    clusters = audit.clusters(images.ids) if audit and (wanted or mended) else []
    if official:
        groups = join_groups(images.groups, clusters) if mended else images.groups
    else:
        groups = _indivisible_groups(images, settings, clusters)
    try:
        if official:
            parts = _official(images, groups, settings, round, seed)
            if mended:
                parts = mend(parts, groups, settings.mend)
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
    return dataclasses.replace(split, notes=tuple(_notes(split, images.parts)), verdict=verdict)


def _indivisible_groups(
    images: Images, settings: SplitSettings, clusters: Sequence[Sequence[int]]
) -> tuple[str, ...]:
    """The group of every image that the split must not divide."""
    return images.ids if settings.groups == "none" else join_groups(images.groups, clusters)


def _drawn(
    images: Images,
    groups: Sequence[str],
    conflicting: Sequence[int],
    settings: SplitSettings,
    round: int,
    seed: int,
) -> list[str]:
    """The part of every image. Whole groups with `conflicting` images are in training, or in no part."""
    conflicting_groups = {groups[i] for i in conflicting}
    rows = [i for i in range(len(images)) if groups[i] not in conflicting_groups]
    if not rows:
        raise SplitError("the duplicates of every group carry another label; mend the labels")
    labels = _grouped_labels(images, groups, rows)
    round_seed = derive_seed(seed, images.dataset, "split", settings.method, round)
    if settings.method == "holdout":
        codes = assign.holdout(labels, settings.val, settings.test, round_seed)
    elif round < settings.folds:
        folds_seed = derive_seed(seed, images.dataset, "split", settings.method, "folds")
        codes = assign.kfold(labels, settings.val, settings.folds, round, (folds_seed, round_seed))
    else:
        raise SplitError(f"round {round} does not exist with {settings.folds} folds; raise split.folds")
    parts = [OUT if settings.conflicts == "out" else "train"] * len(images)
    for row, code in zip(rows, codes, strict=True):
        parts[row] = PARTS[code]
    return parts


def mend(parts: Sequence[str], groups: Sequence[str], rule: str) -> list[str]:
    """Parts in which no group is in several: of such a group the images in one part stay, the others are out.

    With the rule "drop_test" that part is the first of train, val and test that has some of the group, with
    "drop_train" the last.
    """
    order = PARTS if rule == "drop_test" else PARTS[::-1]
    kept: dict[str, str] = {}
    for part in reversed(order):  # the first in order has the last word
        kept |= {group: part for group, own in zip(groups, parts, strict=True) if own == part}
    return [part if kept[group] == part else OUT for group, part in zip(groups, parts, strict=True)]


def _official(
    images: Images, groups: Sequence[str], settings: SplitSettings, round: int, seed: int
) -> list[str]:
    """The part of every image that the data set fixes; validation is drawn from training if it is missing."""
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
        labels = _grouped_labels(images, groups, rows)
        share = settings.val / (1 - settings.test) if settings.method == "holdout" else settings.val
        round_seed = derive_seed(seed, images.dataset, "split", "official", round)
        for row, code in zip(rows, assign.validation(labels, share, round_seed), strict=True):
            parts[row] = PARTS[code]
    return parts


def _grouped_labels(images: Images, groups: Sequence[str], rows: Sequence[int]) -> assign.GroupedLabels:
    """Classes and groups of the images at `rows`. Groups are numbered by name, so that a split does not
    depend on the order of the index."""
    names, numbers = np.unique([groups[row] for row in rows], return_inverse=True)
    return assign.GroupedLabels(images.labels[rows], numbers.astype(np.int64), names.tolist())


def _check(split: Split) -> None:
    """Raise SplitError for a split that nobody could train or evaluate with."""
    placed = set(zip(split.groups, split.parts, strict=True))
    sides = Counter(group for group, part in placed if part != OUT)
    if leaking := sorted(group for group, count in sides.items() if count > 1):
        raise SplitError(
            f"{split.dataset}: {len(leaking)} groups have images on more than one side of the split: "
            f"{first_few(leaking)}; mend the parts or the groups in the data set's index, or have images "
            "left out: --set protocol.split.mend=drop_test (or drop_train)"
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


def _notes(split: Split, own: Sequence[str]) -> Iterator[str]:
    """What a reader of results should know about the split. `own` are the parts that the data set fixes."""
    official, rule = any(own), split.settings.mend
    if official and split.settings.method == "kfold":
        yield "the data set fixes its own split; split.method kfold was not used"
    left = split.parts.count(OUT)
    if rule != "none" and not official:
        yield f"the data set fixes no split; split.mend {rule} had nothing to mend"
    if rule != "none" and official:
        of_part = Counter(before for before, now in zip(own, split.parts, strict=True) if now == OUT)
        numbers = ", ".join(f"{of_part[part]} of {own.count(part)} {part}" for part in PARTS if part in own)
        yield (
            f"the data set's own split was mended (split.mend {rule}): left out are {numbers} images, which "
            "have a duplicate or group mate in another part"
        )
    elif left:
        yield f"{left} images are in no part, because their duplicates carry another label"
    counts = split.counts()
    for part in ("val", "test"):
        for name in split.classes:
            if not counts[part][name].images:
                total = sum(counts[p][name].groups for p in PARTS)
                yield f"class {name} ({total} group{'s' * (total != 1)}) has no image in {part}"


def require_sound(split: Split) -> None:
    """Raise SplitError if the split leaks according to its audit, DataError if it was never audited."""
    if split.verdict is None:
        raise DataError(
            f"{split.dataset} round {split.round}: its split manifest is older than audits, so nobody knows "
            "whether it leaks; run the study with other results to draw an audited split"
        )
    if split.verdict.leaks:
        raise SplitError(refusal(split.verdict, split.dataset, split.round))
