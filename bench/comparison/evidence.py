"""What the predictions of one table's methods say of each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.comparison.methods import Method
from bench.comparison.scored import ScoredUnit
from bench.data.audit.audit import read_audit
from bench.data.audit.clusters import join_groups
from bench.errors import StoreError
from bench.evidence.replicates import can_be_weighted, image_weights, replicate
from bench.evidence.variance import Covariances, covariances
from bench.evidence.weights import REPLICATES, Groups, draw_weights, groups_of, weights_without_one
from bench.registry import Registry
from bench.results.store import read_predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces.metric import Metric
    from bench.interfaces.predictions import Predictions

See = Callable[["ScoredUnit", "Predictions"], "Predictions"]
"""What is looked at instead of a unit's predictions, say one class against the rest, for the same images."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Of the k methods of one table on one metric, over all R rounds that any of them has.

    Attributes:
        metric: the metric.
        methods: names, in the table's order.
        rounds: their numbers.
        scores: (k, R), nan where a method lacks a round or the metric is not defined.
        replicates: (k, R, B) scores under resampled groups, nan there too; B is 0 for a metric that cannot be
            weighted.
        without_one: (k, R, G) scores without each group; G is 0 for such a metric, and where there are more
            groups than replicates.
        strata: (G,) the class of each group that any round tests on.
        overlap: test images per training image; 0 where all rounds have the same training images.
    """

    metric: Metric
    methods: tuple[str, ...]
    rounds: tuple[int, ...]
    scores: NDArray[np.float64]
    replicates: NDArray[np.float64]
    without_one: NDArray[np.float64]
    strata: NDArray[np.int64]
    overlap: float

    def shared(self, methods: Sequence[int]) -> NDArray[np.int64]:
        """Positions of the rounds in which all of these methods have a score."""
        return np.flatnonzero(np.isfinite(self.scores[list(methods)]).all(axis=0))

    def covariances(self, methods: Sequence[int]) -> Covariances:
        """Of these methods on the rounds that they share, at least one. A metric that cannot be weighted
        has what rounds differ by alone: the corrected resampled t."""
        key = tuple(methods)
        if key not in self._covariances:
            rounds = self.shared(methods)
            scores, drawn, without_one = self.scores, self.replicates, self.without_one
            if key != tuple(range(len(self.methods))) or len(rounds) < len(self.rounds):
                at = np.ix_(np.array(methods), rounds)
                scores, drawn, without_one = scores[at], drawn[at], without_one[at]  # copies
            if not drawn.shape[2]:
                drawn = np.repeat(scores[:, :, None], 2, axis=2)
            self._covariances[key] = covariances(scores, drawn, without_one, self.strata, self.overlap)
        return self._covariances[key]

    @cached_property
    def _covariances(self) -> dict[tuple[int, ...], Covariances]:
        """Those that were asked for."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The test images of one table.

    Attributes:
        images: any method's predictions of each round: all have the same images.
        joined: group -> the group it is part of, where duplicates link groups that a split kept apart.
        overlap: test images per training image, mean over rounds; 0 where rounds differ by seed alone, nan
            where no record says.
    """

    images: Mapping[int, Predictions]
    joined: Mapping[str, str]
    overlap: float

    @cached_property
    def groups(self) -> Groups:
        return groups_of(list(self.images.values()))

    @property
    def is_fixed(self) -> bool:
        """Whether all rounds test on the same images, so that they differ by seed alone."""
        return _are_fixed(self.images)

    def grouped(self, predictions: Predictions) -> Predictions:
        """With groups joined."""
        if not self.joined:
            return predictions
        return replace(predictions, groups=tuple(map(self.joined.__getitem__, predictions.groups)))

    def predictions_of(self, unit: ScoredUnit) -> Predictions:
        """A unit's predictions of the test images of its round, in their order, with groups joined. Raises
        StoreError for predictions that cannot be read, or of other images."""
        reference = self.images[unit.spec.round]
        return replace(_ordered(_read(unit), reference, unit), groups=reference.groups)


def read_sample(methods: Sequence[Method], results: Path) -> Sample:
    """The test images of these methods, all of one comparable set in the folder `results`.

    Duplicates that an audit found are one group even where the split was drawn without groups. Raises
    StoreError for predictions or audits that cannot be read.
    """
    units = [unit for method in methods for unit in method.done.values()]
    images: dict[int, Predictions] = {}
    for unit in units:
        if unit.spec.round not in images:
            images[unit.spec.round] = _read(unit)
    images = dict(sorted(images.items()))
    sample = Sample(
        images=images,
        joined=_joined_groups(units, list(images.values()), results),
        overlap=0.0 if _are_fixed(images) else _overlap(units),
    )
    return replace(sample, images={number: sample.grouped(one) for number, one in images.items()})


def read_rounds(methods: Sequence[Method]) -> dict[int, dict[str, Predictions]]:
    """Round -> method -> predictions of the test part; all of a round have the same images in one order.

    Raises StoreError for predictions that cannot be read, or of other images or classes than those of their
    round.
    """
    rounds: dict[int, dict[str, Predictions]] = {}
    for method in methods:
        for number, unit in method.done.items():
            own = rounds.setdefault(number, {})
            one = _read(unit)
            reference = next(iter(own.values()), one)
            if one.classes != reference.classes:
                raise StoreError(
                    f"{unit.record.path}: its classes differ from those of other units of round {number}; "
                    "delete it and repeat the command that made it"
                )
            own[method.name] = _ordered(one, reference, unit)
    return dict(sorted(rounds.items()))


class Found(NamedTuple):
    """Evidence by metric, and why there is none for others."""

    evidence: Mapping[str, Evidence]
    problems: Mapping[str, str]


def read_evidence(
    sample: Sample,
    methods: Sequence[Method],
    metrics: Sequence[Metric],
    registry: Registry | None = None,
    see: See | None = None,
    replicates: int = REPLICATES,
) -> Found:
    """What the methods' predictions say by each metric. Every file is read once.

    Scores are those of the units; with `see`, they are computed on what it gives. Raises StoreError for
    predictions that cannot be read, or of other images than those of their round.
    """
    rounds = tuple(sample.images)
    shape = len(methods), len(rounds)
    scores = {m.name: np.full(shape, np.nan) for m in metrics}
    weights = draw_weights(sample.groups, replicates)
    if len(sample.groups.names) <= replicates:
        weights = np.concatenate([weights, weights_without_one(sample.groups)])
    total = len(weights)
    drawn = {m.name: np.empty((*shape, total if can_be_weighted(m) else 0)) for m in metrics}
    problems: dict[str, str] = {}
    for j, number in enumerate(rounds):
        reference = sample.images[number]
        resampled = image_weights(reference, sample.groups, weights)
        for i, method in enumerate(methods):
            unit = method.done.get(number)
            if unit is None:
                for values in drawn.values():
                    values[i, j] = np.nan
                continue
            one = _ordered(_read(unit), reference, unit)
            one = see(unit, one) if see else one
            if see:
                unit = replace(unit, scores={m.name: m.score(one) for m in metrics})
            found = replicate(metrics, one, resampled, registry)
            problems |= found.problems
            for metric in metrics:
                scores[metric.name][i, j] = unit.scores.get(metric.name, np.nan)
            for name, values in found.values.items():
                drawn[name][i, j] = values
    return Found(
        {
            metric.name: Evidence(
                metric=metric,
                methods=tuple(method.name for method in methods),
                rounds=rounds,
                scores=scores[metric.name],
                replicates=drawn[metric.name][:, :, :replicates],
                without_one=drawn[metric.name][:, :, replicates:],
                strata=sample.groups.strata,
                overlap=sample.overlap,
            )
            for metric in metrics
            if metric.name not in problems
        },
        problems,
    )


def _read(unit: ScoredUnit) -> Predictions:
    assert unit.record.path is not None  # stored records have one
    return unit.test or read_predictions(unit.record.path, "test", unit.record)


def _ordered(one: Predictions, reference: Predictions, unit: ScoredUnit) -> Predictions:
    """The same predictions in the order of the round's other predictions. Raises StoreError for predictions
    of other images."""
    if one.ids == reference.ids:
        return one
    place = {id_: i for i, id_ in enumerate(one.ids)}
    if place.keys() != set(reference.ids):
        raise StoreError(
            f"{unit.record.path}: {len(place.keys() ^ set(reference.ids))} test images differ from those of "
            f"other units of round {unit.spec.round}; delete it and repeat the command that made it"
        )
    order = [place[id_] for id_ in reference.ids]
    return replace(
        one,
        ids=reference.ids,
        groups=reference.groups,
        labels=one.labels[order],
        probabilities=one.probabilities[order],
    )


def _are_fixed(images: Mapping[int, Predictions]) -> bool:
    return len(images) > 1 and len({frozenset(one.ids) for one in images.values()}) == 1


def _overlap(units: Sequence[ScoredUnit]) -> float:
    by_round = {unit.spec.round: unit.counts for unit in units if unit.counts}
    sizes = [
        [sum(count.images for count in counts.get(part, {}).values()) for part in ("test", "train")]
        for counts in by_round.values()
    ]
    shares = [test / train for test, train in sizes if train]
    return float(np.mean(shares)) if shares else float("nan")


def _joined_groups(
    units: Sequence[ScoredUnit], images: Sequence[Predictions], results: Path
) -> dict[str, str]:
    """Group -> group after those that share duplicates became one; empty where the split joined them."""
    audits = {unit.audit.audit: unit for unit in units if unit.audit and not _joins(unit)}
    if not audits:
        return {}
    group_of = {i: g for one in images for i, g in zip(one.ids, one.groups, strict=True)}
    tested = list(group_of.values())
    for hash_, unit in audits.items():
        for path in (results / "audits" / unit.spec.dataset.name).glob(f"*.{hash_}.json"):
            audit = read_audit(path)
            for id_ in (id_ for pair in audit.duplicates for id_ in (pair.first, pair.second)):
                group_of.setdefault(id_, id_)  # an image that is not tested can link two that are
            groups = join_groups(list(group_of.values()), audit.clusters(list(group_of)))
            group_of = dict(zip(group_of, groups, strict=True))
    return dict(zip(tested, group_of.values(), strict=False))


def _joins(unit: ScoredUnit) -> bool:
    """Whether the split of a unit was drawn with duplicates in one group; parts that a data set itself fixes
    are taken as they are."""
    data = unit.record.data
    if data is None or data.fixed:
        return False
    return bool((data.settings or {}).get("groups", "audited") == "audited")
