"""The test images that a study could have had instead: its groups, resampled, as weights.

A group (a patient, a lesion, a set of duplicates) is drawn as a whole, because its images are not
independent. Groups are drawn within their class, because splits are stratified. One draw serves all rounds
and all methods: a group that two rounds test on weighs the same in both, and so what rounds share shows in
the replicates, and what two methods have in common cancels in their difference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces.predictions import Predictions

REPLICATES = 2000


@dataclass(frozen=True)
class Groups:
    """The G groups that any round of a study tests on, in the order of their names.

    Attributes:
        names: of the groups.
        strata: int64 (G,), the class that each is drawn within.
    """

    names: tuple[str, ...]
    strata: NDArray[np.int64]

    def positions(self, predictions: Predictions) -> NDArray[np.int64]:
        """(N,) the group of each image, as an index into `names`."""
        index = {name: i for i, name in enumerate(self.names)}
        return np.array([index[name] for name in predictions.groups], dtype=np.int64)


def groups_of(rounds: Sequence[Predictions]) -> Groups:
    """The groups of all rounds, of which each gives the predictions of any method.

    A group with images of several classes belongs to the class with the fewest images, as in a split.
    """
    labels = {id_: label for one in rounds for id_, label in zip(one.ids, one.labels.tolist(), strict=True)}
    images = np.bincount(list(labels.values()))
    rarity = images.argsort(kind="stable").argsort(kind="stable")
    classes: dict[str, int] = {}
    for one in rounds:
        for group, label in zip(one.groups, one.labels.tolist(), strict=True):
            if rarity[label] < rarity[classes.setdefault(group, label)]:
                classes[group] = label
    names = tuple(sorted(classes))
    return Groups(names, np.array([classes[name] for name in names], dtype=np.int64))


def draw_weights(groups: Groups, replicates: int = REPLICATES) -> NDArray[np.float64]:
    """(B, G) weights of the groups in B replicates; those of one class always sum to its number of groups.

    Of the g groups of a class, g - 1 are drawn with replacement, each counting g / (g - 1): then the variance
    over replicates of a mean over groups is the unbiased one, where g draws of g give (g - 1) / g of it
    (Rao and Wu 1988). The only group of a class weighs 1 in every replicate. The seed comes from names and
    classes of the groups, so the same groups get the same weights.
    """
    text = "\n".join(f"{name} {stratum}" for name, stratum in zip(groups.names, groups.strata, strict=True))
    random = np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))
    weights = np.ones((replicates, len(groups.names)))
    for stratum in np.unique(groups.strata):
        members = np.flatnonzero(groups.strata == stratum)
        size = len(members)
        if size > 1:
            drawn = random.multinomial(size - 1, np.full(size, 1 / size), size=replicates)
            weights[:, members] = drawn * (size / (size - 1))
    return weights


def weights_without_one(groups: Groups) -> NDArray[np.float64]:
    """(G, G) weights that leave out one group a row; the others of its class make up for it. The only group
    of a class stays."""
    weights = np.ones((len(groups.names),) * 2)
    for stratum in np.unique(groups.strata):
        members = np.flatnonzero(groups.strata == stratum)
        size = len(members)
        if size > 1:
            weights[np.ix_(members, members)] = size / (size - 1)
            weights[members, members] = 0.0
    return weights
