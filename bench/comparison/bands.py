"""Curves of methods with bands: means over rounds, and what other test images could have given."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.comparison.evidence import Sample
from bench.evidence.inference import LEVEL
from bench.evidence.replicates import image_weights
from bench.evidence.weights import draw_weights
from bench.interfaces.image_weights import ImageWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces.predictions import Predictions

REPLICATES = 400
"""Enough for the ends of a band that is drawn one pixel wide."""

Curves = Callable[
    ["NDArray[np.bool_]", "NDArray[np.float64]", ImageWeights, "NDArray[np.float64]"], "NDArray[np.float64]"
]
"""Of positive images, scores and weights, at M places: (B, M)."""


class Band(NamedTuple):
    """A curve at M places.

    Attributes:
        mean: (M,) over rounds; nan where no round has a value.
        low: (M,) with `high`, within which it lies for 95 % of the resampled sets of test groups; None where
            they were not drawn.
        high: see `low`.
    """

    mean: NDArray[np.float64]
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None


def class_bands(
    curves: Curves,
    rounds: Mapping[int, Predictions],
    sample: Sample,
    at: NDArray[np.float64],
    *,
    resampled: bool,
) -> tuple[list[Band], Band]:
    """Of each class against the rest, and of their unweighted mean (macro), by one method's predictions.

    Groups of test images are resampled within classes, one draw for all rounds and methods, as for the
    intervals of tables; what rounds vary by beyond that is not in a band.
    """
    classes = next(iter(rounds.values())).classes
    observed = np.stack(
        [_curves(curves, one, ImageWeights.equal(len(one.ids)), at) for one in rounds.values()]
    )
    means = defined_mean(observed)[:, 0]  # (K, M)
    if not resampled:
        return [Band(mean) for mean in means], Band(defined_mean(means))
    weights = draw_weights(sample.groups, REPLICATES)
    drawn = defined_mean(
        np.stack(
            [_curves(curves, one, image_weights(one, sample.groups, weights), at) for one in rounds.values()]
        )
    )  # (K, B, M)
    each = [_band(means[k], drawn[k]) for k in range(len(classes))]
    return each, _band(defined_mean(means), defined_mean(drawn))


def _curves(
    curves: Curves, one: Predictions, weights: ImageWeights, at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(K, B, M)."""
    return np.stack(
        [curves(one.labels == k, one.probabilities[:, k], weights, at) for k in range(len(one.classes))]
    )


def _band(mean: NDArray[np.float64], drawn: NDArray[np.float64]) -> Band:
    tail = (1 - LEVEL) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of places where no replicate has a value
        low, high = np.nanquantile(drawn, (tail, 1 - tail), axis=0)
    return Band(mean, low, high)


def defined_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the first axis, of what is defined; nan where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        result: NDArray[np.float64] = np.nanmean(values, axis=0)
    return result


def mean_counts(rounds: Sequence[Predictions]) -> NDArray[np.float64]:
    """(K, K) images of each class, by row, that are predicted as which, by column: means over rounds."""
    classes = len(rounds[0].classes)
    cells = [one.labels * classes + one.probabilities.argmax(axis=1) for one in rounds]
    counts = [np.bincount(each, minlength=classes**2).reshape(classes, classes) for each in cells]
    result: NDArray[np.float64] = np.mean(counts, axis=0)
    return result
