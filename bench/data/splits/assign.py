"""Dealing grouped, labelled images into parts. Arrays only.

Every class is dealt by itself. Its groups are put into an order that a hash of seed and group name gives,
and a part is filled in that order until it has its share of the class's images; a group too large for what
is left to fill is passed over. So

- no group is torn, and a class's share in a part misses what was asked by at most half a small group;
- a class of three groups or more is in all three parts, of two in training and test, of one in training;
- one more image changes a part's share by at most an image, so at most a group or two change sides.

The last is why this is not scikit-learn's StratifiedGroupKFold: there one more group shifts all later ones by
a fold, and half of a data set changes sides (`tests/test_splits.py` has both, on the same groups).
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
class Labelled:
    """Class (from 0) and group of every image, (N,) int64 each; `names` are the groups' names by number."""

    classes: NDArray[np.int64]
    groups: NDArray[np.int64]
    names: Sequence[str]

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Images of every group."""
        return np.bincount(self.groups, minlength=len(self.names))

    @cached_property
    def strata(self) -> list[list[int]]:
        """The groups of every class. A group of several classes counts to the one with fewest images."""
        rarity = np.bincount(self.classes).argsort(kind="stable").argsort(kind="stable")
        lowest = np.full(len(self.names), len(rarity), dtype=np.int64)
        np.minimum.at(lowest, self.groups, rarity[self.classes])
        return [np.flatnonzero(lowest == rank).tolist() for rank in rarity]


def holdout(images: Labelled, val: float, test: float, seed: int) -> NDArray[np.int64]:
    """(N,) of TRAIN, VAL or TEST; `val` and `test` are shares of all images."""
    part_of = np.full(len(images.names), TRAIN, dtype=np.int64)
    for groups in images.strata:
        total = int(images.sizes[groups].sum())
        tested = _fill(images, groups, test * total, 2 if len(groups) > 2 else 1, (seed, "test"))
        rest = [g for g in groups if g not in tested]
        part_of[list(tested)] = TEST
        part_of[list(_fill(images, rest, val * total, 1, (seed, "val")))] = VAL
    return part_of[images.groups]


def kfold(images: Labelled, val: float, folds: int, round: int, seeds: tuple[int, int]) -> NDArray[np.int64]:
    """(N,) of TRAIN, VAL or TEST. The test part is fold `round` of the folds that the first of `seeds`
    deals, so all rounds must give the same; validation, `val` of all images, is drawn by the second."""
    groups, largest = len(np.unique(images.groups)), int(np.bincount(images.classes).max())
    if groups <= folds or largest < folds:
        raise SplitError(
            f"{groups} groups and {largest} images in the largest class are too few for {folds} folds; "
            "lower split.folds"
        )
    if val >= 1 - 1 / folds:
        raise SplitError(
            f"split.val {val:g} with {folds} folds leaves no images to train on; lower split.val"
        )
    part_of = np.full(len(images.names), TRAIN, dtype=np.int64)
    for number, stratum in enumerate(images.strata):
        tested = _fold(images, stratum, folds, (round + number) % folds, seeds[0])
        rest = [g for g in stratum if g not in tested]
        part_of[list(tested)] = TEST
        wanted = val * int(images.sizes[stratum].sum())
        part_of[list(_fill(images, rest, wanted, 1, (seeds[1], "val")))] = VAL
    return part_of[images.groups]


def validation(images: Labelled, share: float, seed: int) -> NDArray[np.int64]:
    """(N,) of TRAIN or VAL; `share` is that of these images which validate."""
    part_of = np.full(len(images.names), TRAIN, dtype=np.int64)
    for groups in images.strata:
        wanted = share * int(images.sizes[groups].sum())
        part_of[list(_fill(images, groups, wanted, 1, (seed, "val")))] = VAL
    return part_of[images.groups]


def _fold(images: Labelled, groups: list[int], folds: int, which: int, seed: int) -> set[int]:
    """Fold `which` of one class: every fold is filled from what the folds before it left."""
    left = list(groups)
    for fold in range(folds):
        wanted = int(images.sizes[left].sum()) / (folds - fold)
        tested = _fill(images, left, wanted, 0, (seed, "folds"))
        if fold == which:
            break
        left = [g for g in left if g not in tested]
    return tested


def _fill(images: Labelled, groups: list[int], wanted: float, keep: int, order: tuple[int, str]) -> set[int]:
    """Groups of together about `wanted` images, in hashed order; at least one, and all but `keep`."""
    most = len(groups) - keep
    if most < 1:
        return set()
    ordered = sorted(groups, key=lambda g: _rank(images.names[g], order))
    taken: set[int] = set()
    filled = 0
    for group in ordered:
        size = int(images.sizes[group])
        if len(taken) < most and filled + size / 2 < wanted:
            taken.add(group)
            filled += size
    return taken or {min(ordered, key=lambda g: images.sizes[g])}


def _rank(name: str, order: tuple[int, str]) -> bytes:
    return hashlib.sha256(f"{order[0]} {order[1]} {name}".encode()).digest()
