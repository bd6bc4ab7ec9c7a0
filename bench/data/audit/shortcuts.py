"""Whether something that is no medicine tells the class: the border of the image, or its size and colour.

A classifier is trained on that alone and judged on other groups. If it beats the majority class, so can a
network, for the wrong reason (burnt-in marks, the hospital's frame, another scanner).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BAND = 4  # width of the border, pixels of a 64x64 copy; also the side of the blocks it is averaged over
FOLDS = 5
MOST = 5000  # images a probe looks at; more would not change what it says
RESAMPLES = 1000


@dataclass(frozen=True)
class ShortcutProbe:
    """Accuracy of a classifier that sees `sees` alone, on groups it was not trained on."""

    sees: str
    accuracy: float
    low: float  # 95 % interval of the accuracy: bootstrap over groups
    high: float
    majority: float  # share of the most frequent class, which needs no image
    balanced: float  # balanced accuracy; 1 / classes needs no image
    images: int
    beats: bool  # the 95 % interval of (accuracy - majority) is above zero

    @property
    def text(self) -> str:
        """One sentence."""
        verdict = "beat" if self.beats else "do not beat"
        return (
            f"{self.sees} alone {verdict} the majority class: accuracy {self.accuracy:.3f} "
            f"({self.low:.3f} to {self.high:.3f}) against {self.majority:.3f}"
        )


def border(copy: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean colour of every block in the border of a square copy (S, S, 3), as one row of features."""
    blocks = copy.shape[0] // BAND
    means = copy.reshape(blocks, BAND, blocks, BAND, 3).mean(axis=(1, 3), dtype=np.float32)
    inner = np.zeros((blocks, blocks), dtype=bool)
    inner[1:-1, 1:-1] = True
    seen: NDArray[np.float32] = means[~inner].ravel()
    return seen


def probe(
    sees: str, features: NDArray[np.float32], labels: NDArray[np.int64], groups: Sequence[str], threads: int
) -> ShortcutProbe | None:
    """Judge what `features` (N, F) tell about `labels` (N,); None where groups are too few to judge."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import GroupKFold, cross_val_predict

    number = np.unique(groups, return_inverse=True)[1]
    if len(np.unique(number)) < 2 * FOLDS or len(np.unique(labels)) < 2:
        return None
    rows = _some(number)
    features, labels, number = features[rows], labels[rows], number[rows]
    trees = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=0, n_jobs=threads)
    folds = GroupKFold(FOLDS, shuffle=True, random_state=0)
    right = cross_val_predict(trees, features, labels, groups=number, cv=folds) == labels
    usual = labels == np.bincount(labels).argmax()
    accuracy, gain = _resampled(right, number), _resampled(right.astype(float) - usual, number)
    low, high = np.quantile(accuracy, [0.025, 0.975])
    return ShortcutProbe(
        sees=sees,
        accuracy=round(float(right.mean()), 4),
        low=round(float(low), 4),
        high=round(float(high), 4),
        majority=round(float(usual.mean()), 4),
        balanced=round(float(np.mean([right[labels == c].mean() for c in np.unique(labels)])), 4),
        images=len(labels),
        beats=bool(np.quantile(gain, 0.025) > 0),
    )


def _some(number: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of whole groups, at random, that are MOST images or little less."""
    order = np.random.default_rng(0).permutation(int(number.max()) + 1)
    total = np.cumsum(np.bincount(number)[order])
    return np.flatnonzero(np.isin(number, order[: max(1, int((total <= MOST).sum()))]))


def _resampled(values: NDArray[np.generic], number: NDArray[np.int64]) -> NDArray[np.float64]:
    """(RESAMPLES,) means of `values` (N,) over groups drawn with replacement."""
    number = np.unique(number, return_inverse=True)[1]
    sums, sizes = np.bincount(number, values.astype(np.float64)), np.bincount(number)
    drawn = np.random.default_rng(0).integers(0, len(sizes), (RESAMPLES, len(sizes)))
    means: NDArray[np.float64] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means
