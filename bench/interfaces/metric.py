"""Metrics: numbers computed from stored predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.interfaces.component import Component, P
from bench.interfaces.image_weights import ImageWeights
from bench.interfaces.predictions import Predictions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Metric(Component[P]):
    """A number computed from stored predictions.

    Attributes:
        score: `score(predictions)` is the number, or nan where the metric is not defined.
        title: column heading.
        higher_is_better: the direction.
        default: whether `bench table` shows it unless --metrics names others.
        reference: another implementation, with which `bench verify --recompute` compares.
        of_counts: the same metric of float counts (..., K, K), how many images of each class, by row, are
            predicted as which, by column: gives (...). For metrics that depend on nothing else.
        of_weights: the same metric as `of_weights(predictions, weights)`, where `ImageWeights` say how much
            each of N images counts in each of B rows: gives (B,). For all others that can be weighted.
        bounds: the smallest and the largest value there can be; an interval stays between them.

    With `of_counts` or `of_weights`, tables and comparisons show how uncertain the metric is from resampled
    test images. Without, they use what rounds differ by alone, which finds few differences.

    Scores are kept, and found again by the predictions' checksum and the metric's name, `revision`, package
    version and source file. So raise `revision` where the same predictions would now give another score
    because of code elsewhere.
    """

    score: Callable[[Predictions], float]
    title: str
    higher_is_better: bool = True
    default: bool = True
    reference: Callable[[Predictions], float] | None = None
    of_counts: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    of_weights: Callable[[Predictions, ImageWeights], NDArray[np.float64]] | None = None
    bounds: tuple[float, float] | None = None
