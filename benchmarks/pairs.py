"""Ratios that survive a shared machine: ceiling, work, ceiling, work, ceiling, in one process.

A shared machine changes its speed by up to ten times for minutes, and naive ratios lie. So work is compared
with the mean of the ceilings just before and just after it, and thrown away where those two disagree.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LIMIT = 1.25  # by which two ceilings around a piece of work may differ
ENOUGH = 5  # accepted pairs

Seconds = Callable[[], float]  # does something once and says how long it took


@dataclass(frozen=True)
class Pair:
    """Seconds of a piece of work, and of the ceilings on both sides of it."""

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
    """The median ratio of the accepted pairs, None where there are too few."""

    ratio: float | None
    low: float | None
    high: float | None
    accepted: int
    rejected: int
    seconds: float | None  # of the work, median


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
    """Fewer than `enough` accepted pairs are no figure."""
    good = [pair for pair in pairs if pair.accepted]
    rejected = len(pairs) - len(good)
    if len(good) < enough:
        return Summary(None, None, None, len(good), rejected, None)
    ratios = [pair.ratio for pair in good]
    return Summary(
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        len(good),
        rejected,
        statistics.median(pair.work for pair in good),
    )
