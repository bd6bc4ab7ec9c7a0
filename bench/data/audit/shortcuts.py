"""Shortcut probes: can a class be told from the border of an image, or from its size and colour, alone?

A classifier is trained on these features and tested on other groups. If it beats the majority class, a
network can do so too, for a reason that is not medical: burnt-in marks, the frame of one hospital, another
scanner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BAND = 4  # width of the border and side of the blocks it is averaged over, pixels of a 64x64 copy
FOLDS = 5  # of the cross-validation
MAX_IMAGES = 5000  # images per probe; more would not change the result
RESAMPLES = 1000  # of the bootstrap


@dataclass(frozen=True)
class ShortcutProbe:
    """Accuracy of a classifier that sees only certain features, on groups that it was not trained on."""

    sees: str  # the features, in words
    accuracy: float
    low: float  # 95 % interval of the accuracy, from a bootstrap over groups
    high: float
    majority: float  # share of the most frequent class: the accuracy without any feature
    balanced: float  # balanced accuracy; without any feature it is 1 / number of classes
    images: int
    beats: bool  # the whole 95 % interval of (accuracy - majority) is above zero

    @property
    def text(self) -> str:
        """The result in one sentence."""
        verdict = "beat" if self.beats else "do not beat"
        return (
            f"{self.sees} alone {verdict} the majority class: accuracy {self.accuracy:.3f} "
            f"({self.low:.3f} to {self.high:.3f}) against {self.majority:.3f}"
        )


def border_features(copy: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean colour of every block in the border of a square copy (S, S, 3), as one row of features."""
    blocks = copy.shape[0] // BAND
    means = copy.reshape(blocks, BAND, blocks, BAND, 3).mean(axis=(1, 3), dtype=np.float32)
    inner = np.zeros((blocks, blocks), dtype=bool)
    inner[1:-1, 1:-1] = True
    features: NDArray[np.float32] = means[~inner].ravel()
    return features


def probe_shortcut(
    sees: str, features: NDArray[np.float32], labels: NDArray[np.int64], groups: Sequence[str], threads: int
) -> ShortcutProbe | None:
    """Test what `features` (N, F) tell about `labels` (N,); None if there are too few groups for that."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import GroupKFold, cross_val_predict

    group_numbers = np.unique(groups, return_inverse=True)[1]
    if len(np.unique(group_numbers)) < 2 * FOLDS or len(np.unique(labels)) < 2:
        return None
    rows = _sampled_rows(group_numbers)
    features, labels, group_numbers = features[rows], labels[rows], group_numbers[rows]
    trees = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=0, n_jobs=threads)
    folds = GroupKFold(FOLDS, shuffle=True, random_state=0)
    correct = cross_val_predict(trees, features, labels, groups=group_numbers, cv=folds) == labels
    majority = labels == np.bincount(labels).argmax()
    accuracies = _bootstrap_means(correct, group_numbers)
    gains = _bootstrap_means(correct.astype(float) - majority, group_numbers)
    low, high = np.quantile(accuracies, [0.025, 0.975])
    return ShortcutProbe(
        sees=sees,
        accuracy=round(float(correct.mean()), 4),
        low=round(float(low), 4),
        high=round(float(high), 4),
        majority=round(float(majority.mean()), 4),
        balanced=round(float(np.mean([correct[labels == c].mean() for c in np.unique(labels)])), 4),
        images=len(labels),
        beats=bool(np.quantile(gains, 0.025) > 0),
    )


def _sampled_rows(group_numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of randomly chosen whole groups, together at most MAX_IMAGES unless one group alone has more."""
    order = np.random.default_rng(0).permutation(int(group_numbers.max()) + 1)
    total = np.cumsum(np.bincount(group_numbers)[order])
    return np.flatnonzero(np.isin(group_numbers, order[: max(1, int((total <= MAX_IMAGES).sum()))]))


def _bootstrap_means(values: NDArray[np.generic], group_numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """(RESAMPLES,) means of `values` (N,) over groups drawn with replacement."""
    group_numbers = np.unique(group_numbers, return_inverse=True)[1]
    sums, sizes = np.bincount(group_numbers, values.astype(np.float64)), np.bincount(group_numbers)
    drawn = np.random.default_rng(0).integers(0, len(sizes), (RESAMPLES, len(sizes)))
    means: NDArray[np.float64] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means
