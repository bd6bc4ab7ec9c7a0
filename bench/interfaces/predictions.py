"""Predictions: what metrics and ensembles work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a finished run says about one part of a split. N images, K classes.

    Attributes:
        classes: names of the classes.
        ids: of the images.
        groups: of the images; an image that stands alone is a group of its own.
        labels: int64 (N,), indices into classes.
        probabilities: float64 (N, K), rows sum to 1.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
