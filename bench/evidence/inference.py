"""Intervals, tests and probabilities from an estimate and its variance, by Student's t distribution.

`scipy.special` is used instead of `scipy.stats`, which takes a second to import.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from bench.evidence.variance import Variance, Variances

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVEL = 0.95
POWER = 0.80
EQUIVALENCE_LEVEL = 0.90
"""Two one-sided tests at 5 % say "equal" where the 90 % interval lies inside the margin."""


class Interval(NamedTuple):
    """Ends of an interval; nan where there is none."""

    low: float
    high: float


class Against(NamedTuple):
    """How probable a difference is to be better by more than the margin, practically equal, or worse by more.
    They add up to 1."""

    better: float
    equal: float
    worse: float


def interval(
    estimate: float,
    variance: Variance,
    level: float = LEVEL,
    bounds: tuple[float, float] | None = None,
) -> Interval:
    """The t interval. With `bounds`, the smallest and the largest value possible, it is computed on the logit
    scale and so stays between them; at a bound itself there is none."""
    if not variance.total > 0 or math.isnan(estimate):
        return Interval(math.nan, math.nan)
    half = _quantile(0.5 + level / 2, variance.df) * math.sqrt(variance.total)
    if bounds is None:
        return Interval(estimate - half, estimate + half)
    low, high = bounds
    share = (estimate - low) / (high - low)
    if not 0 < share < 1:
        return Interval(math.nan, math.nan)
    logit = math.log(share / (1 - share))
    half /= (high - low) * share * (1 - share)  # the slope of the logit
    return Interval(*(low + (high - low) * _logistic(logit + sign * half) for sign in (-1, 1)))


def p_value(difference: float, variance: Variance) -> float:
    """Two-sided; nan without variance, because a spread of zero proves nothing."""
    if not variance.total > 0:
        return math.nan
    return 2 * _below(-abs(difference) / math.sqrt(variance.total), variance.df)


def p_values(differences: NDArray[np.float64], variance: Variances) -> NDArray[np.float64]:
    """`p_value` of many differences."""
    import numpy as np
    from scipy.special import stdtr

    total = variance.images + variance.training
    tested = total > 0
    t = -np.abs(differences) / np.sqrt(np.where(tested, total, 1.0))
    return np.where(tested, 2 * stdtr(variance.df, t), math.nan)


def against_margin(difference: float, variance: Variance, margin: float) -> Against:
    """Where the true difference may lie, as its t distribution around the estimate says."""
    if not variance.total > 0:
        return Against(math.nan, math.nan, math.nan)
    scale = math.sqrt(variance.total)
    worse = _below((-margin - difference) / scale, variance.df)
    better = _below((difference - margin) / scale, variance.df)
    return Against(better, max(0.0, 1 - better - worse), worse)


def is_equal(difference: float, variance: Variance, margin: float) -> bool:
    """Whether two one-sided tests at 5 % say that the difference is within the margin."""
    low, high = interval(difference, variance, EQUIVALENCE_LEVEL)
    return -margin < low and high < margin


def detectable(variance: Variance) -> float:
    """The smallest true difference that a study with this variance finds with a power of 80 %; nan without
    variance."""
    if not variance.total > 0:
        return math.nan
    factor = _quantile(0.5 + LEVEL / 2, variance.df) + _quantile(POWER, variance.df)
    return factor * math.sqrt(variance.total)


def _below(t: float, df: float) -> float:
    """P(T < t)."""
    from scipy.special import stdtr

    return float(stdtr(df, t))


def _quantile(p: float, df: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, p))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
