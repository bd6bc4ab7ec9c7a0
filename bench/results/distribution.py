"""Whether probabilities are a distribution over the classes for every image."""

from __future__ import annotations

from typing import Any

TOLERANCE = 1e-4
"""How far a row may sum from 1: what rounding in half the usual precision leaves of a softmax is less."""


def fault(probabilities: Any, images: int, classes: int) -> str:
    """What keeps `probabilities` from being (images, classes) distributions, as a phrase; "" if nothing."""
    import numpy as np

    try:
        values = np.asarray(probabilities, dtype=np.float64)
    except (TypeError, ValueError):
        return f"a {type(probabilities).__name__} that is no array of numbers"
    if values.shape != (images, classes):
        return f"probabilities of shape {values.shape}, not (images, classes) = {(images, classes)}"
    if not values.size:
        return ""
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        return f"probabilities that are not finite ({_shown(values[row])} for image {row + 1} of {images})"
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1 + TOLERANCE:
        return f"probabilities from {low:.4g} to {high:.4g}, not from 0 to 1"
    sums = values.sum(axis=1)
    row = int(np.abs(sums - 1).argmax())
    if abs(sums[row] - 1) > TOLERANCE:
        return f"probabilities that sum to {sums[row]:.6g}, not 1, for image {row + 1} of {images}"
    return ""


def _shown(values: Any) -> str:
    return ", ".join(f"{value:.4g}" for value in values[:4]) + (", …" if len(values) > 4 else "")
