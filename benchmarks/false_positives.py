"""How often our test claims a difference where there is none: `python -m benchmarks.false_positives`.

Simulated studies of two methods that are equally good, analysed as `bench compare` does it.
The learners are real and cheap (ridge regression on random features); the data have three classes at BUSI's
shares, groups of images that are alike, and grouped stratified splits. The truth is each method's score on
fresh images, so coverage of one method's interval is measured too. The table of all worlds goes to
results/false-positives.md and .csv; a world is what studies differ in.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from bench import Predictions
from bench.evidence.crosschecks import corrected_t, mcnemar
from bench.evidence.inference import Interval, interval, p_value
from bench.evidence.replicates import image_weights, replicate
from bench.evidence.variance import covariances
from bench.evidence.weights import draw_weights, groups_of, weights_without_one
from bench_standard import register_metrics
from benchmarks.report import ROOT, Facts, one_line, save, tell

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Whole = NDArray[np.int64]

SHARES = np.array([437, 210, 133]) / 780  # BUSI's classes
ALPHA = 0.05
OURS = "two-way"
TESTS = (OURS, "corrected t", "naive t", "McNemar pooled")
POINTS = ("true difference", "half width")
Both = tuple[Predictions, Predictions]
"""The two methods' predictions of the same images."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What a simulated study is like.

    Attributes:
        name: in the table.
        rounds: of a study.
        groups: in the data set.
        sizes: images of a group, from and to.
        folds: of a k-fold; 0 for repeated splits.
        subsets: whether each training sees a random part of its images, so that trainings differ much.
        fixed: whether the learner has no randomness of its own.
        gain: by how much the second method's own features are more telling.
        shuffled: whether the methods change their names in each round with probability 1/2, so that their
            predictions differ as those of a good and a better one, and neither name is better.
    """

    name: str
    rounds: int = 5
    groups: int = 520
    sizes: tuple[int, int] = (1, 2)
    folds: int = 0
    subsets: bool = False
    fixed: bool = False
    gain: float = 0.0
    shuffled: bool = False

    @property
    def alike(self) -> bool:
        """Whether the true difference is 0 by construction."""
        return self.shuffled or not self.gain


WORLDS = (
    World(name="stable training"),
    World(name="unstable training", subsets=True),
    World(name="deterministic training", fixed=True),
    World(name="groups of 1 to 10", groups=142, sizes=(1, 10)),
    World(name="five folds", folds=5),
    World(name="195 images", groups=130),
    World(name="3 rounds", rounds=3),
    World(name="10 rounds", rounds=10),
    World(name="shuffled names", gain=0.12, shuffled=True),
    World(name="a difference", gain=0.12),
)


class Images(NamedTuple):
    """N images: features (N, 36), classes, groups; and (G,) the class of each group."""

    features: Array
    labels: Whole
    groups: Whole
    classes: Whole


class Study(NamedTuple):
    """What one study says of one metric.

    Attributes:
        score: of the first method, mean over rounds.
        own: ends of its interval.
        difference: second minus first, mean over rounds.
        ends: of its interval.
        p: by test.
        truth: scores of both methods on fresh images, means over rounds.
    """

    score: float
    own: Interval
    difference: float
    ends: Interval
    p: Mapping[str, float]
    truth: tuple[float, float]


def _means() -> Array:
    """(3, 36) class means: 12 features that both methods see, then 12 of each, alike for both."""
    random = np.random.default_rng(7)
    shared, own = random.normal(size=(3, 12)), random.normal(size=(3, 12))
    shared -= shared.mean(axis=0)
    own -= own.mean(axis=0)
    return np.hstack([shared, own, own])


MEANS = _means()
SIGHT = (np.r_[0:24], np.r_[0:12, 24:36])  # features of each method


def images_of(random: np.random.Generator, sizes: Whole, gain: float) -> Images:
    """Images of groups with these sizes; those of a group share most of their noise."""
    classes = random.choice(len(SHARES), size=len(sizes), p=SHARES)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    strength = np.r_[np.full(12, 0.55), np.full(12, 0.3), np.full(12, 0.3 + gain)]
    noise = random.normal(size=(len(sizes), 36))[groups] * math.sqrt(0.6)
    noise += random.normal(size=(len(groups), 36)) * math.sqrt(0.4)
    return Images((MEANS * strength)[classes[groups]] + noise, classes[groups], groups, classes)


def parts_of(random: np.random.Generator, classes: Whole, folds: int) -> Whole:
    """(G,) of each group its fold, or 2 for test, 1 for validation, 0 for training; stratified."""
    parts = np.zeros(len(classes), dtype=np.int64)
    for c in range(len(SHARES)):
        members = random.permutation(np.flatnonzero(classes == c))
        if folds:
            parts[members] = np.arange(len(members)) % folds
        else:
            test, val = round(0.2 * len(members)), round(0.1 * len(members))
            parts[members[:test]] = 2
            parts[members[test : test + val]] = 1
    return parts


def trained(
    random: np.random.Generator, world: World, x: Array, y: Whole, seen: Sequence[Array]
) -> list[Array]:
    """Class probabilities for each of `seen` by ridge regression on random features of `x`."""
    if world.subsets:
        some = random.permutation(len(y))[: int(len(y) * random.uniform(0.12, 1))]
        x, y = x[some], y[some]
    weights, offsets = random.normal(size=(24, 24)) * 0.3, random.normal(size=24) * 0.5

    def features(z: Array) -> Array:
        hidden = z if world.fixed else np.maximum(z @ weights + offsets, 0)
        return np.hstack([hidden, np.ones((len(z), 1))])

    f = features(x)
    solution = np.linalg.solve(f.T @ f + 5 * np.eye(f.shape[1]), f.T @ np.eye(len(SHARES))[y])
    odds = (np.exp(4 * (features(z) @ solution)) for z in seen)
    return [o / o.sum(axis=1, keepdims=True) for o in odds]


def predictions(labels: Whole, groups: Whole, ids: Whole, probabilities: Array) -> Predictions:
    return Predictions(
        classes=("a", "b", "c"),
        ids=tuple(map(str, ids.tolist())),
        groups=tuple(map(str, groups.tolist())),
        labels=labels,
        probabilities=probabilities,
    )


def study(world: World, names: Sequence[str], replicates: int, seed: int) -> list[Study]:
    """One simulated study, analysed; one result a metric."""
    random = np.random.default_rng([seed, *world.name.encode()])
    rounds, fresh, overlap = rounds_of(random, world)
    groups = groups_of([a for a, _ in rounds])
    weights = np.concatenate([draw_weights(groups, replicates), weights_without_one(groups)])
    pooled = mcnemar(*(_together([pair[m] for pair in rounds]) for m in (0, 1)))
    results = []
    metrics = [metric for metric in register_metrics() if metric.name in names]
    drawn = [image_weights(pair[0], groups, weights) for pair in rounds]
    resampled = [
        [replicate(metrics, pair[m], of_round).values for pair, of_round in zip(rounds, drawn, strict=True)]
        for m in (0, 1)
    ]
    for metric in metrics:
        scores = np.array([[metric.score(pair[m]) for pair in rounds] for m in (0, 1)])
        replicates_of = np.array([[values[metric.name] for values in each] for each in resampled])
        drawn_of, without_one = replicates_of[:, :, :replicates], replicates_of[:, :, replicates:]
        parts = covariances(scores, drawn_of, without_one, groups.strata, overlap)
        first, second = parts.means.tolist()
        variance = parts.of_difference(0, 1)
        differences = (scores[1] - scores[0]).tolist()
        p = {
            OURS: p_value(second - first, variance),
            "corrected t": corrected_t(differences, overlap),
            "naive t": corrected_t(differences, 0.0),
            "McNemar pooled": pooled,
        }
        results.append(
            Study(
                score=first,
                own=interval(first, parts.of_score(0), bounds=metric.bounds),
                difference=second - first,
                ends=interval(second - first, variance),
                p=p,
                truth=(
                    float(np.mean([metric.score(a) for a, _ in fresh])),
                    float(np.mean([metric.score(b) for _, b in fresh])),
                ),
            )
        )
    return results


def rounds_of(random: np.random.Generator, world: World) -> tuple[list[Both], list[Both], float]:
    """Both methods' predictions of each round's test images and of fresh images, and test images per training
    image."""
    sizes = random.integers(world.sizes[0], world.sizes[1] + 1, size=world.groups)
    images, fresh = images_of(random, sizes, world.gain), images_of(random, np.ones(400, int), world.gain)
    folds = parts_of(random, images.classes, world.folds)
    rounds, truths, overlaps = [], [], []
    for number in range(world.rounds):
        parts = (folds if world.folds else parts_of(random, images.classes, 0))[images.groups]
        test = parts == (number if world.folds else 2)
        train = ~test if world.folds else parts == 0
        overlaps.append(test.sum() / train.sum())
        own = []
        for sight in SIGHT:
            seen = [images.features[test][:, sight], fresh.features[:, sight]]
            own.append(trained(random, world, images.features[train][:, sight], images.labels[train], seen))
        if world.shuffled and random.random() < 0.5:
            own.reverse()
        (a, fresh_a), (b, fresh_b) = own
        known = images.labels[test], images.groups[test], np.flatnonzero(test)
        rounds.append((predictions(*known, a), predictions(*known, b)))
        known = fresh.labels, fresh.groups, fresh.groups
        truths.append((predictions(*known, fresh_a), predictions(*known, fresh_b)))
    return rounds, truths, float(np.mean(overlaps))


def _together(parts: Sequence[Predictions]) -> Predictions:
    """All rounds as if they were one, which is what a pooled test takes them for."""
    return replace(
        parts[0],
        ids=tuple(id_ for part in parts for id_ in part.ids),
        groups=tuple(group for part in parts for group in part.groups),
        labels=np.concatenate([part.labels for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
    )


def summary(world: World, metric: str, studies: Sequence[Study]) -> dict[str, float | str]:
    """One line of the table."""
    first, second = (float(np.mean([s.truth[m] for s in studies])) for m in (0, 1))
    true = 0.0 if world.alike else second - first
    covered = [low <= first <= high for low, high in (s.own for s in studies)]
    held = [low <= true <= high for low, high in (s.ends for s in studies)]
    return {
        "world": world.name,
        "metric": metric,
        "studies": len(studies),
        "rounds": world.rounds,
        "true difference": true,
        **{f"claims, {test}": float(np.mean([s.p[test] < ALPHA for s in studies])) for test in TESTS},
        "covers the difference": float(np.mean(held)),
        "covers a score": float(np.mean(covered)),
        "half width": float(np.mean([s.ends.high - s.ends.low for s in studies]) / 2),
    }


Studies = Annotated[int, typer.Option(min=20, help="Of each kind.")]
Replicates = Annotated[int, typer.Option(min=100, help="Resampled sets of groups.")]
Metrics = Annotated[str, typer.Option(help="Comma-separated.")]
Seed = Annotated[int, typer.Option(help="Of the simulation.")]
Processes = Annotated[int, typer.Option(min=1, help="At once.")]
Output = Annotated[Path, typer.Option(help="Where the table is written.")]

METRICS = "accuracy,f1,auc"
CORES = len(os.sched_getaffinity(0))
RESULTS = ROOT / "results"


def main(
    studies: Studies = 2000,
    replicates: Replicates = 1000,
    metrics: Metrics = METRICS,
    seed: Seed = 0,
    processes: Processes = CORES,
    output: Output = RESULTS,
) -> None:
    """Simulate all worlds and write results/false-positives.md and .csv."""
    names = metrics.split(",")
    rows = []
    with ProcessPoolExecutor(processes) as pool:
        for world in WORLDS:
            tell(world.name, f"{studies} studies")
            one = partial(study, world, names, replicates)
            done = list(pool.map(one, range(seed, seed + studies), chunksize=10))
            rows += [summary(world, name, [each[i] for each in done]) for i, name in enumerate(names)]
    facts = facts_of_simulation(seed, replicates)
    save(output, "false-positives", rows, facts, markdown(rows, facts))


def facts_of_simulation(seed: int, replicates: int) -> Facts:
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "bench": version("medbench"),
        "numpy": np.__version__,
        "scipy": version("scipy"),
        "seed": str(seed),
        "replicates": str(replicates),
    }


def markdown(rows: Sequence[Mapping[str, float | str]], facts: Facts) -> str:
    about = [
        "Two methods, simulated and analysed as `bench compare` analyses stored predictions. Where the true",
        "difference is 0, a claim at 5 % is a false one; where it is not, claims are the power. `two-way` is",
        "the test of `bench`; the others are what is often used instead. An interval of 95 % should cover",
        f"the truth in 95 % of the studies. {sampling_error(rows)}",
        "Written by `python -m benchmarks.false_positives`.",
    ]
    cells = [[_text(name, value) for name, value in row.items()] for row in rows]
    return page("How often a difference is claimed", about, rows, cells, facts)


def page(
    title: str,
    about: Sequence[str],
    rows: Sequence[Mapping[str, float | str]],
    cells: Sequence[Sequence[str]],
    facts: Facts,
) -> str:
    """A page with one table, whose `cells` are the values of `rows` as they are shown."""
    sides = ["---" if isinstance(value, str) else "---:" for value in rows[0].values()]
    table = [f"| {' | '.join(line)} |" for line in (list(rows[0]), sides, *cells)]
    return "\n".join([f"# {title}", "", one_line(facts), "", *about, "", *table]) + "\n"


def sampling_error(rows: Sequence[Mapping[str, float | str]]) -> str:
    """By how much shares of so many studies differ by chance."""
    count = int(rows[0]["studies"])
    error = 100 * math.sqrt(ALPHA * (1 - ALPHA) / count)
    return f"The standard error of a share of 5 % in {count} studies is {error:.1f} %."


def _text(name: str, value: float | str) -> str:
    if isinstance(value, float):
        return f"{100 * value:.1f}" + (" points" if name in POINTS else " %")
    return str(value)


if __name__ == "__main__":
    typer.run(main)
