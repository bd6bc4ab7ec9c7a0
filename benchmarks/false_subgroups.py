"""How often `bench subgroups` is wrong where nothing differs: `python -m benchmarks.false_subgroups`.

Simulated studies of `benchmarks.false_positives`. A random part of the groups of images is called a subgroup,
and one method's score on it is compared with that on the rest, as `bench subgroups` does it. The table goes
to results/false-subgroups.md and .csv.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import typer

from benchmarks.false_positives import (  # first, because it sets how many threads numpy has
    ALPHA,
    CORES,
    METRICS,
    RESULTS,
    WORLDS,
    Metrics,
    Output,
    Processes,
    Replicates,
    Seed,
    Studies,
    World,
    facts_of_simulation,
    page,
    rounds_of,
    sampling_error,
)
from benchmarks.report import Facts, save, tell

# isort: split

import numpy as np

from bench.comparison.evidence import Sample
from bench.comparison.partition import partition
from bench.comparison.subgroups import judge_subgroups
from bench_standard import register_metrics

SIMULATED = ("stable training", "unstable training", "groups of 1 to 10", "five folds", "195 images")
SHARES = (0.1, 0.3)  # of the groups that are in the subgroup


class Judged(NamedTuple):
    """What one study says of one metric: p of the difference, nan where it is not tested, and whether the
    interval of the difference covers 0."""

    p: float
    covers: bool


def study(world: World, share: float, names: Sequence[str], replicates: int, seed: int) -> list[Judged]:
    """One simulated study, analysed; one result a metric."""
    random = np.random.default_rng([seed, *world.name.encode()])
    both, _, overlap = rounds_of(random, world)
    rounds = {number: first for number, (first, _) in enumerate(both)}
    groups = sorted({group for one in rounds.values() for group in one.groups})
    members = set(random.permutation(groups)[: round(share * len(groups))].tolist())
    of = {
        id_: "subgroup" if group in members else "rest"
        for one in rounds.values()
        for id_, group in zip(one.ids, one.groups, strict=True)
    }
    divided = partition("simulation", ("subgroup", "rest"), of)
    sample = Sample(images=rounds, joined={}, overlap=overlap)
    results = []
    for metric in (metric for metric in register_metrics() if metric.name in names):
        scores = judge_subgroups("first", sample, rounds, divided, metric, 0.01, replicates=replicates)
        found = scores.subgroups[0].difference
        if found is None:
            results.append(Judged(math.nan, True))
        else:
            results.append(Judged(found.adjusted, found.ends.low <= 0 <= found.ends.high))
    return results


def summary(world: World, share: float, metric: str, studies: Sequence[Judged]) -> dict[str, float | str]:
    """One line of the table."""
    tested = [one for one in studies if not math.isnan(one.p)]
    return {
        "world": world.name,
        "share of groups": share,
        "metric": metric,
        "studies": len(studies),
        "tested": len(tested) / len(studies),
        "claims": float(np.mean([one.p < ALPHA for one in tested])) if tested else math.nan,
        "covers 0": float(np.mean([one.covers for one in tested])) if tested else math.nan,
    }


def main(
    studies: Studies = 400,
    replicates: Replicates = 500,
    metrics: Metrics = METRICS,
    seed: Seed = 0,
    processes: Processes = CORES,
    output: Output = RESULTS,
) -> None:
    """Simulate all worlds and write results/false-subgroups.md and .csv."""
    names = metrics.split(",")
    rows = []
    with ProcessPoolExecutor(processes) as pool:
        for world in (world for world in WORLDS if world.name in SIMULATED):
            for share in SHARES:
                tell(world.name, f"{share:.0%} of the groups, {studies} studies")
                one = partial(study, world, share, names, replicates)
                done = list(pool.map(one, range(seed, seed + studies), chunksize=5))
                rows += [
                    summary(world, share, name, [each[i] for each in done]) for i, name in enumerate(names)
                ]
    facts = facts_of_simulation(seed, replicates)
    save(output, "false-subgroups", rows, facts, markdown(rows, facts))


def markdown(rows: Sequence[Mapping[str, float | str]], facts: Facts) -> str:
    about = [
        "A random part of the groups of images, compared with the rest as `bench subgroups` does it, in the",
        "simulated studies of [false-positives.md](false-positives.md). The true difference is 0, so that a",
        "claim at 5 % is a false one, and an interval of 95 % should cover 0 in 95 % of the studies that are",
        "tested; subgroups of fewer than ten groups of test images are not, and show a dash.",
        sampling_error(rows),
        "Written by `python -m benchmarks.false_subgroups`.",
    ]
    cells = [[_text(value) for value in row.values()] for row in rows]
    return page("How often a subgroup is said to differ", about, rows, cells, facts)


def _text(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"


if __name__ == "__main__":
    typer.run(main)
