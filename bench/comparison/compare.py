"""Methods wherever they were run together: the differences between them, and what these rest on."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.comparison.comparable import comparable, once_each, title_of
from bench.comparison.difference import Difference, adjusted, difference
from bench.comparison.evidence import Sample, read_evidence, read_sample
from bench.comparison.footer import protocol_text
from bench.comparison.methods import Method, find_method, methods_of
from bench.comparison.scored import score_records
from bench.comparison.tables import of_datasets
from bench.errors import ConfigError, PluginError, UnknownName
from bench.registry import Registry
from bench.results.record import Record
from bench.study.declaration import Declaration
from bench.study.protocol import SplitSettings

if TYPE_CHECKING:
    from bench.comparison.evidence import Evidence
    from bench.interfaces.metric import Metric


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is compared.

    Attributes:
        metric: by which metric.
        declared: what the study declared; its margin counts.
        datasets: names of data sets; none means all.
        round: the only round to look at; None for all.
    """

    metric: Metric
    declared: Declaration
    datasets: Sequence[str] = ()
    round: int | None = None

    @property
    def is_primary(self) -> bool:
        """Whether the metric is the one that the study declared."""
        return self.declared.metric == self.metric.name


class Compared(NamedTuple):
    """Differences between rows of one table.

    Attributes:
        where: data set, and protocol where several tables have it.
        methods: that were compared, in the table's order.
        differences: one a pair that shares a round.
        basis: images, groups and splits.
        is_declared: whether metric and comparisons are those that the study declared.
    """

    where: str
    methods: Sequence[Method]
    differences: Sequence[Difference]
    basis: str
    is_declared: bool


class Table(NamedTuple):
    """Rows that may be compared, and where they are from."""

    where: str
    methods: Sequence[Method]


def comparable_tables(
    records: Iterable[Record], results: Path, question: Question, registry: Registry
) -> tuple[list[Table], list[str]]:
    """What may be compared in the folder `results`, and warnings. Raises UnknownName for a data set without
    results."""
    chosen = of_datasets(records, question.datasets, results)
    if question.round is not None:
        chosen = [record for record in chosen if record.spec.round == question.round]
        if not chosen:
            raise ConfigError(f"--round {question.round}: {results} has no results of this round")
    units, warnings = score_records(chosen, [question.metric], registry, results)
    groups = comparable(once_each(units))
    titles = [title_of(group) for group in groups]
    tables = [
        Table(
            title if titles.count(title) == 1 else f"{title} ({protocol_text(group)})",
            [method for method in methods_of(group) if method.done],
        )
        for group, title in zip(groups, titles, strict=True)
    ]
    return [table for table in tables if table.methods], warnings


def compare_pair(
    tables: Sequence[Table], results: Path, first: str, second: str, question: Question, registry: Registry
) -> list[Compared]:
    """The difference between two methods in every table that has both.

    Where it is among the comparisons that the study declared, its p is adjusted for them. Raises UnknownName
    for a method that no table has, ConfigError where both names mean one method or a name means several.
    """
    found = []
    for table in tables:
        pair = _pair(table.methods, first, second)
        if pair is None:
            continue
        family = _declared_family(table.methods, pair, question)
        declared = family is not None
        compared = _compare(table, results, [pair, *(family or [])], question, registry, declared)
        mine = [d for d in compared.differences if (d.first, d.second) == (pair[0].name, pair[1].name)]
        found.append(compared._replace(methods=pair, differences=mine))
    if not found:
        raise _missing(first, second, tables)
    return found


