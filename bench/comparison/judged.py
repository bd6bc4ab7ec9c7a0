"""What tests say of one value of a table, and how that is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

from bench.interfaces.rows import Estimate, Rank


class Judged(NamedTuple):
    """One row on one metric.

    Attributes:
        low: with `high`, the ends of the 95 % interval of its mean; None where there is none.
        high: see `low`.
        best: whether it has the best mean or is not shown to differ from it; None where nothing is tested.
        rank: None unless all rows have the same rounds.
    """

    low: float | None
    high: float | None
    best: bool | None
    rank: Rank | None

    def of(self, estimate: Estimate) -> Estimate:
        """The estimate with what is known of it."""
        return Estimate(
            mean=estimate.mean,
            spread=estimate.spread,
            low=self.low,
            high=self.high,
            best=self.best,
            rank=self.rank,
            rounds=estimate.rounds,
        )


NOTHING = Judged(None, None, None, None)


def number(value: float) -> float | None:
    """None for nan."""
    return None if math.isnan(value) else value


def to_json(rows: Sequence[Judged]) -> str:
    """The rows of a table on one metric, as they are kept."""
    return json.dumps([[j.low, j.high, j.best, j.rank and vars(j.rank)] for j in rows])


def from_json(text: str, count: int) -> list[Judged] | None:
    """`count` rows as `to_json` gives them; None for any other text."""
    try:
        rows = [
            Judged(low, high, best, Rank(**rank) if rank else None)
            for low, high, best, rank in json.loads(text)
        ]
    except (ValueError, TypeError):
        return None
    return rows if len(rows) == count else None
