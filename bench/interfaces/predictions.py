"""Predictions: the input of metrics and ensembles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a finished run predicts for one part of a split: N images, K classes.

    Attributes:
        classes: names of the classes.
        ids: ids of the images.
        groups: groups of the images; an image without a group is a group of its own.
        labels: int64 (N,), indices into classes.
        probabilities: float64 (N, K), rows sum to 1.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
