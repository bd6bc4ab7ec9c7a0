"""The verdict in words, with its interval: the declared comparison first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from bench.comparison.compare import Compared, Table
from bench.comparison.difference import Difference, Verdict
from bench.comparison.sentences import (
    UNDECIDED,
    across,
    amount,
    finding,
    p_text,
    rounds_text,
    share,
    uncertainty,
    unit,
)
from bench.interfaces.cells import NOTHING
from bench.interfaces.metric import Metric
from bench.report.gathered import Gathered
from bench.report.section import Section
from bench.report.templating import render

SPELLED_OUT, OF_MANY = 6, 2  # comparisons that are written out at once: of the only table, of one of many


_SAID = {
    Verdict.BETTER: "Better",
    Verdict.EQUAL: "Practically equal",
    Verdict.OPEN: "Not shown to differ, nor to be equal",
    Verdict.WORSE: "Worse",
}


class Group(NamedTuple):
    """Methods of which the same is shown."""

    verdict: Verdict
    said: str
    methods: Sequence[str]


class Told(NamedTuple):
    """The verdict on one table.

    Attributes:
        where: what the table is called.
        headline: the whole in a sentence.
        groups: methods of which the same is shown.
        sentences: of the comparisons that tell most.
        more: of each comparison, with what it rests on.
        standing: whether the comparisons were declared.
        basis: images, groups and splits.
        comparisons: every number, one row a comparison.
        unit: of differences.
    """

    where: str
    headline: str
    groups: Sequence[Group]
    sentences: Sequence[str]
    more: Sequence[tuple[str, Sequence[str]]]
    standing: str
    basis: str
    comparisons: Sequence[Comparison]
    unit: str


class Comparison(NamedTuple):
    """One row of all comparisons. Numbers are what a script sorts by, texts what is shown."""

    first: str
    second: str
    value: float
    difference: str
    interval: str
    p: str
    verdict: str
    odds: tuple[str, str, str]
    detectable: str


def verdict_sections(gathered: Gathered) -> list[Section]:
    """None where nothing can be compared."""
    if not gathered.tables:
        return []
    question = gathered.question
    names = {table.where: _short_names(table) for table in gathered.tables}
    compared = [_renamed(one, names[one.where]) for one in gathered.compared if one.differences]
    told = [_told(one, gathered) for one in compared]
    missing = [t.where for t in gathered.tables if t.where not in {each.where for each in told}]
    html = render(
        "verdict.html",
        told=told,
        overall=list(_across(compared, gathered)),
        metric=question.metric.title,
        margin=f"{amount(question.metric, question.declared.margin)}{unit(question.metric)}",
        missing=[(where, _why_not(where, gathered)) for where in missing],
        exploratory=not all(compared.is_declared for compared in gathered.compared),
    )
    return [Section("verdict", "Verdict", html)]


def _short_names(table: Table) -> Mapping[str, str]:
    """Names of methods without their network, where all of a table have the same."""
    alike = len({method.label.model for method in table.methods}) == 1
    return {method.name: method.label.method if alike else method.name for method in table.methods}


def _renamed(compared: Compared, names: Mapping[str, str]) -> Compared:
    renamed = [replace(one, first=names[one.first], second=names[one.second]) for one in compared.differences]
    return compared._replace(differences=renamed)


def _told(compared: Compared, gathered: Gathered) -> Told:
    question, metric = gathered.question, gathered.question.metric
    baseline = question.declared.baseline
    most = SPELLED_OUT if len(gathered.tables) == 1 else OF_MANY
    spoken = _most_telling(compared.differences) if baseline else _nearest(_of_best(compared, metric))
    headline, groups = (_against_baseline if baseline else _against_best)(compared, metric)
    return Told(
        where=compared.where,
        headline=headline,
        groups=groups,
        sentences=[finding(metric, one) for one in spoken[:most]],
        more=[(finding(metric, one), uncertainty(metric, one)) for one in compared.differences],
        standing="Declared before the study was run."
        if compared.is_declared
        else "Exploratory: no study declared this metric and these comparisons before it was run.",
        basis=compared.basis,
        comparisons=[_comparison(metric, one) for one in compared.differences],
        unit=unit(metric).strip(),
    )


def _most_telling(differences: Iterable[Difference]) -> list[Difference]:
    """What is better first, then what else is shown, then what is not, the largest difference first."""
    order = (Verdict.BETTER, Verdict.WORSE, Verdict.EQUAL, Verdict.OPEN, *UNDECIDED)
    return sorted(differences, key=lambda one: (order.index(one.verdict), -abs(one.value)))


def _nearest(differences: Iterable[Difference]) -> list[Difference]:
    """Those that are hardest to tell from the best first."""
    return sorted(differences, key=lambda one: abs(one.value))


def _against_baseline(compared: Compared, metric: Metric) -> tuple[str, list[Group]]:
    """The whole in a sentence, and which methods it is about."""
    second = compared.differences[0].second
    groups = _grouped(compared.differences, lambda one: (one.first, one.verdict))
    if not groups:
        return _undecided(compared.differences), []
    if any(group.verdict is Verdict.BETTER for group in groups):
        counted = ", ".join(f"{len(group.methods)} {group.verdict.value}" for group in groups)
        return f"Against {second}, by {metric.title}: {counted}.", groups
    return f"By {metric.title}, nothing is shown to be better than {second}.", groups


def _against_best(compared: Compared, metric: Metric) -> tuple[str, list[Group]]:
    """Which row has the best mean, and what is shown of the others beside it."""
    best = _leader(compared, metric)

    def other(one: Difference) -> tuple[str, Verdict]:
        """What is shown of it: if it differs from the row with the best mean, it is worse."""
        verdict = Verdict.WORSE if one.verdict in (Verdict.BETTER, Verdict.WORSE) else one.verdict
        return one.second if one.first == best else one.first, verdict

    ones = list(_of_best(compared, metric))
    groups = _grouped(ones, other)
    text = f"{best} has the best mean {metric.title}."
    return (text if groups else f"{text} {_undecided(ones)}"), groups


def _grouped(
    differences: Iterable[Difference], told: Callable[[Difference], tuple[str, Verdict]]
) -> list[Group]:
    by_verdict: dict[Verdict, list[str]] = defaultdict(list)
    for one in differences:
        name, verdict = told(one)
        by_verdict[verdict].append(name)
    order = (Verdict.BETTER, Verdict.EQUAL, Verdict.OPEN, Verdict.WORSE)
    return [Group(verdict, _SAID[verdict], by_verdict[verdict]) for verdict in order if by_verdict[verdict]]


def _undecided(differences: Iterable[Difference]) -> str:
    reasons = sorted({one.verdict.value for one in differences if one.verdict in UNDECIDED})
    return f"No verdict: {'; '.join(reasons)}."


def _leader(compared: Compared, metric: Metric) -> str:
    """The name of the row with the best mean."""
    means: dict[str, float] = {}
    for one in compared.differences:
        means |= {one.first: one.scores[0], one.second: one.scores[1]}
    return (max if metric.higher_is_better else min)(means, key=lambda name: means[name])


def _of_best(compared: Compared, metric: Metric) -> Iterator[Difference]:
    best = _leader(compared, metric)
    return (one for one in compared.differences if best in (one.first, one.second))


def _comparison(metric: Metric, one: Difference) -> Comparison:
    undecided = one.verdict in UNDECIDED
    low, high = (amount(metric, end, signed=True) for end in one.ends)
    few = f" ({rounds_text(len(one.rounds))} are few)" if one.few_rounds else ""
    better, equal, worse = (NOTHING,) * 3 if undecided else map(share, one.against)
    return Comparison(
        first=one.first,
        second=one.second,
        value=one.value,
        difference=amount(metric, one.value, signed=True),
        interval=f"{low} to {high}" if one.p == one.p else NOTHING,
        p=NOTHING if undecided else p_text(one.adjusted).removeprefix("= "),
        verdict=one.verdict.value + few,
        odds=(better, equal, worse),
        detectable=NOTHING if undecided else amount(metric, one.detectable),
    )


def _across(compared: Sequence[Compared], gathered: Gathered) -> Iterator[str]:
    """What several data sets say together of methods and the declared baseline."""
    if not gathered.question.declared.baseline:
        return
    for first, second in dict.fromkeys((d.first, d.second) for one in compared for d in one.differences):
        found = [
            one._replace(differences=shared)
            for one in compared
            if (shared := [d for d in one.differences if (d.first, d.second) == (first, second)])
        ]
        if text := across(found, first, second):
            yield text


def _why_not(where: str, gathered: Gathered) -> str:
    """Why a table has no comparison."""
    table = next(table for table in gathered.tables if table.where == where)
    if len(table.methods) == 1:
        return f"{table.methods[0].name} is its only method with a finished round"
    baseline = gathered.question.declared.baseline
    if baseline and where not in {compared.where for compared in gathered.compared}:
        return f"the baseline {baseline} has no finished round in it"
    return "no two of its methods have a score in the same round"
