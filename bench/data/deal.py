"""Dealing grouped, labelled images into parts, by scikit-learn's StratifiedGroupKFold. Arrays only.

The splitter is greedy, and which of its folds becomes the test part is free. So every rotation of the
folds is judged, for several seeds, until one is good enough; failing that, the best is taken. Best is, in
this order: fewest classes without a training image; fewest absences of a class from other parts (a class of
two groups must be in one, a class of three or more in both); smallest largest deviation of a class's share
in a part from the share asked for.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import SplitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ATTEMPTS = 10  # seeds tried when none is good enough
GOOD = 0.02  # largest deviation of a class's share that ends the search
MOST_FOLDS = 20
TRAIN, VAL, TEST = 0, 1, 2

SeedOf = Callable[[int], int]  # number of the attempt -> seed
Score = tuple[int, int, float]  # smaller is better; see above


@dataclass(frozen=True)
class Labelled:
    """Class and group of every image, as numbers from 0. (N,) int64 each."""

    classes: NDArray[np.int64]
    groups: NDArray[np.int64]

    def at(self, rows: NDArray[np.bool_]) -> Labelled:
        return Labelled(self.classes[rows], self.groups[rows])


def holdout(images: Labelled, val: float, test: float, seed_of: SeedOf) -> NDArray[np.int64]:
    """(N,) of TRAIN, VAL or TEST; `val` and `test` are shares of all images."""

    def deals() -> Iterator[NDArray[np.int64]]:
        for attempt in range(ATTEMPTS):
            chosen = _share(images, test, seed_of(attempt))
            parts = np.where(chosen, TEST, TRAIN)
            parts[~chosen] = _validation(images.at(~chosen), val / (1 - test), seed_of(attempt))
            yield parts

    return _best(deals(), images, {TRAIN: 1 - val - test, VAL: val, TEST: test})


def kfold(
    images: Labelled, val: float, folds: int, round: int, seeds: tuple[SeedOf, SeedOf]
) -> NDArray[np.int64]:
    """(N,) of TRAIN, VAL or TEST. The test part is fold `round` of one deal made by the first of `seeds`,
    so all rounds must give the same; validation, `val` of all images, is drawn by the second."""
    groups, largest = len(np.unique(images.groups)), int(np.bincount(images.classes).max())
    if groups <= folds or largest < folds:
        raise SplitError(
            f"{groups} groups and {largest} images in the largest class are too few for {folds} folds; "
            "lower split.folds"
        )
    wanted = {TRAIN: 1 - 1 / folds, TEST: 1 / folds}

    def worst(fold_of: NDArray[np.int64]) -> Score:
        return max(_judge(np.where(fold_of == k, TEST, TRAIN), images, wanted) for k in range(folds))

    tested = _least((_folds(images, folds, seeds[0](i)) for i in range(ATTEMPTS)), worst) == round
    parts = np.where(tested, TEST, TRAIN)
    rest = images.at(~tested)
    share = val / (1 - 1 / folds)
    if share >= 1:
        raise SplitError(
            f"split.val {val:g} with {folds} folds leaves no images to train on; lower split.val"
        )
    parts[~tested] = validation(rest, share, seeds[1])
    return parts


def validation(images: Labelled, share: float, seed_of: SeedOf) -> NDArray[np.int64]:
    """(N,) of TRAIN or VAL; `share` is that of these images which validate."""
    deals = (_validation(images, share, seed_of(attempt)) for attempt in range(ATTEMPTS))
    return _best(deals, images, {TRAIN: 1 - share, VAL: share})


def _validation(images: Labelled, share: float, seed: int) -> NDArray[np.int64]:
    return np.where(_share(images, share, seed), VAL, TRAIN)


def _share(images: Labelled, share: float, seed: int) -> NDArray[np.bool_]:
    """(N,) True for about `share` of every class: the best run of m of n folds."""
    limit = min(len(np.unique(images.groups)), int(np.bincount(images.classes).max()))
    if limit < 2:
        raise SplitError("too few groups to divide; a split needs at least three groups of images")
    n, m = fold_counts(share, limit)
    fold_of = _folds(images, n, seed)
    runs = (np.where((fold_of - first) % n < m, TEST, TRAIN) for first in range(n))
    chosen: NDArray[np.bool_] = _best(runs, images, {TRAIN: 1 - share, TEST: share}) == TEST
    return chosen


def fold_counts(share: float, limit: int) -> tuple[int, int]:
    """(n, m): m of n folds are about `share` of the images; n as small as m / n fits well, n <= `limit`."""
    for n in range(2, min(MOST_FOLDS, limit) + 1):
        m = round(share * n)
        if 1 <= m < n and abs(share * n - m) <= 0.02:
            return n, m
    most = min(limit, max(MOST_FOLDS, math.ceil(1 / share)))
    counts = [(n, min(max(round(share * n), 1), n - 1)) for n in range(2, most + 1)]
    return min(counts, key=lambda c: abs(c[1] / c[0] - share))


def _folds(images: Labelled, n: int, seed: int) -> NDArray[np.int64]:
    """(N,) the fold of every image, from 0 to n - 1."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(n, shuffle=True, random_state=seed % 2**32)
    fold_of = np.empty(len(images.classes), dtype=np.int64)
    with warnings.catch_warnings():
        # small classes: the split's own notes say which class is missing where
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for k, (_, rows) in enumerate(splitter.split(images.classes, images.classes, images.groups)):
            fold_of[rows] = k
    return fold_of


def _best(
    deals: Iterable[NDArray[np.int64]], images: Labelled, wanted: Mapping[int, float]
) -> NDArray[np.int64]:
    return _least(deals, lambda parts: _judge(parts, images, wanted))


def _least(
    deals: Iterable[NDArray[np.int64]], judge: Callable[[NDArray[np.int64]], Score]
) -> NDArray[np.int64]:
    """The first deal that is good enough, else the one with the smallest score (the first of equals)."""
    scored = []
    for deal in deals:
        score = judge(deal)
        if score <= (0, 0, GOOD):
            return deal
        scored.append((score, deal))
    return min(scored, key=lambda pair: pair[0])[1]


def _judge(parts: NDArray[np.int64], images: Labelled, wanted: Mapping[int, float]) -> Score:
    total = np.bincount(images.classes)
    present = total > 0
    groups = np.bincount(np.unique(np.stack([images.classes, images.groups]), axis=1)[0])
    counts = {part: np.bincount(images.classes[parts == part], minlength=len(total)) for part in wanted}
    untrained = int((present & (counts[TRAIN] == 0)).sum())
    elsewhere = sum((counts[part] > 0).astype(np.int64) for part in wanted if part != TRAIN)
    owed = np.clip(groups - 1, 0, len(wanted) - 1)  # in how many other parts a class can be
    absences = int(np.maximum(owed - elsewhere, 0).sum())
    shares = {part: count[present] / total[present] for part, count in counts.items()}
    deviation = max(float(np.abs(shares[part] - share).max()) for part, share in wanted.items())
    return untrained, absences, deviation
