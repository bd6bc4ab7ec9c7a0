"""Whether probabilities are what they say: reliability, its error, and one temperature for all classes.

Guo et al., On calibration of modern neural networks (ICML 2017). The temperature is fitted on validation
images; nothing here is told of test labels before it is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 10
COLDEST, HOTTEST = 0.05, 20.0
_LEAST = 1e-12  # a probability of 0 has no logarithm


class Reliability(NamedTuple):
    """Of BINS bins of equal width, by the probability of the predicted class.

    Attributes:
        confidence: (BINS,) mean of these probabilities; nan in an empty bin.
        accuracy: (BINS,) share of images whose predicted class is theirs; nan in an empty bin.
        images: (BINS,) how many.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    images: NDArray[np.int64]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap of confidence and accuracy, by images."""
        gaps = np.nan_to_num(np.abs(self.confidence - self.accuracy))
        return float((gaps * self.images).sum() / self.images.sum())


def reliability(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> Reliability:
    """Of N images with `labels` (N,) and probabilities (N, K). A bin holds its upper end."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    images = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, weights=v, minlength=BINS) / images for v in (confidence, right)]
    return Reliability(means[0], means[1], images)


def fit_temperature(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """The temperature under which these labels (N,) are most probable, between COLDEST and HOTTEST.

    Of an ensemble, whose probabilities are no softmax of logits, their logarithms serve as logits.
    """
    from scipy.optimize import minimize_scalar

    logits = _logits(probabilities)
    own = logits[np.arange(len(labels)), labels]

    def loss(logarithm: float) -> float:
        heated = logits / math.exp(logarithm)
        highest = heated.max(axis=1, keepdims=True)
        sums = np.log(np.exp(heated - highest).sum(axis=1)) + highest[:, 0]
        return float((sums - own / math.exp(logarithm)).mean())

    found = minimize_scalar(loss, bounds=(math.log(COLDEST), math.log(HOTTEST)), method="bounded")
    return float(math.exp(found.x))


def tempered(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """(N, K) at another temperature; the predicted class stays."""
    heated = _logits(probabilities) / temperature
    exponentials = np.exp(heated - heated.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result


def _logits(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.log(np.maximum(probabilities, _LEAST))
    return result
