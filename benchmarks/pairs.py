"""Ratios that survive a shared machine: ceiling, work, ceiling, work, ceiling, in one process.

A shared machine changes its speed by up to ten times for minutes, so a ratio of two timings some time apart
means little. Work is compared with the mean of the ceilings just before and just after it, and left out where
those two disagree.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LIMIT = 1.25  # factor by which the two ceilings around a piece of work may differ
ENOUGH = 5  # accepted pairs

Seconds = Callable[[], float]
"""Does something once and returns how many seconds it took."""


@dataclass(frozen=True)
class Pair:
    """Seconds of a piece of work, and of the ceiling before and after it."""

    before: float
    work: float
    after: float

    @property
    def accepted(self) -> bool:
        return max(self.before, self.after) <= LIMIT * min(self.before, self.after)

    @property
    def ratio(self) -> float:
        return self.work / ((self.before + self.after) / 2)


@dataclass(frozen=True)
class Summary:
    """The ratios of the accepted pairs.

    Attributes:
        ratio: median; None, as `low` and `high`, where too few pairs were accepted.
        low: smallest.
        high: largest.
        accepted: number of pairs.
        rejected: number of pairs whose ceilings differ too much.
    """

    ratio: float | None
    low: float | None
    high: float | None
    accepted: int
    rejected: int


def measure(ceiling: Seconds, work: Seconds, budget: float, enough: int = ENOUGH) -> list[Pair]:
    """Pairs until `enough` are accepted or `budget` seconds have passed, whichever comes first."""
    ends = time.perf_counter() + budget
    pairs: list[Pair] = []
    before = ceiling()
    while sum(pair.accepted for pair in pairs) < enough and time.perf_counter() < ends:
        took, after = work(), ceiling()
        pairs.append(Pair(before, took, after))
        before = after
    return pairs


def summarize(pairs: Sequence[Pair], enough: int = ENOUGH) -> Summary:
    """The ratios of the accepted pairs; no figure where they are fewer than `enough`."""
    ratios = [pair.ratio for pair in pairs if pair.accepted]
    rejected = len(pairs) - len(ratios)
    if len(ratios) < enough:
        return Summary(None, None, None, len(ratios), rejected)
    return Summary(statistics.median(ratios), min(ratios), max(ratios), len(ratios), rejected)
