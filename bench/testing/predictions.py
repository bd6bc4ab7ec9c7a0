"""Predictions to try metrics and ensembles on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from bench.interfaces.predictions import Predictions


def predictions(
    sign: float, images: int = 60, classes: int = 3, labelled: int = 3, seed: int = 0
) -> Predictions:
    """Images of the first `labelled` of `classes` classes; probabilities lean to the right class (sign 1) or
    away from it (-1)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    labels = np.arange(images) % labelled
    logits = rng.normal(size=(images, classes)) + 3 * sign * np.eye(classes)[labels]
    odds = np.exp(logits)
    ids = tuple(f"image-{i}" for i in range(images))
    return Predictions(
        classes=tuple("abcdefgh"[:classes]),
        ids=ids,
        groups=ids,
        labels=labels,
        probabilities=odds / odds.sum(1, keepdims=True),
    )


def reordered(predictions: Predictions, order: Sequence[int] | Any) -> Predictions:
    """The same images in another order."""
    return dataclasses.replace(
        predictions,
        ids=tuple(predictions.ids[i] for i in order),
        groups=tuple(predictions.groups[i] for i in order),
        labels=predictions.labels[order],
        probabilities=predictions.probabilities[order],
    )
