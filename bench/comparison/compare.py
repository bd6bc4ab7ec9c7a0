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
from bench.comparison.scored import ScoredUnit, score_records
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
        """Whether the metric is the one that the study declared, over all of its rounds."""
        return self.round is None and self.declared.metric == self.metric.name


Pair = tuple[Method, Method]


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
    return titled_tables(units), warnings


def titled_tables(units: Sequence[ScoredUnit]) -> list[Table]:
    """What may be compared, with what is finished of each table; those without anything finished are left
    out."""
    return [table for table in tables_of_groups(comparable(once_each(units))) if table.methods]


def tables_of_groups(groups: Sequence[Sequence[ScoredUnit]]) -> list[Table]:
    """A table for each group of comparable units, of its rows that have a finished round; no two are called
    alike unless their protocol is the same."""
    titles = [title_of(group) for group in groups]
    return [
        Table(
            title if titles.count(title) == 1 else f"{title} ({protocol_text(group)})",
            [method for method in methods_of(group) if method.done],
        )
        for group, title in zip(groups, titles, strict=True)
    ]


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
        if pair is not None:
            family = _declared_family(table.methods, pair, question)
            found.append(_compare(table, results, [pair], family, question, registry))
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
        try:
            pairs = _pairs(table.methods, question.declared.baseline)
        except UnknownName:
            continue
        if pairs:
            others: list[Pair] | None = [] if question.is_primary else None
            found.append(_compare(table, results, pairs, others, question, registry))
    if not found and question.declared.baseline and tables:
        find_method([m for table in tables for m in table.methods], question.declared.baseline)
    return found


def _pairs(methods: Sequence[Method], baseline: str) -> list[Pair]:
    """All pairs, or every method with the baseline. Raises UnknownName where that is not among them."""
    if not baseline:
        return list(combinations(methods, 2))
    other = find_method(methods, baseline)
    return [(method, other) for method in methods if method is not other]


def _declared_family(methods: Sequence[Method], pair: Pair, question: Question) -> list[Pair] | None:
    """The other comparisons that the study declared together with this one; None if it did not declare it."""
    if not question.is_primary:
        return None
    try:
        pairs = _pairs(methods, question.declared.baseline)
    except UnknownName:
        return None
    others = [each for each in pairs if set(_names(each)) != set(_names(pair))]
    return others if len(others) < len(pairs) else None


def _names(pair: Pair) -> tuple[str, str]:
    return pair[0].name, pair[1].name


def _compare(
    table: Table,
    results: Path,
    pairs: Sequence[Pair],
    others: Sequence[Pair] | None,
    question: Question,
    registry: Registry,
) -> Compared:
    """The differences of `pairs`, adjusted for the `others` too that were declared with them; None: not
    declared."""
    every = [*pairs, *(others or ())]
    methods = _methods_of(table, every)
    sample = read_sample(methods, results)
    evidence, problems = read_evidence(sample, methods, [question.metric], registry)
    if problems:
        raise PluginError(problems[question.metric.name])
    folds = 0 if sample.is_fixed else _folds(methods)
    tested = _differences(evidence[question.metric.name], every, question.declared.margin, folds)
    found = adjusted(list(tested))
    asked = {_names(pair) for pair in pairs}
    differences = [each for each in found if (each.first, each.second) in asked]
    own = _methods_of(table, pairs)
    rounds = sorted({number for each in differences for number in each.rounds})
    return Compared(table.where, own, differences, _basis(own, sample, rounds), others is not None)


def _methods_of(table: Table, pairs: Sequence[Pair]) -> list[Method]:
    names = {name for pair in pairs for name in _names(pair)}
    return [method for method in table.methods if method.name in names]


def _differences(
    evidence: Evidence, pairs: Sequence[Pair], margin: float, folds: int
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


def _pair(methods: Sequence[Method], first: str, second: str) -> Pair | None:
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
    groups = {group for number in rounds for group in sample.images[number].groups}
    splits = {number: unit.spec.split for method in methods for number, unit in method.done.items()}
    listed = ", ".join(dict.fromkeys(splits[number][:8] for number in rounds))
    count, several = len(rounds), "s" * (listed.count(",") > 0)
    text = (
        f"{count} round{'s' * (count != 1)} of {statistics.fmean(sizes or [0]):.4g} test images in "
        f"{len(groups)} groups, paired image by image (split{several} {listed})"
    )
    if sample.is_fixed:
        text += "; all rounds have the same test images, so it holds for this training set"
    return text
