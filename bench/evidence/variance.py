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

Degrees of freedom are Satterthwaite's: R - 1 for `training`; for `images` from how unequally groups
contribute, found by leaving each out once, so that intervals widen where few large groups decide. Each part
is kept as a matrix of covariances between methods, so that the variance of any difference comes from it.
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
        strata: (G,) the class of each group that any round tests on.
        influences: (k, G) by how much each group moves each mean; (k, 0) where there are too many to ask.
        overlap: test images per training image; 0 where all rounds have the same training set.
    """

    means: NDArray[np.float64]
    images: NDArray[np.float64]
    within: NDArray[np.float64]
    rounds: NDArray[np.float64]
    count: int
    strata: NDArray[np.int64]
    influences: NDArray[np.float64]
    overlap: float

    def of_score(self, method: int) -> Variance:
        """Of the mean score of one method."""
        images, within, rounds = (part[method, method] for part in self._parts)
        df = degrees_of_freedom(self.influences[method], self.strata)
        return Variance(*map(float, self._variances(images, within, rounds, df)))

    def of_difference(self, a: int, b: int) -> Variance:
        """Of the difference between the mean scores of two methods."""
        pair = np.ix_((a, b), (a, b))
        images, within, rounds = (_contrasts(part[pair])[0, 1] for part in self._parts)
        df = degrees_of_freedom(self.influences[a] - self.influences[b], self.strata)
        return Variance(*map(float, self._variances(images, within, rounds, df)))

    def of_differences(self) -> Variances:
        """Of all differences at once: each part is (k, k), nan as degrees of freedom on the diagonal."""
        df = [degrees_of_freedom(own - self.influences, self.strata) for own in self.influences]
        images, within, rounds = map(_contrasts, self._parts)
        return self._variances(images, within, rounds, np.array(df))

    @property
    def _parts(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        return self.images, self.within, self.rounds

    def _variances(self, images: Any, within: Any, rounds: Any, df_images: Any) -> Variances:
        training = np.zeros_like(images)
        if self.count > 1:
            shared = (self.count * images - within) / (self.count - 1)
            training = np.maximum(0, rounds - within + shared) * (1 / self.count + self.overlap)
        # What rounding leaves of equal numbers is no variance.
        least = 1e-16 * max(1.0, float(np.abs(self.means).max())) ** 2
        images, training = (np.where(part < least, 0.0, part) for part in (images, training))
        with np.errstate(divide="ignore", invalid="ignore"):
            squares = images**2 / df_images + training**2 / max(1, self.count - 1)
            df = np.where(squares > 0, (images + training) ** 2 / squares, math.nan)
        return Variances(images, training, df)


def degrees_of_freedom(influences: NDArray[np.float64], strata: NDArray[np.int64]) -> NDArray[np.float64]:
    """(...) of a variance that is the sum of squares of G influences (..., G), drawn within strata.

    Satterthwaite's, with the variance of that sum as the fourth powers show it: 2 E^2 / Var. G groups that
    contribute alike give G less the number of strata; that is also the most, and what (..., 0) gives.
    """
    most = max(1, len(strata) - len(np.unique(strata)))
    if not influences.shape[-1]:
        return np.full(influences.shape[:-1], float(most))
    squares = influences**2
    variance = np.zeros(influences.shape[:-1])
    for stratum in np.unique(strata):
        own = squares[..., strata == stratum]
        variance += (own**2).sum(-1) - own.sum(-1) ** 2 / own.shape[-1]
    total = 2 * squares.sum(-1) ** 2
    ratio = np.divide(total, variance, out=np.full_like(total, most), where=variance > 0)
    df: NDArray[np.float64] = np.clip(ratio, 1.0, most)
    return df


def covariances(
    observed: NDArray[np.float64],
    replicates: NDArray[np.float64],
    without_one: NDArray[np.float64],
    strata: NDArray[np.int64],
    overlap: float,
) -> Covariances:
    """From scores (k, R), their replicates (k, R, B), and scores without each of G groups, (k, R, G), or
    (k, R, 0) where there are too many; `strata` (G,) are the groups' classes.

    Replicates in which a score is not defined (nan: no image of any class but one) are left out for all
    methods; the result is nan where fewer than half remain.
    """
    methods, count, total = replicates.shape
    defined = np.isfinite(replicates).all(axis=(0, 1))
    kept = replicates if defined.all() else replicates[:, :, defined]
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
        strata=strata,
        influences=_influences(without_one.mean(axis=1), strata),
        overlap=overlap,
    )


def _influences(without_one: NDArray[np.float64], strata: NDArray[np.int64]) -> NDArray[np.float64]:
    """(k, G) whose squares add up to the jackknife's variance of k means, from the means without each group;
    0 for a group without which a mean is not defined."""
    influences = np.zeros_like(without_one)
    if without_one.shape[1]:
        for stratum in np.unique(strata):
            own = without_one[:, strata == stratum]
            size = own.shape[1]
            scale = math.sqrt((size - 1) / size)
            influences[:, strata == stratum] = scale * (own - own.mean(axis=1, keepdims=True))
    return np.nan_to_num(influences)


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
