"""What tests say of the rows of a table: computed from stored predictions, or taken from where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.comparison.judged import Judged, from_json, to_json
from bench.comparison.methods import Method
from bench.errors import BenchError
from bench.identity import digest
from bench.results.score_cache import ScoreCache, identities

if TYPE_CHECKING:
    from bench.interfaces.metric import Metric
    from bench.registry import Registry

VERSION = 1  # raised where the same predictions would now be judged otherwise


class Judgements(NamedTuple):
    """Of the rows of one table, in the order of its methods, by metric; and what must be said: why there is
    none of others, and what rests on rounds alone."""

    by_metric: Mapping[str, Sequence[Judged]]
    remarks: Sequence[str]


Judge = Callable[[Sequence[Method]], Judgements]
"""Judges the rows of a table."""


def judge_of(metrics: Sequence[Metric], registry: Registry, results: Path, cache: ScoreCache) -> Judge:
    """One for tables of the folder `results` by these metrics. What it computes goes to `cache`."""
    known = identities(metrics, registry)
    remarks = [
        f"{metric.title}: intervals and tests are the corrected resampled t (Nadeau and Bengio 2003), from "
        "what rounds differ by alone, because its plugin does not say how to weight images."
        for metric in metrics
        if metric.of_counts is None and metric.of_weights is None
    ]

    def judge(methods: Sequence[Method]) -> Judgements:
        found: dict[str, Sequence[Judged]] = {}
        if not any(method.done for method in methods):
            return Judgements(found, [])
        keys = {metric.name: _key(methods, known.get(metric.name, "")) for metric in metrics}
        for name, key in keys.items():
            kept = from_json(cache.judgement(key), len(methods)) if key else None
            if kept is not None:
                found[name] = kept
        lacking = [metric for metric in metrics if metric.name not in found]
        if not lacking:
            return Judgements(found, remarks)
        from bench.comparison.evidence import read_evidence, read_sample
        from bench.comparison.judge import judge_rows

        try:
            evidence, problems = read_evidence(read_sample(methods, results), methods, lacking, registry)
        except BenchError as error:
            return Judgements(found, [*remarks, f"Not judged: {error}"])
        for name, one in evidence.items():
            found[name] = judge_rows(one)
            if keys[name]:
                cache.keep_judgement(keys[name], to_json(found[name]))
        return Judgements(found, [*remarks, *(f"Not judged: {p}" for p in dict.fromkeys(problems.values()))])

    return judge


def _key(methods: Sequence[Method], identity: str) -> str:
    """Of all that the judgement of a table's rows by one metric depends on; "" where that is not known."""
    units = [[[number, unit.sha256] for number, unit in method.done.items()] for method in methods]
    if not identity or not all(sha256 for each in units for _, sha256 in each):
        return ""
    splits: dict[int, Any] = {}
    for unit in (unit for method in methods for unit in method.done.values()):
        if unit.spec.round not in splits:
            images = {p: [n.images for n in unit.counts.get(p, {}).values()] for p in ("train", "test")}
            splits[unit.spec.round] = [images, unit.split, unit.audit.audit if unit.audit else ""]
    return digest([VERSION, identity, units, sorted(splits.items())])
