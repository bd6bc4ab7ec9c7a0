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
from dataclasses import dataclass, replace
from typing import NamedTuple

from bench.evidence.inference import LEVEL, POWER
from bench.evidence.variance import Covariances, Variance, degrees_of_freedom

MOST_ROUNDS = 100  # that are advised; nothing measured in a few says what a thousand would show
MOST_IMAGES = 1000.0  # times as many, up to which it is asked
QUANTILES = 50  # of a chi^2, at which a power is computed
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

    def at(self, rounds: int, images: float = 1.0) -> Design:
        """The same study with so many rounds, of a data set with `images` times as many images, alike in all
        else. More rounds than there are folds need as many folds, which are smaller."""
        one_round, overlap, folds = self.one_round / images, self.overlap, self.folds
        if folds and rounds > folds:
            one_round *= rounds / folds
            if overlap > 0:  # training gets what a smaller fold leaves
                test = folds / rounds
                overlap = test / (1 / overlap + 1 - test)
            folds = rounds
        return replace(
            self,
            rounds=rounds,
            one_round=one_round,
            shared=self.shared / images,
            overlap=overlap,
            df=self.df * images,
            folds=folds,
        )

    def variance(self) -> Variance:
        """Of the mean difference over all rounds."""
        of_images = self.one_round / self.rounds + (1 - 1 / self.rounds) * self.shared
        training = self.excess * (1 / self.rounds + self.overlap)
        squares = of_images**2 / self.df + training**2 / max(1, self.rounds - 1)
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
    if folds or shared < 0:  # by chance; the images' part of the rounds that were measured stays
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


def power(design: Design, difference: float) -> float:
    """How probable the two-way test is to find a true difference of this size, two-sided at 5 %.

    The test does not know the variance: it takes the images' part from resampling, which is taken here for
    exact, but `excess` from how rounds vary, as (excess + one_round - shared) chi^2 / (R - 1). Where training
    adds little, chance adds to it about as often as not, and what is below 0 counts as 0: so a study of few
    rounds finds less than its true variance would let it. This is the mean over that chi^2.
    """
    import numpy as np
    from scipy.special import gammaincinv, ndtr, stdtrit

    variance, rounds = design.variance(), design.rounds
    if not variance.total > 0 or rounds < 2:
        return math.nan
    chi2 = 2 * gammaincinv((rounds - 1) / 2, (np.arange(QUANTILES) + 0.5) / QUANTILES) / (rounds - 1)
    by_images = max(0.0, design.one_round - design.shared)
    excess = np.maximum(0.0, (design.excess + by_images) * chi2 - by_images)
    training = excess * (1 / rounds + design.overlap)
    total = variance.images + training
    df = total**2 / (variance.images**2 / design.df + training**2 / (rounds - 1))
    critical = stdtrit(df, 0.5 + LEVEL / 2) * np.sqrt(total)
    return float(ndtr((abs(difference) - critical) / math.sqrt(variance.total)).mean())


def finds(design: Design, difference: float) -> bool:
    """Whether a difference of this size is found with a power of 80 %."""
    return power(design, difference) >= POWER


def smallest_difference(design_of: Callable[[float], Design]) -> float:
    """The smallest true difference in 0..1 that is found with a power of 80 %, given the design for each; nan
    where not even 1 is."""
    low, high = 0.0, 1.0
    if not finds(design_of(high), high):
        return math.nan
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if finds(design_of(middle), middle) else (middle, high)
    return high


def rounds_needed(design: Design, difference: float, least: int = 3) -> int | None:
    """The smallest number of rounds from `least` with which a difference is found with a power of 80 %; None
    where not even the most would do."""
    numbers = range(least, design.most + 1)
    return next((rounds for rounds in numbers if finds(design.at(rounds), difference)), None)


def images_needed(design: Design, difference: float, rounds: int | None = None) -> float | None:
    """By what factor the images must grow for a difference to be found with a power of 80 % in so many
    rounds, at least 1 and to one in fifty; None where nothing up to `MOST_IMAGES` would do: trainings vary
    too much."""
    factor = 1.0
    while factor <= MOST_IMAGES:
        if finds(design.at(rounds or design.rounds, factor), difference):
            return factor
        factor *= 1.02
    return None
