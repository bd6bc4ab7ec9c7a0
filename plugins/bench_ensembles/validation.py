"""What ensembles that are fitted share: how well probabilities fit the labels of the validation part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST = 1e-12
"""The probability of a true class counts as this where it is lower, so that no single image decides alone."""


def of_true_class(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) from probabilities (N, K) and labels (N,): what each image's own class is given."""
    own: NDArray[np.float64] = np.maximum(probabilities[np.arange(len(labels)), labels], LEAST)
    return own


def log_loss(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean negative log-probability of the true classes, in nats."""
    return float(-np.log(of_true_class(probabilities, labels)).mean())


def weighted_mean(members: list[NDArray[np.float64]], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The members' probabilities (N, K), weighted (M,): (N, K), rows that sum to 1."""
    mixed: NDArray[np.float64] = np.tensordot(weights, np.stack(members).astype(np.float64, copy=False), 1)
    mixed /= mixed.sum(axis=1, keepdims=True)
    return mixed
