"""Ensemble selection (Caruana, Niculescu-Mizil, Crew and Ksikes, ICML 2004): members are added one by one,
each time the one with which the mean has the lowest log loss on validation, and may be added again
(section 2).

It begins with the best members, as many as are best together (2.2, sorted initialisation), and ends with the
best of all means on the way. With `bags`, this is done on random subsets of the members and averaged (2.3).
Of equally good members the first is added.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench import Combine, Fitted, Predictions
from bench_ensembles.params import GreedyParams
from bench_ensembles.validation import log_loss, weighted_mean

SEED = 0
LEAST_GAIN = 1e-9  # nats an image; what rounding makes of equal means is no gain


def fit(val: list[Predictions], params: GreedyParams) -> Combine:
    """The mean of the members that are selected, each as often as it is."""
    members = np.stack([member.probabilities for member in val]).astype(np.float64, copy=False)
    labels = val[0].labels
    counts = np.zeros(len(members), dtype=np.int64)
    shares = np.zeros(len(members))
    for chosen in _bags(len(members), params):
        own = select(members[chosen], labels, params.rounds)
        counts[chosen] += own
        shares[chosen] += own / own.sum()
    weights = shares / shares.sum()
    losses = [log_loss(member, labels) for member in members]
    return Fitted(
        combine=partial(weighted_mean, weights=weights),
        about=partial(
            _about,
            counts=counts,
            weights=weights,
            bags=params.bags,
            loss=log_loss(weighted_mean(list(members), weights), labels),
            best=int(np.argmin(losses)),
            losses=losses,
            images=len(labels),
        ),
    )


def select(members: NDArray[np.float64], labels: NDArray[np.int64], rounds: int) -> NDArray[np.int64]:
    """(M,) how often each member is in the mean with the lowest log loss on the way, from probabilities
    (M, N, K) and labels (N,). Of equally good means the earliest counts."""
    order = np.argsort([log_loss(member, labels) for member in members], kind="stable")
    sums = np.cumsum(members[order], axis=0)
    sizes = np.arange(1, len(members) + 1)
    first = [log_loss(total / size, labels) for total, size in zip(sums, sizes, strict=True)]
    size = next(i for i, loss in enumerate(first, 1) if loss <= min(first) + LEAST_GAIN)
    counts = np.zeros(len(members), dtype=np.int64)
    counts[order[:size]] = 1
    best, least, total = counts.copy(), first[size - 1], sums[size - 1]
    for _ in range(rounds):
        added = add_one(total, members, labels, int(counts.sum()))
        counts[added] += 1
        total = total + members[added]
        loss = log_loss(total / counts.sum(), labels)
        if loss < least - LEAST_GAIN:
            best, least = counts.copy(), loss
    return best


def add_one(
    total: NDArray[np.float64], members: NDArray[np.float64], labels: NDArray[np.int64], size: int
) -> int:
    """Which member, added to the sum `total` (N, K) of `size` members, gives the mean of lowest log loss."""
    losses = [log_loss((total + member) / (size + 1), labels) for member in members]
    return int(np.argmin(losses))


def _bags(members: int, params: GreedyParams) -> Iterator[NDArray[np.int64]]:
    """Positions of the members that each selection chooses among; the same ones every time."""
    if not params.bags:
        yield np.arange(members)
        return
    size = min(members, max(2, round(params.share * members)))
    random = np.random.default_rng(SEED)
    for _ in range(params.bags):
        yield np.sort(random.choice(members, size, replace=False))


def _about(
    members: Sequence[str],
    counts: NDArray[np.int64],
    weights: NDArray[np.float64],
    bags: int,
    loss: float,
    best: int,
    losses: Sequence[float],
    images: int,
) -> str:
    listed = ", ".join(f"{counts[i]} {members[i]}" for i in np.argsort(-counts, kind="stable") if counts[i])
    if bags:  # whose selections differ in size, so that the counts do not say what each member weighs
        order = np.argsort(-weights, kind="stable")
        shares = ", ".join(f"{weights[i]:.2f} {members[i]}" for i in order if counts[i])
        listed += f" in {bags} bags, weights {shares}"
    return (
        f"selected {listed} (log loss {loss:.4f} on {images} validation images; "
        f"{members[best]} alone {losses[best]:.4f})"
    )
