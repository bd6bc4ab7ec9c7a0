"""On how many test images two stored runs are both right: what published accuracies alone do not say."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import StoreError
from bench.evidence.published import Bounds, pairs_of
from bench.interfaces.selection import tested_on
from bench.results import store
from bench.results.record import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class MeasuredCongruence:
    """Of all pairs of finished runs of one data set that were tested on the same images.

    Attributes:
        pairs: how many.
        runs: how many runs they are made of.
        rounds: how many sets of test images.
        congruence: the smallest and the largest share of images that both predict right.
        median_congruence: its median over pairs.
        overlap: the smallest and the largest overlap (`bench.evidence.published`).
        median_overlap: its median over pairs.
    """

    pairs: int
    runs: int
    rounds: int
    congruence: Bounds
    median_congruence: float
    overlap: Bounds
    median_overlap: float


def measure_congruence(
    records: Iterable[Record], datasets: Collection[str]
) -> tuple[dict[str, MeasuredCongruence], list[str]]:
    """By data set, from the stored predictions of the test part; and a warning for each run whose predictions
    cannot be read. A data set without two such runs is left out. Ensembles do not count: they contain their
    members.
    """
    rounds: dict[str, dict[tuple[str, str], list[NDArray[np.bool_]]]] = {}
    warnings = []
    for record in records:
        name = record.spec.dataset.name
        if tested_on(record.spec.dataset.params):  # other images than a published table's
            continue
        if name not in datasets or not (record.kind == "run" and record.status == "done") or record.damage:
            continue
        try:
            images, right = _hits(record)
        except StoreError as error:
            warnings.append(f"{error} (left out)")
            continue
        rounds.setdefault(name, defaultdict(list))[record.spec.split, images].append(right)
    measured = {name: _measured(of_rounds) for name, of_rounds in rounds.items()}
    return {name: value for name, value in measured.items() if value}, warnings


def _hits(record: Record) -> tuple[str, NDArray[np.bool_]]:
    """Which test images a run was tested on, as a digest, and (N,) whether it predicts each right, by their
    ids."""
    assert record.path is not None  # stored records have one
    predictions = store.read_predictions(record.path, "test", record)
    order = np.argsort(predictions.ids)
    right = predictions.probabilities.argmax(axis=1) == predictions.labels
    truth = [(predictions.ids[i], predictions.classes[predictions.labels[i]]) for i in order.tolist()]
    return hashlib.sha256(repr(truth).encode()).hexdigest(), right[order]


def _measured(rounds: Mapping[tuple[str, str], list[NDArray[np.bool_]]]) -> MeasuredCongruence | None:
    """None without a pair whose overlap is defined."""
    compared = [np.stack(runs) for runs in rounds.values() if len(runs) > 1]
    pairs = [pairs_of(right) for right in compared]
    if not pairs:
        return None
    congruence = np.concatenate([each.congruence for each in pairs])
    overlap = np.concatenate([each.overlap for each in pairs])
    defined = np.isfinite(overlap)
    if not defined.any():
        return None
    congruence, overlap = congruence[defined], overlap[defined]
    return MeasuredCongruence(
        pairs=len(overlap),
        runs=sum(len(right) for right in compared),
        rounds=len(compared),
        congruence=Bounds(float(congruence.min()), float(congruence.max())),
        median_congruence=float(np.median(congruence)),
        overlap=Bounds(float(overlap.min()), float(overlap.max())),
        median_overlap=float(np.median(overlap)),
    )
