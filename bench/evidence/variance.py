"""How uncertain a score is, or a difference of scores, over rounds that share images.

Rounds are repeated grouped splits, or folds, of one small data set. Their scores vary for two reasons that
do not fall as one over the number of rounds: the images are few, and the same images come back in other
rounds. So the variance of a mean over rounds is measured in two parts.

    T      scores under resampled groups, one draw for all rounds and methods (`weights.draw_weights`)
    D      scores observed, one a round
    images    = var(mean over rounds of T)
    within    = mean over rounds of var(T)
    shared    = (R images - within) / (R - 1)      covariance of two rounds by the images they share
    excess    = max(0, var(D) - within + shared)   what rounds vary by beyond that: training set and seed
    training  = excess (1/R + test/train)          training sets overlap (Nadeau and Bengio 2003)
    variance  = images + training

Degrees of freedom are Satterthwaite's: G - 1 of G groups for `images`, R - 1 for `training`. Each part is
kept as a matrix of covariances between methods, so that the variance of any difference comes from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Variance(NamedTuple):
    """Of a mean over rounds.

    Attributes:
        images: the part that more test images would lower.
        training: the part that more rounds would lower; 0 for one round, where it cannot be seen.
        df: degrees of freedom, Satterthwaite's; nan where the variance is 0.
    """

    images: float
    training: float
    df: float

    @property
    def total(self) -> float:
        return self.images + self.training


class Variances(NamedTuple):
    """`Variance` of many means at once: arrays of one shape."""

    images: NDArray[np.float64]
    training: NDArray[np.float64]
    df: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Covariances:
    """Of the scores of k methods on the same R rounds.

    Attributes:
        means: (k,) scores, means over rounds.
        images: (k, k) over replicates, of the means over rounds.
        within: (k, k) over replicates, of one round, mean over rounds.
        rounds: (k, k) over rounds, of the observed scores; zeros for one round.
        count: R.
        groups: G, that any round tests on.
        overlap: test images per training image; 0 where all rounds have the same training set.
    """

    means: NDArray[np.float64]
    images: NDArray[np.float64]
    within: NDArray[np.float64]
    rounds: NDArray[np.float64]
    count: int
    groups: int
    overlap: float

    def of_score(self, method: int) -> Variance:
        """Of the mean score of one method."""
        own = self._variances(*(part[method, method] for part in (self.images, self.within, self.rounds)))
        return Variance(*map(float, own))

    def of_difference(self, a: int, b: int) -> Variance:
        """Of the difference between the mean scores of two methods."""
        return Variance(*(float(part[a, b]) for part in self.of_differences()))

    def of_differences(self) -> Variances:
        """Of all differences at once: each part is (k, k), nan as degrees of freedom on the diagonal."""
        return self._variances(*(_contrasts(part) for part in (self.images, self.within, self.rounds)))

    def _variances(self, images: Any, within: Any, rounds: Any) -> Variances:
        training = np.zeros_like(images)
        if self.count > 1:
            shared = (self.count * images - within) / (self.count - 1)
            training = np.maximum(0, rounds - within + shared) * (1 / self.count + self.overlap)
        # What rounding leaves of equal numbers is no variance.
        least = 1e-16 * max(1.0, float(np.abs(self.means).max())) ** 2
        images, training = (np.where(part < least, 0.0, part) for part in (images, training))
        with np.errstate(divide="ignore", invalid="ignore"):
            squares = images**2 / max(1, self.groups - 1) + training**2 / max(1, self.count - 1)
            df = np.where(squares > 0, (images + training) ** 2 / squares, math.nan)
        return Variances(images, training, df)


def covariances(
    observed: NDArray[np.float64], replicates: NDArray[np.float64], groups: int, overlap: float
) -> Covariances:
    """From scores (k, R) and their replicates (k, R, B).

    Replicates in which a score is not defined (nan: no image of any class but one) are left out for all
    methods; the result is nan where fewer than half remain.
    """
    methods, count, total = replicates.shape
    defined = np.isfinite(replicates).all(axis=(0, 1))
    kept = replicates[:, :, defined]
    if 2 * kept.shape[2] < total or kept.shape[2] < 2:
        nothing = np.full((methods, methods), math.nan)
        images = within = nothing
    else:
        images = _covariance(kept.mean(axis=1))
        within = np.mean([_covariance(kept[:, r]) for r in range(count)], axis=0)
    rounds = _covariance(observed) if count > 1 else np.zeros((methods, methods))
    return Covariances(
        means=observed.mean(axis=1),
        images=images,
        within=within,
        rounds=rounds,
        count=count,
        groups=groups,
        overlap=overlap,
    )


def _covariance(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k, k) sample covariances of k rows."""
    centred = values - values.mean(axis=1, keepdims=True)
    result: NDArray[np.float64] = centred @ centred.T / (values.shape[1] - 1)
    return result


def _contrasts(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k, k) variances of all differences between two of k numbers with these covariances."""
    own = part.diagonal()
    differences: NDArray[np.float64] = own[:, None] + own - 2 * part
    return differences
