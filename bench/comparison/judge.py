"""What a table says of its rows beside their means: intervals, ties with the best, ranks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from bench.comparison.difference import ALPHA
from bench.comparison.evidence import Evidence
from bench.comparison.footer import LEAST
from bench.comparison.judged import Judged, number
from bench.evidence.inference import Interval, interval, p_values
from bench.evidence.multiplicity import holm
from bench.evidence.ranking import rank_methods
from bench.interfaces.rows import Rank

if TYPE_CHECKING:
    from numpy.typing import NDArray


def judge_rows(evidence: Evidence) -> list[Judged]:
    """What is said of each method, in their order."""
    alike = _by_rounds(evidence)
    ends = [Interval(math.nan, math.nan)] * len(evidence.methods)
    for members in alike:
        parts = evidence.covariances(members)
        for place, method in enumerate(members):
            mean = float(parts.means[place])
            ends[method] = interval(mean, parts.of_score(place), bounds=evidence.metric.bounds)
    best = tied_with_best(evidence)
    one_set = len(alike) == 1 and len(alike[0]) == len(ends) > 1
    ranks = rank_methods(evidence.replicates, evidence.metric.higher_is_better) if one_set else []
    return [
        Judged(
            number(ends[i].low),
            number(ends[i].high),
            best[i],
            Rank(first=ranks[i].first, low=ranks[i].low, high=ranks[i].high) if ranks else None,
        )
        for i in range(len(ends))
    ]


def tied_with_best(evidence: Evidence) -> list[bool | None]:
    """Of each method, whether it has the best mean or cannot be told from the one that has, with Holm's
    adjustment over all pairs; None where there are too few rounds, or nothing to compare."""
    means = [_mean(evidence, i) for i in range(len(evidence.methods))]
    scored = [i for i, mean in enumerate(means) if not math.isnan(mean)]
    result: list[bool | None] = [None] * len(means)
    if len(scored) < 2:
        return result
    winner = (max if evidence.metric.higher_is_better else min)(scored, key=means.__getitem__)
    p = pair_p_values(evidence)
    if np.isnan(p[winner]).all():
        return result
    above = np.triu_indices(len(means), 1)
    adjusted = np.full_like(p, math.nan)
    adjusted[above] = holm(p[above])
    adjusted = np.where(np.isnan(adjusted), adjusted.T, adjusted)
    for i in scored:
        result[i] = i == winner or not adjusted[winner, i] < ALPHA
    return result


def pair_p_values(evidence: Evidence) -> NDArray[np.float64]:
    """(k, k) two-sided p of all differences; nan where two methods share fewer rounds than a verdict needs,
    or nothing can be tested."""
    p = np.full((len(evidence.methods),) * 2, math.nan)
    for some, others in combinations_with_replacement(_by_rounds(evidence), 2):
        members = list(dict.fromkeys([*some, *others]))
        if len(evidence.shared(members)) < LEAST:
            continue
        parts = evidence.covariances(members)
        differences = parts.means[:, None] - parts.means
        at = np.ix_(members, members)
        known = p[at]
        p[at] = np.where(np.isnan(known), p_values(differences, parts.of_differences()), known)
    return p


def _by_rounds(evidence: Evidence) -> list[list[int]]:
    """Methods with scores in the same rounds, at least one."""
    alike: dict[bytes, list[int]] = defaultdict(list)
    for i, scored in enumerate(np.isfinite(evidence.scores)):
        if scored.any():
            alike[scored.tobytes()].append(i)
    return list(alike.values())


def _mean(evidence: Evidence, method: int) -> float:
    scores = evidence.scores[method]
    defined: Sequence[float] = scores[np.isfinite(scores)]
    return float(np.mean(defined)) if len(defined) else math.nan
