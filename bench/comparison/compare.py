"""Two methods wherever both were run: the difference between them, and what it rests on."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.comparison.comparable import comparable, once_each, title_of
from bench.comparison.difference import Difference, difference
from bench.comparison.evidence import Sample, read_evidence, read_sample
from bench.comparison.footer import protocol_text
from bench.comparison.methods import Method, find_method, methods_of
from bench.comparison.scored import ScoredUnit, score_records
from bench.comparison.tables import of_datasets
from bench.errors import ConfigError, PluginError, UnknownName
from bench.registry import Registry
from bench.results.record import Record

if TYPE_CHECKING:
    from bench.interfaces.metric import Metric


class Found(NamedTuple):
    """A difference, with the table it is from.

    Attributes:
        where: data set, and protocol where several tables have it.
        difference: None where the methods share no round.
        basis: images, groups and splits.
    """

    where: str
    difference: Difference | None
    basis: str


class Compared(NamedTuple):
    """Differences, and what a user should know of damaged results."""

    found: list[Found]
    warnings: list[str]


def compare_methods(
    records: Iterable[Record],
    results: Path,
    first: str,
    second: str,
    metric: Metric,
    margin: float,
    datasets: Sequence[str],
    registry: Registry,
) -> Compared:
    """The difference in every table of the folder `results` that has both methods.

    Raises UnknownName for a data set or method that no table has, ConfigError where both names mean one
    method or a name means several.
    """
    units, warnings = score_records(of_datasets(records, datasets, results), [metric], registry, results)
    groups = [(group, methods_of(group)) for group in comparable(once_each(units))]
    pairs = [(group, pair) for group, methods in groups if (pair := _pair(methods, first, second))]
    if not pairs:
        raise _missing(first, second, [methods for _, methods in groups])
    titles = [title_of(group) for group, _ in pairs]
    found = []
    for group, pair in pairs:
        title = title_of(group)
        where = title if titles.count(title) == 1 else f"{title} ({protocol_text(group)})"
        sample = read_sample(pair, results)
        evidence, problems = read_evidence(sample, pair, [metric], registry)
        if problems:
            raise PluginError(problems[metric.name])
        one = difference(evidence[metric.name], 0, 1, margin)
        found.append(Found(where, one, _basis(group, sample, one)))
    return Compared(found, warnings)


def _pair(methods: Sequence[Method], first: str, second: str) -> tuple[Method, Method] | None:
    """Both methods; None where this table lacks one of them."""
    try:
        pair = find_method(methods, first), find_method(methods, second)
    except UnknownName:
        return None
    if pair[0] is pair[1]:
        raise ConfigError(f"{first!r} and {second!r} are the same row, {pair[0].name}; name two")
    return pair


def _missing(first: str, second: str, tables: Sequence[Sequence[Method]]) -> UnknownName | ConfigError:
    """Why no table has both methods."""
    every = [method for methods in tables for method in methods]
    for name in (first, second):
        try:
            find_method(every, name)
        except UnknownName as error:
            return error
        except ConfigError:  # several tables have it
            pass
    return ConfigError(
        f"no table has both {first!r} and {second!r}: only rows of the same images, splits and protocol can "
        "be compared (`bench table` shows which are)"
    )


def _basis(group: Sequence[ScoredUnit], sample: Sample, one: Difference | None) -> str:
    rounds = one.rounds if one else ()
    sizes = [len(sample.images[number].ids) for number in rounds]
    splits = {unit.spec.round: unit.spec.split for unit in group}
    listed = ", ".join(dict.fromkeys(splits[number][:8] for number in rounds))
    count, several = len(rounds), "s" * (listed.count(",") > 0)
    text = (
        f"{count} round{'s' * (count != 1)} of {statistics.fmean(sizes or [0]):.4g} test images in "
        f"{len(sample.groups.names)} groups, paired image by image (split{several} {listed})"
    )
    if sample.is_fixed:
        text += "; all rounds have the same test images, so it holds for this training set"
    return text
