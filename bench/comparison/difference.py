"""Two methods on one metric: the difference, how sure it is, and what may be said of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from bench.comparison.evidence import Evidence
from bench.comparison.footer import FEW, LEAST
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
from bench.evidence.variance import Variance

ALPHA = 1 - LEVEL


class Verdict(Enum):
    """What may be said of a difference."""

    BETTER = "better"
    WORSE = "worse"
    EQUAL = "practically equal"
    OPEN = "not shown either way"
    ONE_ROUND = "one round: these two trained models, not their methods"
    TWO_ROUNDS = "two rounds: too few for a verdict"
    NO_SPREAD = "no spread: nothing that could be tested"


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
        against: of the true difference to the margin.
        margin: within which methods are practically equal.
        detectable: the smallest true difference that such a study finds with a power of 80 %.
        variance: of `value`.
        verdict: at 5 %, unadjusted.
    """

    first: str
    second: str
    scores: tuple[float, float]
    rounds: tuple[int, ...]
    left_out: tuple[int, ...]
    value: float
    ends: Interval
    p: float
    against: Against
    margin: float
    detectable: float
    variance: Variance
    verdict: Verdict

    @property
    def few_rounds(self) -> bool:
        """Whether a verdict rests on so few rounds that it must be marked."""
        return LEAST <= len(self.rounds) < FEW

    @property
    def image_share(self) -> float:
        """The part of the variance, 0..1, that more test images would lower; the rest needs more rounds."""
        return self.variance.images / self.variance.total if self.variance.total else math.nan


def difference(evidence: Evidence, first: int, second: int, margin: float) -> Difference | None:
    """Between two of its methods, by their places; None where they share no round."""
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
        against=against_margin(value, variance, margin),
        margin=margin,
        detectable=detectable(variance),
        variance=variance,
        verdict=_verdict(value, variance, p, margin, len(rounds)),
    )


def _left_out(evidence: Evidence, methods: Sequence[int], shared: Sequence[int]) -> tuple[int, ...]:
    either = {evidence.rounds[i] for method in methods for i in evidence.shared((method,))}
    return tuple(sorted(either - set(shared)))


def _verdict(value: float, variance: Variance, p: float, margin: float, rounds: int) -> Verdict:
    if rounds < LEAST:
        return Verdict.ONE_ROUND if rounds == 1 else Verdict.TWO_ROUNDS
    if math.isnan(p):
        return Verdict.NO_SPREAD
    if p < ALPHA:
        return Verdict.BETTER if value > 0 else Verdict.WORSE
    return Verdict.EQUAL if is_equal(value, variance, margin) else Verdict.OPEN
