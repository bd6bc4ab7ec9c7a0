"""How differently the methods of one table err, and how much combining them could gain at most.

The oracle counts an image as right if any method gets it right: no rule that picks among the methods'
answers, image by image, is more accurate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.comparison.evidence import Sample, read_sample
from bench.comparison.methods import Method, find_method
from bench.comparison.rows import row_id
from bench.errors import ConfigError
from bench.evidence.agreement import MEASURES, Counts
from bench.evidence.inference import Interval, interval
from bench.evidence.replicates import image_weights
from bench.evidence.variance import covariances
from bench.evidence.weights import REPLICATES, draw_weights, weights_without_one
from bench.study.spec import EnsembleSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces.image_weights import ImageWeights

SHARE = (0.0, 1.0)


class Estimated(NamedTuple):
    """A number over rounds.

    Attributes:
        value: mean over the rounds in which it is defined; nan where there is none.
        interval: of 95 %; nan where there is none.
        rounds: in how many it is defined.
    """

    value: float
    interval: Interval
    rounds: int


class Pair(NamedTuple):
    """Two methods, and how alike they err, by the name of the measure (`evidence.agreement.MEASURES`)."""

    first: str
    second: str
    measures: Mapping[str, Estimated]


class Combined(NamedTuple):
    """An ensemble of some of the methods: its accuracy, and the oracle's of its members, in the rounds that
    it has."""

    name: str
    members: tuple[str, ...]
    accuracy: Estimated
    oracle: Estimated


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """Of the methods of one table.

    Attributes:
        where: data set, and protocol where several tables have it.
        methods: their names, in the table's order, without the model where it is one.
        rounds: that all of them have.
        left_out: rounds that some of them have, with those that lack them.
        images: test images of a round, mean over rounds.
        groups: that any of these rounds tests on.
        pairs: every two methods.
        mean: of all pairs, by measure, where it is defined.
        accuracy: of each method.
        oracle: the share of test images that at least one of them gets right.
        ensembles: of two or more of these methods, and of nothing else.
    """

    where: str
    methods: tuple[str, ...]
    rounds: tuple[int, ...]
    left_out: Mapping[int, tuple[str, ...]]
    images: float
    groups: int
    pairs: tuple[Pair, ...]
    mean: Mapping[str, Estimated]
    accuracy: Mapping[str, Estimated]
    oracle: Estimated
    ensembles: tuple[Combined, ...]

    @property
    def best(self) -> str:
        """The most accurate method, on these test images."""
        return max(self.methods, key=lambda name: self.accuracy[name].value)


class _Resampled(NamedTuple):
    """The test images of the rounds, as they are and under resampled groups."""

    sample: Sample
    rounds: tuple[int, ...]
    weights: tuple[ImageWeights, ...]  # of each round: as they are, B replicates, without each group
    replicates: int

    def estimate(self, values: NDArray[np.float64], bounds: tuple[float, float]) -> Estimated:
        """From values (R, 1 + B + G), nan where they are not defined."""
        kept = values[np.isfinite(values[:, 0])]
        if not len(kept):
            return Estimated(math.nan, Interval(math.nan, math.nan), 0)
        observed, drawn = kept[:, :1].T, kept[None, :, 1 : 1 + self.replicates]
        without_one = kept[None, :, 1 + self.replicates :]
        groups = self.sample.groups
        found = covariances(observed, drawn, without_one, groups.strata, self.sample.overlap)
        value = float(observed.mean())
        return Estimated(value, interval(value, found.of_score(0), bounds=bounds), len(kept))


Hits = Mapping[str, Mapping[int, "NDArray[np.bool_]"]]
"""Method -> round -> (N,) whether each test image is predicted right, of the rounds that it has."""


def measure_diversity(
    where: str,
    methods: Sequence[Method],
    results: Path,
    ensembles: Sequence[Method] = (),
    replicates: int = REPLICATES,
) -> Diversity:
    """How differently these methods err, rows of one table in the folder `results`, with those `ensembles` of
    the table that combine nothing else.

    Raises ConfigError for fewer than two methods and where they share no round, StoreError for predictions
    that cannot be read.
    """
    if len(methods) < 2:
        raise ConfigError(f"{where}: {methods[0].name} is one row; diversity is that of two or more")
    own = [e for e in ensembles if e not in methods and _members(e) <= {_id(m) for m in methods}]
    names = _names([*methods, *own])
    rounds, left_out = _shared_rounds(where, methods, names)
    sample = read_sample([*methods, *own], results)
    hits: Hits = {
        names[_id(method)]: {
            number: _hits(sample, method, number) for number in rounds if number in method.done
        }
        for method in [*methods, *own]
    }
    resampled = _resampled(sample, rounds, replicates)
    compared = [names[_id(method)] for method in methods]
    pairs, mean = _pairs(compared, hits, resampled)
    return Diversity(
        where=where,
        methods=tuple(compared),
        rounds=rounds,
        left_out=left_out,
        images=float(np.mean([len(sample.images[number].ids) for number in rounds])),
        groups=len({group for number in rounds for group in sample.images[number].groups}),
        pairs=pairs,
        mean=mean,
        accuracy={name: _share(hits[name], resampled) for name in compared},
        oracle=_oracle(compared, hits, resampled, rounds),
        ensembles=tuple(
            Combined(
                name=names[_id(ensemble)],
                members=(members := tuple(names[_id(m)] for m in methods if _id(m) in _members(ensemble))),
                accuracy=_share(hits[names[_id(ensemble)]], resampled),
                oracle=_oracle(members, hits, resampled, hits[names[_id(ensemble)]]),
            )
            for ensemble in own
        ),
    )


def _names(methods: Sequence[Method]) -> dict[str, str]:
    """By row, what each is called: without the model where it is one."""
    several = len({method.label.model for method in methods}) > 1
    return {_id(method): method.name if several else method.label.method for method in methods}


def _id(method: Method) -> str:
    return row_id(method.units[0].spec)


def _members(ensemble: Method) -> set[str]:
    spec = ensemble.units[0].spec
    return {row_id(member) for member in spec.members} if isinstance(spec, EnsembleSpec) else set()


def _shared_rounds(
    where: str, methods: Sequence[Method], names: Mapping[str, str]
) -> tuple[tuple[int, ...], dict[int, tuple[str, ...]]]:
    every = sorted({number for method in methods for number in method.done})
    lacking = {n: tuple(names[_id(m)] for m in methods if n not in m.done) for n in every}
    rounds = tuple(number for number in every if not lacking[number])
    if not rounds:
        listed = "; ".join(f"{names[_id(m)]} {', '.join(map(str, m.done))}" for m in methods)
        raise ConfigError(f"{where}: these rows have no finished round in common ({listed}); name others")
    return rounds, {number: names for number, names in lacking.items() if names}


def _hits(sample: Sample, method: Method, number: int) -> NDArray[np.bool_]:
    one = sample.predictions_of(method.done[number])
    right: NDArray[np.bool_] = one.probabilities.argmax(axis=1) == one.labels
    return right


def _resampled(sample: Sample, rounds: tuple[int, ...], replicates: int) -> _Resampled:
    groups = sample.groups
    weights = [np.ones((1, len(groups.names))), draw_weights(groups, replicates)]
    if len(groups.names) <= replicates:
        weights.append(weights_without_one(groups))
    stacked = np.concatenate(weights)
    of_rounds = tuple(image_weights(sample.images[number], groups, stacked) for number in rounds)
    return _Resampled(sample, rounds, of_rounds, replicates)


def _pairs(
    methods: Sequence[str], hits: Hits, resampled: _Resampled
) -> tuple[tuple[Pair, ...], dict[str, Estimated]]:
    """Every pair, and the mean over them, of which each replicate has one too."""
    pairs = []
    shape = len(resampled.rounds), len(resampled.weights[0])
    sums = {name: np.zeros(shape) for name in MEASURES}
    defined = {name: np.zeros(shape) for name in MEASURES}
    for first, second in combinations(methods, 2):
        counts = _counts(hits[first], hits[second], resampled)
        measures = {}
        for name, measure in MEASURES.items():
            values = measure.of(counts)
            measures[name] = resampled.estimate(values, measure.bounds)
            sums[name] += np.nan_to_num(values)
            defined[name] += np.isfinite(values)
        pairs.append(Pair(first, second, measures))
    with np.errstate(invalid="ignore"):
        means = {name: sums[name] / defined[name] for name in MEASURES}
    return tuple(pairs), {n: resampled.estimate(v, MEASURES[n].bounds) for n, v in means.items()}


def _counts(
    first: Mapping[int, NDArray[np.bool_]], second: Mapping[int, NDArray[np.bool_]], resampled: _Resampled
) -> Counts:
    """Of two methods, each (R, 1 + B + G)."""
    rows = []
    for number, weights in zip(resampled.rounds, resampled.weights, strict=True):
        a, b = first[number], second[number]
        cells = np.stack([a & b, a & ~b, ~a & b, ~a & ~b], axis=1)
        rows.append(weights.sums(cells.astype(np.float64)))
    return Counts(*np.moveaxis(np.stack(rows), -1, 0))


def _share(hits: Mapping[int, NDArray[np.bool_]], resampled: _Resampled) -> Estimated:
    """Of images that are hit, over the rounds that there are."""
    values = np.full((len(resampled.rounds), len(resampled.weights[0])), np.nan)
    for i, number in enumerate(resampled.rounds):
        if number in hits:
            weights = resampled.weights[i]
            values[i] = weights.sums(hits[number].astype(np.float64)) / weights.totals
    return resampled.estimate(values, SHARE)


def _oracle(methods: Sequence[str], hits: Hits, resampled: _Resampled, rounds: Iterable[int]) -> Estimated:
    every = {number: np.any([hits[method][number] for method in methods], axis=0) for number in rounds}
    return _share(every, resampled)


def diversity_of(where: str, methods: Sequence[Method], results: Path) -> Diversity | None:
    """Of all runs of a table, with its ensembles; None for fewer than two, or where no round has them all."""
    runs = [method for method in methods if not method.is_ensemble]
    shared = set.intersection(*(set(method.done) for method in runs)) if len(runs) > 1 else set()
    return measure_diversity(where, runs, results, _ensembles(methods)) if shared else None


def chosen_diversity(
    where: str, methods: Sequence[Method], results: Path, names: Sequence[str] = ()
) -> Diversity:
    """Of the methods called `names`, or of all runs of a table.

    Raises UnknownName for a method that the table lacks, and what `measure_diversity` raises.
    """
    chosen = [find_method(methods, name) for name in names]
    runs = [method for method in methods if not method.is_ensemble] or list(methods)
    unique = list({method.name: method for method in chosen}.values())
    return measure_diversity(where, unique or runs, results, _ensembles(methods))


def _ensembles(methods: Sequence[Method]) -> list[Method]:
    return [method for method in methods if method.is_ensemble]
