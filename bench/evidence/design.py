"""What a study can show: the variance of a difference at other numbers of rounds and images than were tried.

The variance of a mean over R rounds is that of `variance`, said by what does not depend on R:

    images   = one_round / R + (1 - 1/R) shared
    training = excess (1/R + overlap)

so with many rounds `shared + excess overlap` remains, and with many images `training`. Folds share no image;
k folds together test every image once, and more folds are smaller ones, so that the images' part stays.
`forecast` says the same of a study before anything is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from bench.evidence.inference import LEVEL, detectable
from bench.evidence.variance import Covariances, Variance, degrees_of_freedom

MOST_ROUNDS = 100  # that are advised; nothing measured in a few says what a thousand would show
MOST_FOLDS = 20  # that a protocol allows


@dataclass(frozen=True, kw_only=True)
class Design:
    """Of a difference between two mean scores.

    Attributes:
        rounds: R, that the study has.
        one_round: variance by the test images of one round.
        shared: covariance of two rounds by the images that both test on.
        excess: variance of rounds beyond that: training set and seed.
        overlap: test images per training image; 0 where all rounds have the same training set.
        df: degrees of freedom of the images' part.
        folds: how many folds the images are divided into, of which each round tests one; 0 where rounds are
            drawn independently.
    """

    rounds: int
    one_round: float
    shared: float
    excess: float
    overlap: float
    df: float
    folds: int = 0

    def variance(self, rounds: int | None = None, images: float = 1.0) -> Variance:
        """With so many rounds, of a data set with `images` times as many images, alike in all else. More
        rounds than there are folds need as many folds."""
        rounds = rounds or self.rounds
        overlap = self.overlap
        if self.folds:
            of_images = self.one_round / min(rounds, self.folds)
            if rounds > self.folds and overlap > 0:  # training gets what a smaller fold leaves
                test = self.folds / rounds
                overlap = test / (1 / overlap + 1 - test)
        else:
            of_images = self.one_round / rounds + (1 - 1 / rounds) * self.shared
        of_images /= images
        training = self.excess * (1 / rounds + overlap)
        squares = of_images**2 / (self.df * images) + training**2 / max(1, rounds - 1)
        df = (of_images + training) ** 2 / squares if squares > 0 else math.nan
        return Variance(of_images, training, df)

    @property
    def most(self) -> int:
        """Rounds up to which it is asked how many would do."""
        return MOST_FOLDS if self.folds else MOST_ROUNDS


class Parts(NamedTuple):
    """Of the variance of one difference, as measured; estimates, so the last two may be negative."""

    one_round: float
    shared: float
    excess: float


def parts_of(measured: Covariances, a: int, b: int) -> Parts:
    """Of the difference between two methods. From one round, images are all that can be seen."""
    images, within, rounds = (
        float(part[a, a] + part[b, b] - 2 * part[a, b])
        for part in (measured.images, measured.within, measured.rounds)
    )
    if measured.count == 1:
        return Parts(images, images, 0.0)
    shared = (measured.count * images - within) / (measured.count - 1)
    return Parts(within, shared, rounds - within + shared)


def design_of(measured: Covariances, a: int, b: int, folds: int = 0) -> Design:
    """Of the difference between two methods; its variance is `measured.of_difference`, but for rounding."""
    one_round, shared, excess = parts_of(measured, a, b)
    if (
        folds or shared < 0
    ):  # what is there by chance; the images' part of the rounds that were measured stays
        one_round, shared = one_round + (measured.count - 1) * shared, 0.0
    return Design(
        rounds=measured.count,
        one_round=one_round,
        shared=shared,
        excess=max(0.0, excess),
        overlap=measured.overlap,
        df=float(degrees_of_freedom(measured.influences[a] - measured.influences[b], measured.strata)),
        folds=folds,
    )


def power(difference: float, variance: Variance) -> float:
    """How probable a study with this variance is to find a true difference, two-sided at 5 %; 0.8 at what
    `detectable` gives."""
    from scipy.special import stdtr, stdtrit

    if not variance.total > 0:
        return math.nan
    t = float(stdtrit(variance.df, 0.5 + LEVEL / 2))
    return float(stdtr(variance.df, abs(difference) / math.sqrt(variance.total) - t))


def smallest_difference(variance_of: Callable[[float], Variance]) -> float:
    """The smallest true difference in 0..1 that is found with a power of 80 %, given the variance at each;
    nan where not even 1 is."""
    low, high = 0.0, 1.0
    if not detectable(variance_of(high)) <= high:
        return math.nan
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if detectable(variance_of(middle)) <= middle else (middle, high)
    return high


def rounds_needed(design: Design, difference: float, least: int = 3) -> int | None:
    """The smallest number of rounds from `least` with which a difference is found with a power of 80 %; None
    where not even the most would do."""

    def enough(rounds: int) -> bool:
        return detectable(design.variance(rounds)) <= difference

    if not enough(design.most):
        return None
    return next(rounds for rounds in range(least, design.most + 1) if enough(rounds))


def images_needed(design: Design, difference: float, rounds: int | None = None) -> float | None:
    """By what factor the images must grow for a difference to be found with a power of 80 % in so many
    rounds, at least 1; None where a million times as many would not do: trainings vary too much."""

    def enough(factor: float) -> bool:
        return detectable(design.variance(rounds, factor)) <= difference

    low, high = 1.0, 1e6
    if enough(low):
        return low
    if not enough(high):
        return None
    while high / low > 1.0001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
