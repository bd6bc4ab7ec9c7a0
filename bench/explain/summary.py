"""Means over test images and rounds, with the intervals that all tables have: groups of images are resampled,
one draw for all rounds and methods (`bench.evidence.variance`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.comparison.evidence import Sample
from bench.evidence.inference import interval
from bench.evidence.replicates import image_weights
from bench.evidence.variance import Covariances, covariances
from bench.evidence.weights import REPLICATES, draw_weights, weights_without_one
from bench.explain.guides import Guide
from bench.explain.measures import CORRELATION, RANDOM_HEAD, Measured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.explain.grids import Grid


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Of one number over test images and rounds.

    Attributes:
        value: mean over rounds of the mean over their images.
        low: lower end of its 95 % interval; nan where there is none.
        high: upper end.
        images: on which it is defined, those of all rounds together.
        of: images that were looked at.
        rounds: how many.
    """

    value: float
    low: float
    high: float
    images: int
    of: int
    rounds: int


class Summary:
    """Means of what was measured, on the test images of `sample`, and the guides that some of it is about."""

    def __init__(self, measured: Sequence[Measured], sample: Sample, guides: Sequence[Guide]) -> None:
        self.guides = tuple(guides)
        self.methods = tuple(dict.fromkeys(each.look.title for each in measured))
        self.names = tuple(dict.fromkeys(name for each in measured for name in each.values))
        self._sample = sample
        self._values: dict[tuple[str, int], dict[str, Mapping[str, float]]] = {}
        for each in measured:
            of = self._values.setdefault((each.look.title, each.look.round), {})
            of[each.look.id] = each.values
        weights = draw_weights(sample.groups)
        if len(sample.groups.names) <= REPLICATES:
            weights = np.concatenate([weights, weights_without_one(sample.groups)])
        self._weights = weights

    def images(self, method: str) -> int:
        """How many test images of a method were looked at, those of all rounds together."""
        return sum(len(values) for (of, _), values in self._values.items() if of == method)

    def mean(self, method: str, name: str) -> Mean | None:
        """Of one number of a method; None where it is defined on no image."""
        rounds = self._rounds(method, name)
        if not rounds:
            return None
        parts = self._covariances([method], name, rounds)
        values = [self._column(method, number, name) for number in rounds]
        low, high = interval(float(parts.means[0]), parts.of_score(0), bounds=_bounds(name))
        return Mean(
            value=float(parts.means[0]),
            low=low,
            high=high,
            images=sum(int(np.isfinite(each).sum()) for each in values),
            of=sum(len(self._values[method, number]) for number in rounds),
            rounds=len(rounds),
        )

    def difference(self, first: str, second: str, name: str) -> Mean | None:
        """How much more the first has than the second, over the rounds that both have; None without any."""
        rounds = [r for r in self._rounds(first, name) if r in self._rounds(second, name)]
        if not rounds:
            return None
        parts = self._covariances([first, second], name, rounds)
        value = float(parts.means[0] - parts.means[1])
        low, high = interval(value, parts.of_difference(0, 1))
        pairs = [
            np.isfinite(self._column(first, r, name)) & np.isfinite(self._column(second, r, name))
            for r in rounds
        ]
        images = sum(int(each.sum()) for each in pairs)
        of = sum(len(self._values[first, r]) for r in rounds)
        return Mean(value=value, low=low, high=high, images=images, of=of, rounds=len(rounds))

    def _rounds(self, method: str, name: str) -> list[int]:
        """Those in which it is defined on some image."""
        known = sorted(number for of, number in self._values if of == method)
        return [number for number in known if np.isfinite(self._column(method, number, name)).any()]

    def _column(self, method: str, round_: int, name: str) -> Grid:
        """(N,) of the round's test images, nan where it is not defined or was not looked at."""
        of = self._values[method, round_]
        ids = self._sample.images[round_].ids
        return np.array([of.get(id_, {}).get(name, math.nan) for id_ in ids])

    def _covariances(self, methods: Sequence[str], name: str, rounds: Sequence[int]) -> Covariances:
        every = np.array([list(self._means(method, name, rounds)) for method in methods])
        observed, drawn = every[:, :, 0], every[:, :, 1:]
        sample = self._sample
        return covariances(
            observed,
            drawn[:, :, :REPLICATES],
            drawn[:, :, REPLICATES:],
            sample.groups.strata,
            sample.overlap,
        )

    def _means(self, method: str, name: str, rounds: Sequence[int]) -> Iterator[NDArray[np.float64]]:
        """Of each round the mean over images where it is defined, then under every weighting of groups."""
        for number in rounds:
            values = self._column(method, number, name)
            defined = np.isfinite(values)
            weights = image_weights(self._sample.images[number], self._sample.groups, self._weights)
            sums = weights.sums(np.where(defined, values, 0.0))
            totals = weights.sums(defined.astype(np.float64))
            means = np.divide(sums, totals, out=np.full_like(sums, math.nan), where=totals > 0)
            yield np.concatenate([[values[defined].mean()], means])


def _bounds(name: str) -> tuple[float, float]:
    correlated = name == RANDOM_HEAD or name.startswith(f"{CORRELATION}.")
    return (-1.0, 1.0) if correlated else (0.0, 1.0)
