"""Test predictions of many methods in many rounds, as arrays over the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces.predictions import Predictions

Rounds = Mapping[int, Mapping[str, "Predictions"]]
"""Round -> method -> its test predictions; all of a round are of the same images in the same order."""

DIGITS = 12  # of means, beyond which they depend on the order of methods


@dataclass(frozen=True)
class Tests:
    """Predictions of N images of K classes, tested on in any round."""

    classes: tuple[str, ...]
    ids: Sequence[str]  # sorted
    labels: NDArray[np.int64]  # (N,)
    groups: Sequence[str]
    rounds: Rounds
    at: Mapping[int, NDArray[np.int64]]  # round -> positions of its images among `ids`

    def best_wrong(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """(N,) the class of the highest probability (N, K) that is not the label."""
        others = probabilities.copy()
        others[np.arange(len(self.ids)), self.labels] = -1.0
        best: NDArray[np.int64] = others.argmax(axis=1)
        return best

    def is_right(self, mean: Mean) -> NDArray[np.bool_]:
        """(N,) whether a method, in the mean over its rounds, holds no other class more probable."""
        rows, wrong = np.arange(len(self.ids)), self.best_wrong(mean.probabilities)
        own = mean.probabilities[rows, self.labels]
        return (mean.rounds > 0) & (own >= mean.probabilities[rows, wrong])


@dataclass(frozen=True)
class Mean:
    """What one method predicts, in the mean over rounds."""

    probabilities: NDArray[np.float64]  # (N, K); 0 where it was not tested
    rounds: NDArray[np.int64]  # (N,)


@dataclass(frozen=True)
class Votes:
    """What all methods that vote predict."""

    total: NDArray[np.float64]  # (N, K) sum of probabilities
    of_class: NDArray[np.int64]  # (N, K) predictions
    rounds: NDArray[np.int64]  # (N,)
    pairs: NDArray[np.int64]  # (N,) of methods in one round
    differing: NDArray[np.int64]  # (N,) of these, those that predict different classes
    distance: NDArray[np.float64]  # (N,) sum of squared distances within pairs


def tests_of(rounds: Rounds) -> Tests:
    """All images of these rounds, at least one of which has a method."""
    firsts = {number: next(iter(own.values())) for number, own in rounds.items()}
    ids = sorted({id_ for one in firsts.values() for id_ in one.ids})
    place = {id_: i for i, id_ in enumerate(ids)}
    at = {number: np.array([place[id_] for id_ in one.ids]) for number, one in firsts.items()}
    labels = np.zeros(len(ids), dtype=np.int64)
    for number, one in firsts.items():
        labels[at[number]] = one.labels
    group_of = {id_: group for one in firsts.values() for id_, group in zip(one.ids, one.groups, strict=True)}
    groups = [group_of[id_] for id_ in ids]
    return Tests(next(iter(firsts.values())).classes, ids, labels, groups, rounds, at)


def mean_of(tests: Tests, method: str) -> Mean:
    """Of one method, over the rounds that it has."""
    total = np.zeros((len(tests.ids), len(tests.classes)))
    rounds = np.zeros(len(tests.ids), dtype=np.int64)
    for number, own in tests.rounds.items():
        if method in own:
            total[tests.at[number]] += own[method].probabilities
            rounds[tests.at[number]] += 1
    return Mean((total / np.maximum(rounds, 1)[:, None]).round(DIGITS), rounds)


def votes_of(tests: Tests, methods: Sequence[str]) -> Votes:
    """Of those of these methods that each round has."""
    shape = count, _ = len(tests.ids), len(tests.classes)
    rounds, pairs, differing = np.zeros((3, count), dtype=np.int64)
    votes = Votes(np.zeros(shape), np.zeros(shape, np.int64), rounds, pairs, differing, np.zeros(count))
    for number, own in tests.rounds.items():
        voting = [own[name].probabilities for name in methods if name in own]
        if not voting:
            continue
        _count(votes, tests.at[number], np.stack(voting))
    return votes


def _count(votes: Votes, at: NDArray[np.int64], voting: NDArray[np.float64]) -> None:
    """Add the probabilities (methods, images, K) of one round, whose images are at these positions.

    Pairs that agree are counted from the votes of each class, and squared distances from the identity that
    their sum over all pairs of k vectors is k times the sum of their squares minus the square of their sum.
    """
    methods, _, classes = voting.shape
    total = voting.sum(axis=0)
    of_class = (voting.argmax(axis=2)[:, :, None] == np.arange(classes)).sum(axis=0)
    pairs = methods * (methods - 1) // 2
    votes.total[at] += total
    votes.of_class[at] += of_class
    votes.rounds[at] += 1
    votes.pairs[at] += pairs
    votes.differing[at] += pairs - (of_class * (of_class - 1) // 2).sum(axis=1)
    votes.distance[at] += methods * (voting**2).sum(axis=(0, 2)) - (total**2).sum(axis=1)
