"""What methods' predictions varied by in stored results, as a forecast for a study of the same images."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.comparison.comparable import comparable, once_each
from bench.comparison.evidence import Evidence, Sample, read_evidence, read_sample
from bench.comparison.footer import protocol_text
from bench.comparison.methods import Method, methods_of
from bench.comparison.scored import ScoredUnit, split_text
from bench.evidence.design import parts_of
from bench.evidence.forecast import Concentration, Noise, concentration, noise_of, typical
from bench.identity import to_json
from bench.interfaces.metric import Metric
from bench.results.record import Record
from bench.study.spec import RunSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.data.splits.split import Split
    from bench.interfaces.predictions import Predictions

MOST_METHODS = 12  # that are paired; more would take minutes and say the same
ALIKE = 2  # `_likeness` of the planned protocol


def share_right(predictions: Predictions) -> float:
    """The share of the images whose class has the highest probability."""
    return float((predictions.probabilities.argmax(axis=1) == predictions.labels).mean())


def _right_of_counts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    share: NDArray[np.float64] = np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1))
    return share


RIGHT = Metric(
    name="right",
    title="Images right",
    about="The share of the images that are classified right.",
    score=share_right,
    of_counts=_right_of_counts,
    bounds=(0, 1),
)
"""A metric of our own, because the core names no component."""


class Measured(NamedTuple):
    """Of pairs of methods in stored results.

    Attributes:
        noise: typical of the pairs.
        pairs: how many there were.
        rounds: that most of them share.
        protocol: theirs, as text, where it is not the planned one; else "".
    """

    noise: Noise
    pairs: int
    rounds: int
    protocol: str


def measure_noise(
    records: Iterable[Record], results: Path, split: Split, planned: RunSpec
) -> Measured | None:
    """By what methods on the images of `split` varied, in the folder `results`; None where no two of them
    have a round in common.

    Of several tables the one that fits `planned` best counts, then the one with most rounds. Raises
    StoreError for predictions that cannot be read.
    """
    units = [
        ScoredUnit(record=record)
        for record in records
        if record.status == "done" and not record.damage and record.path is not None
        if isinstance(record.spec, RunSpec) and record.spec.dataset.name == planned.dataset.name
        if record.data and record.data.content == split.content
    ]
    tables = [group for group in comparable(once_each(units)) if _pairs(methods_of(group))]
    if not tables:
        return None

    def merit(group: Sequence[ScoredUnit]) -> tuple[int, int, int]:
        pairs = _pairs(methods_of(group))
        return _likeness(group, split, planned), max(map(len, pairs.values())), len(pairs)

    table = max(tables, key=merit)
    methods = [method for method in methods_of(table) if method.done]
    methods = sorted(methods, key=lambda method: -len(method.done))[:MOST_METHODS]
    found = _noises(methods, results)
    if not found:
        return None
    rounds = max(map(len, _pairs(methods).values()))
    alike = _likeness(table, split, planned) == ALIKE
    return Measured(typical(found, rounds), len(found), rounds, "" if alike else protocol_text(table))


def _likeness(group: Sequence[ScoredUnit], split: Split, planned: RunSpec) -> int:
    """Of how many a table has the planned ones: its way to split, and its size and fine-tuning."""
    spec = group[0].spec
    assert isinstance(spec, RunSpec)  # all units are
    trained = [[s.size, s.precision, to_json(s.finetune)] for s in (spec, planned)]
    return (group[0].split == split_text(to_json(split.settings))) + (trained[0] == trained[1])


def _pairs(methods: Sequence[Method]) -> dict[tuple[str, str], set[int]]:
    """The rounds that two methods share, where they share any."""
    shared = {(a.name, b.name): a.done.keys() & b.done.keys() for a, b in combinations(methods, 2)}
    return {pair: set(rounds) for pair, rounds in shared.items() if rounds}


def _noises(methods: Sequence[Method], results: Path) -> list[Noise]:
    """Of every pair that is not always right on the same images, and whose images can be resampled."""
    sample = read_sample(methods, results)
    right: dict[str, NDArray[np.bool_]] = {}

    def keep(unit: ScoredUnit, one: Predictions) -> Predictions:
        right[unit.spec.key] = one.probabilities.argmax(axis=1) == one.labels
        return one

    evidence = read_evidence(sample, methods, [RIGHT], see=keep).evidence[RIGHT.name]
    return [
        noise
        for a, b in combinations(range(len(methods)), 2)
        if (noise := _noise(evidence, sample, (methods[a], methods[b]), (a, b), right))
    ]


def _noise(
    evidence: Evidence,
    sample: Sample,
    pair: tuple[Method, Method],
    places: tuple[int, int],
    right: Mapping[str, NDArray[np.bool_]],
) -> Noise | None:
    rounds = [evidence.rounds[i] for i in evidence.shared(places)]
    if not rounds:
        return None
    apart = [
        right[pair[0].done[number].spec.key] != right[pair[1].done[number].spec.key] for number in rounds
    ]
    disagreement = statistics.fmean(float(one.mean()) for one in apart)
    parts = parts_of(evidence.covariances(places), 0, 1)
    if not disagreement or not parts.one_round > 0 or not np.isfinite(parts).all():
        return None
    return noise_of(parts, _tested(sample, rounds), disagreement)


def _tested(sample: Sample, rounds: Sequence[int]) -> Concentration:
    groups = sample.groups
    shares = [
        np.bincount(groups.positions(one), minlength=len(groups.names)) / len(one.ids)
        for one in (sample.images[number] for number in rounds)
    ]
    return concentration(np.array(shares))