def compare_all(
    tables: Sequence[Table], results: Path, question: Question, registry: Registry
) -> list[Compared]:
    """All pairs of rows of each table, or every row with the declared baseline, their p adjusted for each
    other. Raises UnknownName for a baseline that no table has."""
    found = []
    for table in tables:
        pairs = list(combinations(table.methods, 2))
        if question.declared.baseline:
            try:
                baseline = find_method(table.methods, question.declared.baseline)
            except UnknownName:
                continue
            pairs = [(method, baseline) for method in table.methods if method is not baseline]
        if pairs:
            found.append(_compare(table, results, pairs, question, registry, declared=question.is_primary))
    if not found and question.declared.baseline and tables:
        find_method([m for table in tables for m in table.methods], question.declared.baseline)
    return found


def _declared_family(
    methods: Sequence[Method], pair: tuple[Method, Method], question: Question
) -> list[tuple[Method, Method]] | None:
    """The other comparisons that the study declared together with this one; None if it did not declare it."""
    if not question.is_primary:
        return None
    if not question.declared.baseline:
        pairs = list(combinations(methods, 2))
    else:
        try:
            baseline = find_method(methods, question.declared.baseline)
        except UnknownName:
            return None
        pairs = [(method, baseline) for method in methods if method is not baseline]
    others = [p for p in pairs if {p[0].name, p[1].name} != {pair[0].name, pair[1].name}]
    return others if len(others) < len(pairs) else None


def _compare(
    table: Table,
    results: Path,
    pairs: Sequence[tuple[Method, Method]],
    question: Question,
    registry: Registry,
    declared: bool,
) -> Compared:
    names = {method.name for pair in pairs for method in pair}
    methods = [method for method in table.methods if method.name in names]
    sample = read_sample(methods, results)
    evidence, problems = read_evidence(sample, methods, [question.metric], registry)
    if problems:
        raise PluginError(problems[question.metric.name])
    folds = 0 if sample.is_fixed else _folds(methods)
    differences = list(_differences(evidence[question.metric.name], pairs, question.declared.margin, folds))
    rounds = sorted({number for each in differences for number in each.rounds})
    return Compared(table.where, methods, adjusted(differences), _basis(methods, sample, rounds), declared)


def _differences(
    evidence: Evidence, pairs: Sequence[tuple[Method, Method]], margin: float, folds: int
) -> Iterator[Difference]:
    place = {name: i for i, name in enumerate(evidence.methods)}
    for first, second in pairs:
        if found := difference(evidence, place[first.name], place[second.name], margin, folds):
            yield found


def _folds(methods: Sequence[Method]) -> int:
    """How many folds the images of these methods were divided into; 0 for independent rounds."""
    data = next((unit.record.data for method in methods for unit in method.done.values()), None)
    settings = (data.settings if data else None) or {}
    return int(settings.get("folds", SplitSettings().folds)) if settings.get("method") == "kfold" else 0


def _pair(methods: Sequence[Method], first: str, second: str) -> tuple[Method, Method] | None:
    """Both methods; None where this table lacks one of them."""
    try:
        pair = find_method(methods, first), find_method(methods, second)
    except UnknownName:
        return None
    if pair[0] is pair[1]:
        raise ConfigError(f"{first!r} and {second!r} are the same row, {pair[0].name}; name two")
    return pair


def _missing(first: str, second: str, tables: Sequence[Table]) -> UnknownName | ConfigError:
    """Why no table has both methods."""
    every = [method for table in tables for method in table.methods]
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


def _basis(methods: Sequence[Method], sample: Sample, rounds: Sequence[int]) -> str:
    sizes = [len(sample.images[number].ids) for number in rounds]
    splits = {number: unit.spec.split for method in methods for number, unit in method.done.items()}
    listed = ", ".join(dict.fromkeys(splits[number][:8] for number in rounds))
    count, several = len(rounds), "s" * (listed.count(",") > 0)
    text = (
        f"{count} round{'s' * (count != 1)} of {statistics.fmean(sizes or [0]):.4g} test images in "
        f"{len(sample.groups.names)} groups, paired image by image (split{several} {listed})"
    )
    if sample.is_fixed:
        text += "; all rounds have the same test images, so it holds for this training set"
    return text
