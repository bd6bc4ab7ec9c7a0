"""Tests that others use, as cross-checks beside ours. `docs/evidence.md` says how often each errs.

None of them is made for repeated splits of one small data set: `corrected_t` hardly ever finds a difference,
`mcnemar` and `delong` take images for independent and training for certain, so they are for one round alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bench.interfaces.predictions import Predictions


def corrected_t(differences: Sequence[float], overlap: float) -> float:
    """Two-sided p of the corrected resampled t test (Nadeau and Bengio 2003) over R rounds; `overlap` is the
    number of test images per training image. nan for one round and without spread."""
    from scipy.special import stdtr

    values = np.asarray(differences, dtype=np.float64)
    count = len(values)
    spread = float(values.var(ddof=1)) if count > 1 else 0.0
    if not spread > 1e-16 * max(1.0, float(np.abs(values).max()) ** 2):
        return math.nan
    t = abs(values.mean()) / math.sqrt((1 / count + overlap) * spread)
    return float(2 * stdtr(count - 1, -t))


def mcnemar(a: Predictions, b: Predictions) -> float:
    """Two-sided p of McNemar's exact test: the images that one method alone predicts right. 1 where no image
    is such."""
    from scipy.stats import binomtest

    right_a, right_b = (p.probabilities.argmax(axis=1) == p.labels for p in (a, b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if not only_a + only_b:
        return 1.0
    return float(binomtest(only_a, only_a + only_b).pvalue)


def delong(a: Predictions, b: Predictions) -> float:
    """Two-sided p of DeLong's test (1988) of the difference between two areas under the ROC curve; of several
    classes, of the difference between their means over classes. nan where an area is not defined or the
    difference has no variance."""
    components = [_influence(p) for p in (a, b)]
    if any(values is None for values in components):
        return math.nan
    (area_a, of_a), (area_b, of_b) = (c for c in components if c is not None)
    spread = float(((of_a - of_b) ** 2).sum())
    if not spread > 1e-16:
        return math.nan
    return math.erfc(abs(area_a - area_b) / math.sqrt(2 * spread))


def _influence(predictions: Predictions) -> tuple[float, NDArray[np.float64]] | None:
    """The mean one-vs-rest area, and (N,) by how much each image moves it; their squares add up to DeLong's
    variance. None if only one class has images, or a class or its rest has a single one."""
    present, sizes = np.unique(predictions.labels, return_counts=True)
    total = len(predictions.labels)
    if len(present) < 2 or sizes.min() < 2 or total - sizes.max() < 2:
        return None
    areas, influence = [], np.zeros(total)
    for c in present:
        positive = predictions.labels == c
        scores = predictions.probabilities[:, c]
        above = np.sign(scores[positive][:, None] - scores[~positive][None]) / 2 + 0.5
        area = above.mean()
        areas.append(area)
        for images, axis in ((positive, 1), (~positive, 0)):
            size = int(images.sum())
            influence[images] += (above.mean(axis=axis) - area) / math.sqrt(size * (size - 1)) / len(present)
    return float(np.mean(areas)), influence
