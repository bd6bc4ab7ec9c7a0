"""The verdict in words, with its interval: the declared comparison first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

SPELLED_OUT, OF_MANY = 8, 2  # comparisons that are written out at once: of the only table, of one of many


class Told(NamedTuple):
    """The verdict on one table.

    Attributes:
        where: what the table is called.
        headline: the whole in a sentence.
        sentences: of the comparisons that tell most.
        more: of each comparison, with what it rests on.
        standing: whether the comparisons were declared.
        basis: images, groups and splits.
        comparisons: every number, one row a comparison.
        unit: of differences.
    """

    where: str
    headline: str
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
    told = [
        _told(_renamed(compared, names[compared.where]), gathered)
        for compared in gathered.compared
        if compared.differences
    ]
    missing = [t.where for t in gathered.tables if t.where not in {each.where for each in told}]
    html = render(
        "verdict.html",
        told=told,
        overall=list(_across(gathered)),
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
    spoken = compared.differences if baseline else _of_best(compared, gathered)
    return Told(
        where=compared.where,
        headline=_against_baseline(compared) if baseline else _best(compared, gathered),
        sentences=[finding(metric, one) for one in _most_telling(spoken)[:most]],
        more=[(finding(metric, one), uncertainty(metric, one)) for one in compared.differences],
        standing="Declared before the study was run."
        if compared.is_declared
        else "Exploratory: no study declared this metric and these comparisons before it was run.",
        basis=compared.basis,
        comparisons=[_comparison(metric, one) for one in compared.differences],
        unit=unit(metric).strip(),
    )


def _most_telling(differences: Iterable[Difference]) -> list[Difference]:
    """What is shown before what is not, the largest difference first."""
    open_ = (Verdict.OPEN, *UNDECIDED)
    return sorted(differences, key=lambda one: (one.verdict in open_, -abs(one.value)))


def _against_baseline(compared: Compared) -> str:
    """ "Better than imagenet: egmae. Not shown either way: mae and noise."."""
    second = compared.differences[0].second
    by_verdict: dict[Verdict, list[str]] = defaultdict(list)
    for one in compared.differences:
        by_verdict[one.verdict].append(one.first)
    said = {
        Verdict.BETTER: f"Better than {second}",
        Verdict.WORSE: f"Worse than {second}",
        Verdict.EQUAL: f"Practically equal to {second}",
        Verdict.OPEN: f"Not shown to differ from {second}, nor to equal it",
    }
    parts = [
        f"{text}: {', '.join(by_verdict[verdict])}." for verdict, text in said.items() if by_verdict[verdict]
    ]
    undecided = [name for verdict in UNDECIDED for name in by_verdict[verdict]]
    if undecided:
        reasons = {verdict.value for verdict in UNDECIDED if by_verdict[verdict]}
        parts.append(f"No verdict on {', '.join(undecided)}: {'; '.join(sorted(reasons))}.")
    if not by_verdict[Verdict.BETTER] and not undecided:
        parts.insert(0, f"Nothing is shown to be better than {second}.")
    return " ".join(parts)


def _best(compared: Compared, gathered: Gathered) -> str:
    """Which row has the best mean, and which others are not shown to differ from it."""
    metric = gathered.question.metric
    best = _leader(compared, metric)
    ones = list(_of_best(compared, gathered))
    if all(one.verdict in UNDECIDED for one in ones):
        return (
            f"{best} has the best mean {metric.title}. No verdict: "
            f"{'; '.join(sorted({one.verdict.value for one in ones}))}."
        )
    by_verdict: dict[Verdict, list[str]] = defaultdict(list)
    for one in ones:
        by_verdict[one.verdict].append(one.second if one.first == best else one.first)
    behind = [*by_verdict[Verdict.BETTER], *by_verdict[Verdict.WORSE]]
    open_ = [*by_verdict[Verdict.OPEN], *(name for v in UNDECIDED for name in by_verdict[v])]
    parts = [f"{best} has the best mean {metric.title}."]
    if behind:
        parts.append(f"It is shown to be better than {', '.join(behind)}.")
    if by_verdict[Verdict.EQUAL]:
        parts.append(f"Practically equal to it: {', '.join(by_verdict[Verdict.EQUAL])}.")
    if open_:
        parts.append(f"Not shown to differ from it, nor to equal it: {', '.join(open_)}.")
    return " ".join(parts)


def _leader(compared: Compared, metric: Metric) -> str:
    """The name of the row with the best mean."""
    means: dict[str, float] = {}
    for one in compared.differences:
        means |= {one.first: one.scores[0], one.second: one.scores[1]}
    return (max if metric.higher_is_better else min)(means, key=lambda name: means[name])


def _of_best(compared: Compared, gathered: Gathered) -> Iterator[Difference]:
    best = _leader(compared, gathered.question.metric)
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


def _across(gathered: Gathered) -> Iterator[str]:
    """What several data sets say together of methods and the declared baseline."""
    if not gathered.question.declared.baseline:
        return
    pairs = dict.fromkeys((one.first, one.second) for c in gathered.compared for one in c.differences)
    for first, second in pairs:
        found = [
            compared._replace(differences=ones)
            for compared in gathered.compared
            if (ones := [one for one in compared.differences if (one.first, one.second) == (first, second)])
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
