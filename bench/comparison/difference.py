"""Two methods on one metric: the difference, how sure it is, and what may be said of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from bench.comparison.evidence import Evidence
from bench.comparison.footer import FEW, LEAST
from bench.evidence.design import Design, design_of
from bench.evidence.inference import (
    LEVEL,
    Against,
    Interval,
    against_margin,
    detectable,
    interval,
    is_equal,
    p_value,
)
from bench.evidence.multiplicity import holm
from bench.evidence.variance import Variance

ALPHA = 1 - LEVEL


class Verdict(Enum):
    """What may be said of a difference."""

    BETTER = "better"
    WORSE = "worse"
    EQUAL = "practically equal"
    OPEN = "not shown either way"
    ONE_ROUND = "one round tells of these two trained models, not of their methods"
    TWO_ROUNDS = "two rounds are too few"
    NO_SPREAD = "there is no spread that could be tested"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of the first method's mean score over the second's; positive where the first is better.

    Attributes:
        first: name.
        second: name.
        scores: means over the shared rounds.
        rounds: that both have a score in.
        left_out: rounds that only one of them has.
        value: how much better the first is, in the metric's own unit.
        ends: of the 95 % interval.
        p: two-sided; nan where nothing can be tested.
        adjusted: p among all comparisons that were made, by Holm's method.
        comparisons: how many these are.
        against: of the true difference to the margin.
        margin: within which methods are practically equal.
        detectable: the smallest true difference that such a study finds with a power of 80 %.
        variance: of `value`.
        resampled: whether test images could be resampled; if not, only what rounds differ by is known.
        design: how `variance` would change with rounds and images.
    """

    first: str
    second: str
    scores: tuple[float, float]
    rounds: tuple[int, ...]
    left_out: tuple[int, ...]
    value: float
    ends: Interval
    p: float
    adjusted: float
    comparisons: int
    against: Against
    margin: float
    detectable: float
    variance: Variance
    resampled: bool
    design: Design

    @property
    def verdict(self) -> Verdict:
        """At 5 %, after adjustment."""
        if len(self.rounds) < LEAST:
            return Verdict.ONE_ROUND if len(self.rounds) == 1 else Verdict.TWO_ROUNDS
        if math.isnan(self.p):
            return Verdict.NO_SPREAD
        if self.adjusted < ALPHA:
            return Verdict.BETTER if self.value > 0 else Verdict.WORSE
        return Verdict.EQUAL if is_equal(self.value, self.variance, self.margin) else Verdict.OPEN

    @property
    def few_rounds(self) -> bool:
        """Whether a verdict rests on so few rounds that it must be marked."""
        return LEAST <= len(self.rounds) < FEW

    @property
    def image_share(self) -> float:
        """The part of the variance, 0..1, that more test images would lower; the rest needs more rounds."""
        return self.variance.images / self.variance.total if self.variance.total else math.nan


def difference(
    evidence: Evidence, first: int, second: int, margin: float, folds: int = 0
) -> Difference | None:
    """Between two of its methods, by their places; None where they share no round. `folds` is how many the
    images were divided into, 0 for independent rounds."""
    rounds = [evidence.rounds[i] for i in evidence.shared((first, second))]
    if not rounds:
        return None
    parts = evidence.covariances((first, second))
    scores = (float(parts.means[0]), float(parts.means[1]))
    value = (scores[0] - scores[1]) * (1 if evidence.metric.higher_is_better else -1)
    variance = parts.of_difference(0, 1)
    p = p_value(value, variance)
    return Difference(
        first=evidence.methods[first],
        second=evidence.methods[second],
        scores=scores,
        rounds=tuple(rounds),
        left_out=_left_out(evidence, (first, second), rounds),
        value=value,
        ends=interval(value, variance),
        p=p,
        adjusted=p,
        comparisons=1,
        against=against_margin(value, variance, margin),
        margin=margin,
        detectable=detectable(variance),
        variance=variance,
        resampled=evidence.replicates.shape[2] > 0,
        design=design_of(parts, 0, 1, folds),
    )


def with_variance(one: Difference, variance: Variance) -> Difference:
    """The same difference, inferred from another variance; its p is not adjusted yet."""
    p = p_value(one.value, variance)
    return replace(
        one,
        ends=interval(one.value, variance),
        p=p,
        adjusted=p,
        comparisons=1,
        against=against_margin(one.value, variance, one.margin),
        detectable=detectable(variance),
        variance=variance,
    )


def mirrored(one: Difference) -> Difference:
    """The same of the second over the first."""
    better, equal, worse = one.against
    return replace(
        one,
        first=one.second,
        second=one.first,
        scores=one.scores[::-1],
        value=-one.value,
        ends=Interval(-one.ends.high, -one.ends.low),
        against=Against(worse, equal, better),
    )


def adjusted(differences: Sequence[Difference]) -> list[Difference]:
    """The same, each p adjusted for all those that can be tested (Holm 1979)."""
    tested = [d.p if len(d.rounds) >= LEAST else math.nan for d in differences]
    count = sum(not math.isnan(p) for p in tested)
    return [
        d if math.isnan(p) else replace(d, adjusted=float(p), comparisons=count)
        for d, p in zip(differences, holm(tested), strict=True)
    ]


def _left_out(evidence: Evidence, methods: Sequence[int], shared: Sequence[int]) -> tuple[int, ...]:
    either = {evidence.rounds[i] for method in methods for i in evidence.shared((method,))}
    return tuple(sorted(either - set(shared)))
