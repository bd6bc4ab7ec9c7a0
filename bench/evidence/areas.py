"""Areas under curves of one class against the rest, for images that count more or less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.interfaces.image_weights import ImageWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW = 400  # images of one kind, up to which pairs are faster than sorting under many weightings


def roc_area(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], weights: ImageWeights
) -> NDArray[np.float64]:
    """(B,) areas under the ROC curve: of N images, `positive` or not, with scores (N,), under B weightings.

    The area is the weight of the pairs of a positive and a negative image in which the positive one has the
    higher score, ties counting half (Mann and Whitney 1947); nan where no pair weighs anything.
    """
    if positive.all() or not positive.any():
        return np.full(len(weights), np.nan)
    some, rest = weights.sums(np.stack([positive, ~positive], axis=1).astype(np.float64)).T
    pairs = some * rest
    fewer = min(np.count_nonzero(positive), np.count_nonzero(~positive))
    by_pairs = fewer <= FEW and len(weights) > 1
    won = (won_by_pairs if by_pairs else won_by_order)(positive, scores, weights)
    area: NDArray[np.float64] = np.divide(won, pairs, out=np.full_like(won, np.nan), where=pairs > 0)
    return area


def average_precision(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], weights: ImageWeights
) -> NDArray[np.float64]:
    """(B,) areas under the precision-recall curve, as steps: of N images, `positive` or not, with scores
    (N,), under B weightings.

    The sum over thresholds, from the highest score down, of precision times what recall gains there, as in
    scikit-learn's `average_precision_score`; nan where no positive image weighs anything.
    """
    found, chosen = (sums.cumsum(-1) for sums in by_score(positive, scores, weights))
    precision = np.divide(found, chosen, out=np.zeros_like(found), where=chosen > 0)
    gained = np.diff(found, axis=-1, prepend=0.0)
    steps, total = (precision * gained).sum(-1), found[:, -1]
    area: NDArray[np.float64] = np.divide(steps, total, out=np.full_like(steps, np.nan), where=total > 0)
    return area


def by_score(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], weights: ImageWeights
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(B, U) weights of the positive images and of all, by distinct score from the highest down."""
    order = (-scores).argsort(kind="stable")
    sorted_ = scores[order]
    starts = np.flatnonzero(np.append(True, sorted_[1:] != sorted_[:-1]))
    ordered = weights.of_images[:, order]
    some = np.where(positive[order], ordered, 0.0)
    return np.add.reduceat(some, starts, axis=1), np.add.reduceat(ordered, starts, axis=1)


def won_by_pairs(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], weights: ImageWeights
) -> NDArray[np.float64]:
    """(B,) weight of the pairs of a positive and a negative image in which the positive one has the higher
    score, half of those with equal ones. Pairs of the same two groups weigh the same, so they are added up
    first; then one matrix product, fast where one kind of images is in few groups."""
    won_by = np.sign(scores[positive][:, None] - scores[~positive]) / 2 + 0.5
    kinds = [positive, ~positive]
    if 2 * np.count_nonzero(positive) > len(positive):
        won_by, kinds = won_by.T, kinds[::-1]
    (groups, own), others = np.unique(weights.group[kinds[0]], return_inverse=True), weights.group[kinds[1]]
    by_group = weights.of_groups.T
    shape = len(groups), len(by_group)
    cells = own[:, None] * shape[1] + others
    between = np.bincount(cells.ravel(), weights=won_by.ravel(), minlength=shape[0] * shape[1])
    won: NDArray[np.float64] = np.einsum("gb,gb->b", between.reshape(shape) @ by_group, by_group[groups])
    return won


def won_by_order(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], weights: ImageWeights
) -> NDArray[np.float64]:
    """The same from sums along the sorted scores: linear in the number of images."""
    some, chosen = by_score(positive, scores, weights)
    rest = chosen - some
    below = rest.sum(-1, keepdims=True) - rest.cumsum(-1)
    won: NDArray[np.float64] = (some * (below + rest / 2)).sum(-1)
    return won
