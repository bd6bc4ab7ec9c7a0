"""Images that methods find hard: those that all get wrong, the most confident errors, and those on which
methods disagree. From test predictions, each by a model that did not train on the image.

Disagreement is, of all pairs of methods that predicted an image in one round, the share that predict
different classes (in `evidence.agreement` it is of right and wrong). Unlike the entropy of the votes it can
be read as it is (a probability, from 0 to 1), and does not grow with the number of methods. Methods of one
round have trained on the same images, so that a pair differs by its methods alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bench.comparison.evidence import read_rounds
from bench.comparison.image_votes import DIGITS, Mean, Rounds, Tests, Votes, mean_of, tests_of, votes_of
from bench.comparison.methods import Method

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class ImageVotes:
    """What the methods predicted for one test image.

    Attributes:
        id: of the image.
        group: that it is kept together with: a patient, a lesion, a set of duplicates; its own without one.
        given: its label.
        rounds: in how many it was tested.
        methods: names of those that predicted it.
        predictions: by all of these, over rounds.
        right: how many of these are right.
        votes: classes that were predicted, and how often, the most frequent first.
        wrong: the class, other than its label, of the highest mean probability.
        confidence: that probability: the mean over all predictions, each of which counts the same.
        self_confidence: mean probability of its label.
        disagreement: of pairs of methods in one round, the share that predict different classes; 0 where no
            two methods predicted it.
        distance: between the probabilities of such pairs: the mean of squared Euclidean distances.
        right_ensembles: ensembles whose mean prediction of it is right.
    """

    id: str
    group: str
    given: str
    rounds: int
    methods: tuple[str, ...]
    predictions: int
    right: int
    votes: tuple[tuple[str, int], ...]
    wrong: str
    confidence: float
    self_confidence: float
    disagreement: float
    distance: float
    right_ensembles: tuple[str, ...]

    @property
    def is_error(self) -> bool:
        """Whether its label is not the class of the highest mean probability."""
        return self.self_confidence < self.confidence


@dataclass(frozen=True, kw_only=True)
class MethodError:
    """An image of which one method, in the mean over its rounds, holds another class more probable.

    Attributes:
        id: of the image.
        given: its label.
        predicted: the class of the highest mean probability.
        confidence: that probability.
        rounds: of which it is the mean.
    """

    id: str
    given: str
    predicted: str
    confidence: float
    rounds: int


@dataclass(frozen=True, kw_only=True)
class MethodErrors:
    """What one method gets wrong.

    Attributes:
        method: its name.
        is_ensemble: whether it is an ensemble, which has no vote.
        tested: images that it predicted.
        errors: the most confident first.
    """

    method: str
    is_ensemble: bool
    tested: int
    errors: tuple[MethodError, ...]


@dataclass(frozen=True, kw_only=True)
class HardImages:
    """What the methods of one comparable table find hard.

    Attributes:
        where: data set, and protocol where several tables have it.
        methods: that have a vote: all but ensembles, which say what their members say; where there is
            nothing else, these.
        ensembles: that have none.
        rounds: their numbers.
        images: of the data set; 0 where no record says.
        tested: every image that a method was tested on, by id.
        by_method: what each method gets wrong, ensembles last.
    """

    where: str
    methods: tuple[str, ...]
    ensembles: tuple[str, ...]
    rounds: tuple[int, ...]
    images: int
    tested: tuple[ImageVotes, ...]
    by_method: tuple[MethodErrors, ...] = field(repr=False)

    @cached_property
    def never_right(self) -> tuple[ImageVotes, ...]:
        """Images of which no prediction is right. Those that most methods, in most rounds, were tested on
        come first; among equals the most confidently wrong."""
        found = [one for one in self.tested if not one.right]
        return tuple(sorted(found, key=lambda one: (-len(one.methods), -one.rounds, -one.confidence, one.id)))

    @cached_property
    def confident_errors(self) -> tuple[ImageVotes, ...]:
        """Images that all predictions together get wrong, the most confidently wrong first."""
        found = [one for one in self.tested if one.is_error]
        return tuple(sorted(found, key=lambda one: (-one.confidence, one.id)))

    @cached_property
    def disagreed(self) -> tuple[ImageVotes, ...]:
        """Images of which methods predict different classes in one round, the most disagreed first; among
        equals those tested in most rounds, then those whose probabilities are farthest apart."""
        found = [one for one in self.tested if one.disagreement]
        return tuple(sorted(found, key=lambda one: (-one.disagreement, -one.rounds, -one.distance, one.id)))


def read_hard_images(where: str, methods: Sequence[Method]) -> HardImages:
    """What these methods, rows of one table, find hard. Raises StoreError for predictions that cannot be
    read, or that are of other images than those of their round."""
    units = [unit for method in methods for unit in method.done.values()]
    sizes = (sum(n.images for part in unit.counts.values() for n in part.values()) for unit in units)
    names = _names(methods)
    rounds = {
        number: {names[name]: one for name, one in own.items()}
        for number, own in read_rounds(methods).items()
    }
    ensembles = [names[method.name] for method in methods if method.is_ensemble]
    return hard_images(where, rounds, list(names.values()), ensembles, images=max(sizes, default=0))


def _names(methods: Sequence[Method]) -> dict[str, str]:
    """What finished methods are called: as in their row, with the model where rows differ by that alone."""
    done = [method for method in methods if method.done]
    short = [method.label.method for method in done]
    names = short if len(set(short)) == len(short) else [method.name for method in done]
    return dict(zip((method.name for method in done), names, strict=True))


def hard_images(
    where: str, rounds: Rounds, methods: Sequence[str], ensembles: Collection[str] = (), images: int = 0
) -> HardImages:
    """The same from predictions that were read, of at least one method in one round; `methods` are all of
    their names in the order of the table, those of `ensembles` among them."""
    voting = [name for name in methods if name not in ensembles] or list(methods)
    others = [name for name in methods if name not in voting]
    tests = tests_of(rounds)
    means = {name: mean_of(tests, name) for name in (*voting, *others)}
    return HardImages(
        where=where,
        methods=tuple(voting),
        ensembles=tuple(others),
        rounds=tuple(rounds),
        images=images,
        tested=tuple(_image_votes(tests, votes_of(tests, voting), means, others)),
        by_method=tuple(_method_errors(tests, name, means[name], name in ensembles) for name in means),
    )


# --- as values ---------------------------------------------------------------------------------------


def _image_votes(
    tests: Tests, votes: Votes, means: Mapping[str, Mean], ensembles: Sequence[str]
) -> Iterator[ImageVotes]:
    """Of every image that a method which votes was tested on."""
    predictions = votes.of_class.sum(axis=1)
    mean = (votes.total / np.maximum(predictions, 1)[:, None]).round(DIGITS)
    wrong, pairs = tests.best_wrong(mean), np.maximum(votes.pairs, 1)
    tested = _names_where(
        tests, {name: mean.rounds > 0 for name, mean in means.items() if name not in ensembles}
    )
    right = _names_where(tests, {name: tests.is_right(means[name]) for name in ensembles})
    disagreement, distance = votes.differing / pairs, (votes.distance / pairs).round(DIGITS)
    for i in np.flatnonzero(votes.rounds).tolist():
        of_class = votes.of_class[i].tolist()
        yield ImageVotes(
            id=tests.ids[i],
            group=tests.groups[i],
            given=tests.classes[tests.labels[i]],
            rounds=int(votes.rounds[i]),
            methods=tested[i],
            predictions=int(predictions[i]),
            right=of_class[tests.labels[i]],
            votes=_frequent_first(tests.classes, of_class),
            wrong=tests.classes[wrong[i]],
            confidence=float(mean[i, wrong[i]]),
            self_confidence=float(mean[i, tests.labels[i]]),
            disagreement=float(disagreement[i]),
            distance=float(distance[i]),
            right_ensembles=right[i],
        )


def _frequent_first(classes: Sequence[str], counts: Sequence[int]) -> tuple[tuple[str, int], ...]:
    found = [(name, count) for name, count in zip(classes, counts, strict=True) if count]
    return tuple(sorted(found, key=lambda pair: -pair[1]))


def _names_where(tests: Tests, of: Mapping[str, NDArray[np.bool_]]) -> list[tuple[str, ...]]:
    """For each image the names of those that are true of it; few combinations occur, each made once."""
    names = list(of)
    if not names:
        return [()] * len(tests.ids)
    patterns, which = np.unique(np.stack(list(of.values()), axis=1), axis=0, return_inverse=True)
    known = [tuple(name for name, has in zip(names, row, strict=True) if has) for row in patterns.tolist()]
    return [known[i] for i in which.ravel().tolist()]


def _method_errors(tests: Tests, name: str, mean: Mean, is_ensemble: bool) -> MethodErrors:
    wrong = tests.best_wrong(mean.probabilities)
    at = np.flatnonzero((mean.rounds > 0) & ~tests.is_right(mean))
    errors = [
        MethodError(
            id=tests.ids[i],
            given=tests.classes[tests.labels[i]],
            predicted=tests.classes[wrong[i]],
            confidence=float(mean.probabilities[i, wrong[i]]),
            rounds=int(mean.rounds[i]),
        )
        for i in at.tolist()
    ]
    return MethodErrors(
        method=name,
        is_ensemble=is_ensemble,
        tested=int((mean.rounds > 0).sum()),
        errors=tuple(sorted(errors, key=lambda one: (-one.confidence, one.id))),
    )
