"""How much a score on a subset of the test images differs from that on the rest, by chance alone.

Resampling shows the variance of a subset's score as far as its own images differ. Where a dozen groups are
all predicted right, they do not differ: the variance is 0 and any difference is "shown", though a method that
is right on 95 % of all groups is right on twelve of twelve in half of all studies. So the variance of a
difference is taken to be at least what a subset of as many groups has that is drawn at random from all, for
which the true difference is 0 (the permutation variance; Good 2005, "Permutation, Parametric and Bootstrap
Tests of Hypotheses", chapter 3). Every drawn subset is the same in all rounds, as the real one is.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import PluginError
from bench.evidence.replicates import can_be_weighted, image_weights, replicate
from bench.evidence.variance import Covariances, Variance
from bench.evidence.weights import Groups
from bench.interfaces.image_weights import ImageWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces.metric import Metric
    from bench.interfaces.predictions import Predictions
    from bench.registry import Registry

DRAWS = 1000


def draw_subsets(shares: NDArray[np.float64], groups: Groups, draws: int = DRAWS) -> NDArray[np.float64]:
    """(D, G) the share of each group's images that lies in each of D subsets: `shares` (G,), that of the real
    subset, dealt to the groups at random. The seed comes from the groups' names and the shares."""
    text = "\n".join(f"{name} {share:.6f}" for name, share in zip(groups.names, shares, strict=True))
    random = np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))
    return random.permuted(np.broadcast_to(shares, (draws, len(shares))), axis=1)


def variance_by_chance(
    metric: Metric,
    rounds: Sequence[Predictions],
    groups: Groups,
    subsets: NDArray[np.float64],
    registry: Registry | None = None,
) -> float:
    """Of the difference between a subset's mean score over rounds and that of the rest, over `subsets`
    (D, G).

    `rounds` are one method's predictions of all test images of each round. nan for a metric that cannot be
    weighted, and where the scores of more than half of the subsets are not defined in every round. Raises
    PluginError for a metric that fails.
    """
    if not can_be_weighted(metric):
        return math.nan
    total = np.zeros(len(subsets))
    for one in rounds:
        inside = image_weights(one, groups, subsets)
        outside = ImageWeights(1 - inside.of_groups, inside.group)
        total += scores_under(metric, one, inside, registry)
        total -= scores_under(metric, one, outside, registry)
    defined = total[np.isfinite(total)] / len(rounds)
    return float(np.var(defined, ddof=1)) if 2 * len(defined) >= max(4, len(total)) else math.nan


def scores_under(
    metric: Metric, predictions: Predictions, weights: ImageWeights, registry: Registry | None = None
) -> NDArray[np.float64]:
    """(B,) of a metric that can be weighted, under each weighting; nan where all images weigh nothing, which
    a metric need not know of. Raises PluginError for a metric that fails."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = replicate([metric], predictions, weights, registry)
    for problem in found.problems.values():
        raise PluginError(problem)
    scores: NDArray[np.float64] = np.where(weights.totals > 0, found.values[metric.name], math.nan)
    return scores


def of_difference(parts: Covariances, by_chance: float) -> Variance:
    """Of the difference between the first two of the means in `parts`, a subset's and the rest's: its images
    count for at least `by_chance`; nan where either is not defined."""
    own = parts.of_difference(0, 1)
    if math.isnan(own.images) or math.isnan(by_chance):
        return Variance(math.nan, own.training, math.nan)
    if own.images >= by_chance:
        return own
    most = max(1, len(parts.strata) - len(np.unique(parts.strata)))  # it is estimated from all groups
    squares = by_chance**2 / most + own.training**2 / max(1, parts.count - 1)
    return Variance(by_chance, own.training, (by_chance + own.training) ** 2 / squares)
