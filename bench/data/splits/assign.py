"""Assign grouped, labelled images to training, validation and test. Works on arrays only.

Every class is assigned by itself. A hash of seed and group name puts its groups in an order, and a part takes
groups in that order until it has its share of the images of the class; a group that is too large for the rest
of that share is skipped. So

- no group is divided between parts, and the share of a class in a part is wrong by at most half a group;
- a class of three or more groups has images in all three parts, a class of two in training and test, and a
  class of one in training only;
- one more image changes the share of a part by at most one image, so at most a group or two change sides.

The last point is why this is not scikit-learn's StratifiedGroupKFold: there one more group moves all later
groups by one fold, and half of a data set changes sides (`tests/test_splits.py` compares both).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import SplitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRAIN, VAL, TEST = 0, 1, 2


@dataclass(frozen=True)
class GroupedLabels:
    """Class and group of N images."""

    classes: NDArray[np.int64]  # (N,) from 0
    groups: NDArray[np.int64]  # (N,) indices into `names`
    names: Sequence[str]  # of the groups

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Number of images of every group."""
        return np.bincount(self.groups, minlength=len(self.names))

    @cached_property
    def strata(self) -> list[list[int]]:
        """The groups of every class. A group of several classes belongs to the one with the fewest images."""
        rarity = np.bincount(self.classes).argsort(kind="stable").argsort(kind="stable")
        lowest = np.full(len(self.names), len(rarity), dtype=np.int64)
        np.minimum.at(lowest, self.groups, rarity[self.classes])
        return [np.flatnonzero(lowest == rank).tolist() for rank in rarity]


def holdout(images: GroupedLabels, val: float, test: float, seed: int) -> NDArray[np.int64]:
    """(N,) TRAIN, VAL or TEST; `val` and `test` are shares of all images."""
    part_of = np.full(len(images.names), TRAIN, dtype=np.int64)
    for groups in images.strata:
        total = int(images.sizes[groups].sum())
        test_groups = _fill(images, groups, test * total, 2 if len(groups) > 2 else 1, (seed, "test"))
        rest = [g for g in groups if g not in test_groups]
        part_of[list(test_groups)] = TEST
        part_of[list(_fill(images, rest, val * total, 1, (seed, "val")))] = VAL
    return part_of[images.groups]


def kfold(
    images: GroupedLabels, val: float, folds: int, round: int, seeds: tuple[int, int]
) -> NDArray[np.int64]:
    """(N,) TRAIN, VAL or TEST. The test part is fold `round`; validation is the share `val` of all images.

    The first of `seeds` assigns groups to folds, so it must be the same in all rounds of a study. The second
    draws validation. Raises SplitError if there are too few groups or images.
    """
    group_count, largest_class = len(np.unique(images.groups)), int(np.bincount(images.classes).max())
    if group_count <= folds or largest_class < folds:
        raise SplitError(
            f"{group_count} groups and {largest_class} images in the largest class are too few for {folds} "
            "folds; lower split.folds"
        )
    if val >= 1 - 1 / folds:
        raise SplitError(
            f"split.val {val:g} with {folds} folds leaves no images to train on; lower split.val"
        )
    part_of = np.full(len(images.names), TRAIN, dtype=np.int64)
    for number, groups in enumerate(images.strata):
        # Classes start at different folds, so that their largest folds are not all in the same round.
        test_groups = _fold(images, groups, folds, (round + number) % folds, seeds[0])
        rest = [g for g in groups if g not in test_groups]
        part_of[list(test_groups)] = TEST
        target = val * int(images.sizes[groups].sum())
        part_of[list(_fill(images, rest, target, 1, (seeds[1], "val")))] = VAL
    return part_of[images.groups]


def validation(images: GroupedLabels, share: float, seed: int) -> NDArray[np.int64]:
    """(N,) TRAIN or VAL; `share` of these images validate."""
    part_of = np.full(len(images.names), TRAIN, dtype=np.int64)
    for groups in images.strata:
        target = share * int(images.sizes[groups].sum())
        part_of[list(_fill(images, groups, target, 1, (seed, "val")))] = VAL
    return part_of[images.groups]


def subset(images: GroupedLabels, share: float, seed: int) -> NDArray[np.bool_]:
    """(N,) which images are in a subset of about `share` of these, whole groups of every class.

    Unlike a part of a split, it takes the first groups of the order without skipping any that is too large
    for the rest of its share. So of two subsets of one seed the smaller lies within the larger, and of all
    images a class is off its share by at most half a group. Every class has at least one image.
    """
    taken = np.zeros(len(images.names), dtype=np.bool_)
    for class_, groups in enumerate(images.strata):
        order = _ordered(images, groups, (seed, "labels"))
        sizes = images.sizes[order]
        before = np.cumsum(sizes) - sizes
        taken[np.array(order, dtype=np.int64)[before + sizes / 2 < share * sizes.sum()]] = True
        # At least one; where all groups with images of a class belong to rarer ones, the first of them.
        with_class = np.unique(images.groups[images.classes == class_]).tolist()
        taken[(order or _ordered(images, with_class, (seed, "labels")))[:1]] = True
    return taken[images.groups]


def _fold(images: GroupedLabels, groups: list[int], folds: int, number: int, seed: int) -> set[int]:
    """The groups of one class in fold `number`; every fold takes from the groups that earlier folds left."""
    rest = list(groups)
    for fold in range(folds):
        target = int(images.sizes[rest].sum()) / (folds - fold)
        fold_groups = _fill(images, rest, target, 0, (seed, "folds"))
        if fold == number:
            break
        rest = [g for g in rest if g not in fold_groups]
    return fold_groups


def _fill(
    images: GroupedLabels, groups: list[int], target: float, keep: int, order: tuple[int, str]
) -> set[int]:
    """Groups that together have about `target` images, taken in the order that a seed and a purpose give.

    Takes at least one group and leaves at least `keep`; takes none where `keep` or fewer are there.
    """
    most = len(groups) - keep
    if most < 1:
        return set()
    ordered = _ordered(images, groups, order)
    taken: set[int] = set()
    image_count = 0
    for group in ordered:
        size = int(images.sizes[group])
        if len(taken) < most and image_count + size / 2 < target:
            taken.add(group)
            image_count += size
    return taken or {min(ordered, key=lambda g: images.sizes[g])}


def _ordered(images: GroupedLabels, groups: list[int], order: tuple[int, str]) -> list[int]:
    """Groups in the order that a seed and a purpose give."""
    return sorted(groups, key=lambda g: _position(images.names[g], order))


def _position(name: str, order: tuple[int, str]) -> bytes:
    """Where a group stands in an order: groups are sorted by this hash."""
    seed, purpose = order
    return hashlib.sha256(f"{seed} {purpose} {name}".encode()).digest()
