"""One method's scores on subgroups of the test images, and whether they differ from those on the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.comparison.difference import Difference, adjusted, difference, mirrored, with_variance
from bench.comparison.evidence import Evidence, Sample, read_sample
from bench.comparison.methods import Method
from bench.comparison.partition import Partition
from bench.evidence.inference import Interval, interval
from bench.evidence.replicates import can_be_weighted, image_weights
from bench.evidence.subsets import draw_subsets, of_difference, scores_under, variance_by_chance
from bench.evidence.weights import REPLICATES, draw_weights, weights_without_one
from bench.results.score import score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces.metric import Metric
    from bench.interfaces.predictions import Predictions
    from bench.registry import Registry

LEAST_GROUPS = 10
"""Test groups below which a subgroup has no interval and no test: of fewer, one group alone moves an accuracy
by more than ten points, and a t interval rests on too few degrees of freedom to hold what it promises."""

NO_INTERVAL = Interval(math.nan, math.nan)


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """One method on one subgroup.

    Attributes:
        name: of the subgroup.
        images: different images that any round tests on.
        groups: different groups of these.
        rounds: in which the metric is defined both here and on the rest.
        score: mean over these rounds; nan where there is none.
        ends: of its 95 % interval.
        difference: to the rest, the p adjusted for the other subgroups; None where it is not tested.
        untested: why not; "" where it is.
    """

    name: str
    images: int
    groups: int
    rounds: tuple[int, ...]
    score: float
    ends: Interval
    difference: Difference | None
    untested: str


@dataclass(frozen=True, kw_only=True)
class SubgroupScores:
    """One method on all subgroups.

    Attributes:
        method: its name.
        rounds: that it has.
        images: different images that any round tests on.
        groups: different groups of these.
        score: its mean over rounds on all images.
        subgroups: in the order of the partition.
    """

    method: str
    rounds: tuple[int, ...]
    images: int
    groups: int
    score: float
    subgroups: tuple[Subgroup, ...]


def score_subgroups(
    method: Method,
    results: Path,
    partition: Partition,
    metric: Metric,
    margin: float,
    registry: Registry,
    replicates: int = REPLICATES,
) -> SubgroupScores:
    """What a method's predictions in the folder `results` say of each subgroup. Raises StoreError for
    predictions that cannot be read, PluginError for a metric that fails."""
    sample = read_sample([method], results)
    rounds = {number: sample.predictions_of(unit) for number, unit in sorted(method.done.items())}
    return judge_subgroups(method.name, sample, rounds, partition, metric, margin, registry, replicates)


def judge_subgroups(
    method: str,
    sample: Sample,
    rounds: Mapping[int, Predictions],
    partition: Partition,
    metric: Metric,
    margin: float,
    registry: Registry | None = None,
    replicates: int = REPLICATES,
) -> SubgroupScores:
    """What a method's predictions of each round, of the images of `sample`, say of each subgroup.

    Scores are means over rounds, intervals those of `bench.evidence.variance`: subgroup and rest are two rows
    of the same rounds, under one draw of weights. The variance of their difference is at least that of a
    random subgroup of as many groups (`bench.evidence.subsets`). Two subgroups are each other's rest, so one
    comparison. Raises PluginError for a metric that fails.
    """
    weights = draw_weights(sample.groups, replicates)
    if len(sample.groups.names) <= replicates:
        weights = np.concatenate([weights, weights_without_one(sample.groups)])
    study = _Study(method, sample, rounds, weights, replicates, metric, registry)
    found = [_subgroup(study, partition, name, margin) for name in partition.names]
    return SubgroupScores(
        method=method,
        rounds=tuple(rounds),
        images=len({id_ for one in rounds.values() for id_ in one.ids}),
        groups=len(sample.groups.names),
        score=float(np.mean([score(one, [metric], registry)[metric.name] for one in rounds.values()])),
        subgroups=tuple(_tested_together(found)),
    )


class _Study(NamedTuple):
    """One method's predictions of all rounds, with groups joined, and weights of all groups: so many
    replicates, then those without one group."""

    method: str
    sample: Sample
    rounds: Mapping[int, Predictions]
    weights: NDArray[np.float64]
    replicates: int
    metric: Metric
    registry: Registry | None


def _subgroup(study: _Study, partition: Partition, name: str, margin: float) -> Subgroup:
    """Its p is not adjusted yet."""
    inside = {
        number: np.array([partition.of[id_] == name for id_ in one.ids])
        for number, one in study.rounds.items()
    }
    parts = [(_images_of(one, inside[n]), _images_of(one, ~inside[n])) for n, one in study.rounds.items()]
    groups, others = (len({group for part in parts for group in part[side].groups}) for side in (0, 1))
    evidence = _evidence(study, name, parts)
    shared = evidence.shared((0, 1)).tolist()
    found = Subgroup(
        name=name,
        images=len({id_ for part in parts for id_ in part[0].ids}),
        groups=groups,
        rounds=tuple(evidence.rounds[i] for i in shared),
        score=float(evidence.scores[0, shared].mean()) if shared else math.nan,
        ends=NO_INTERVAL,
        difference=None,
        untested="",
    )
    if groups < LEAST_GROUPS:
        return replace(found, untested=f"too few groups ({groups}) to say")
    if not shared:
        return replace(found, untested=f"{study.metric.title} is not defined on these images alone")
    if not can_be_weighted(study.metric):
        return replace(found, untested=f"{study.metric.title} cannot be computed on resampled images")
    own = evidence.covariances((0,))
    found = replace(found, ends=interval(float(own.means[0]), own.of_score(0), bounds=study.metric.bounds))
    if others < LEAST_GROUPS:
        return replace(found, untested=f"too few groups ({others}) in the rest to say")
    plain = difference(evidence, 0, 1, margin)
    assert plain is not None  # rounds are shared
    all_images = [study.rounds[number] for number in found.rounds]
    subsets = draw_subsets(_shares(study, inside), study.sample.groups)
    by_chance = variance_by_chance(study.metric, all_images, study.sample.groups, subsets, study.registry)
    variance = of_difference(evidence.covariances((0, 1)), by_chance)
    if math.isnan(variance.total):
        return replace(found, untested="too few groups in some rounds to say")
    tested = with_variance(plain, variance)
    return replace(found, difference=replace(tested, ends=_possible(tested.ends, study.metric)))


def _possible(ends: Interval, metric: Metric) -> Interval:
    """Without differences that two values of the metric cannot have."""
    if metric.bounds is None:
        return ends
    span = metric.bounds[1] - metric.bounds[0]
    return Interval(max(ends.low, -span), min(ends.high, span))


def _images_of(one: Predictions, chosen: NDArray[np.bool_]) -> Predictions:
    at = np.flatnonzero(chosen)
    return replace(
        one,
        ids=tuple(one.ids[i] for i in at),
        groups=tuple(one.groups[i] for i in at),
        labels=one.labels[at],
        probabilities=one.probabilities[at],
    )


def _evidence(study: _Study, name: str, parts: Sequence[tuple[Predictions, Predictions]]) -> Evidence:
    """Subgroup and rest as two rows of one table."""
    metric, groups = study.metric, study.sample.groups
    scores = np.full((2, len(parts)), math.nan)
    total = len(study.weights) if can_be_weighted(metric) else 0
    drawn = np.full((2, len(parts), total), math.nan)
    for j, sides in enumerate(parts):
        for i, part in enumerate(sides):
            if not part.ids:
                continue
            scores[i, j] = score(part, [metric], study.registry)[metric.name]
            if total:
                weighted = image_weights(part, groups, study.weights)
                drawn[i, j] = scores_under(metric, part, weighted, study.registry)
    return Evidence(
        metric=metric,
        methods=(name, "the rest"),
        rounds=tuple(study.rounds),
        scores=scores,
        replicates=drawn[:, :, : study.replicates],
        without_one=drawn[:, :, study.replicates :],
        strata=groups.strata,
        overlap=study.sample.overlap,
    )


def _shares(study: _Study, inside: dict[int, NDArray[np.bool_]]) -> NDArray[np.float64]:
    """(G,) the share of each group's tested images that are in the subgroup."""
    groups = study.sample.groups
    members, all_ = np.zeros(len(groups.names)), np.zeros(len(groups.names))
    for number, one in study.rounds.items():
        place = groups.positions(one)
        all_ += np.bincount(place, minlength=len(all_))
        members += np.bincount(place, weights=inside[number], minlength=len(all_))
    return members / all_


def _tested_together(found: Sequence[Subgroup]) -> list[Subgroup]:
    """The p of each adjusted for the others by Holm's method."""
    if len(found) == 2 and found[0].difference and found[1].difference:
        other = replace(mirrored(found[0].difference), first=found[1].name, second="the rest")
        return [found[0], replace(found[1], difference=other)]
    tested = [each.difference for each in found if each.difference]
    together = iter(adjusted(tested))
    return [replace(each, difference=next(together)) if each.difference else each for each in found]
