"""Sentences that a paper may write about stored results, and those that it may not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.comparison.compare import Compared, Question, Table, compare_all
from bench.comparison.difference import Difference, Verdict
from bench.comparison.judgements import Judge
from bench.comparison.methods import Method
from bench.comparison.sentences import amount, p_text, unit
from bench.evidence.inference import EQUIVALENCE_LEVEL, interval
from bench.interfaces.selection import tested_on
from bench.registry import Registry

if TYPE_CHECKING:
    from bench.comparison.judged import Judged
    from bench.interfaces.metric import Metric


class Refused(NamedTuple):
    """A sentence that must not be written, and why; `of_pair` says whether it is about two methods."""

    sentence: str
    reason: str
    of_pair: bool = False


class Claims(NamedTuple):
    """What may be said of one table.

    Attributes:
        where: data set, and protocol where several tables have it.
        may: sentences that are ready to paste.
        may_not: the others.
    """

    where: str
    may: Sequence[str]
    may_not: Sequence[Refused]


def claims_of(
    tables: Sequence[Table],
    results: Path,
    question: Question,
    registry: Registry,
    judge: Judge,
    known: Sequence[Compared] | None = None,
) -> list[Claims]:
    """Of each table by one metric; `known` is what `compare_all` gives, if that was called. Raises what it
    raises."""
    known = compare_all(tables, results, question, registry) if known is None else known
    compared = {one.where: one for one in known}
    found = []
    for table in tables:
        judged = judge(table.methods).by_metric.get(question.metric.name)
        rows = dict(zip([m.name for m in table.methods], judged, strict=True)) if judged else {}
        one = compared.get(table.where)
        may = [*_scores(table, rows, question.metric)]
        may_not = [*_about_data(table)]
        if one is not None:
            may += _shown(one, question)
            may_not = [*_not_shown(one, question), *_best(table, rows), *may_not]
        found.append(Claims(table.where, may, may_not))
    return found


# --- what may be said --------------------------------------------------------------------------------


def _scores(table: Table, rows: Mapping[str, Judged], metric: Metric) -> Iterator[str]:
    for method in table.methods:
        judged = rows.get(method.name)
        done = method.done.values()
        scores = [one.scores[metric.name] for one in done if metric.name in one.scores]
        if not judged or judged.low is None or judged.high is None or not scores:
            continue
        rounds = len(scores)
        over = f"mean of {rounds} rounds" if rounds > 1 else "of one trained model"
        yield (
            f"On {table.where}, {method.name} had {_a(metric.title)} of {sum(scores) / rounds:.3f} ({over}; "
            f"95 % interval {judged.low:.3f} to {judged.high:.3f})."
        )


def _shown(compared: Compared, question: Question) -> Iterator[str]:
    for one in compared.differences:
        if one.verdict in (Verdict.BETTER, Verdict.WORSE):
            yield _difference_sentence(compared, one, question)
        elif one.verdict is Verdict.EQUAL:
            yield _equal_sentence(compared, one, question)


def _difference_sentence(compared: Compared, one: Difference, question: Question) -> str:
    metric = question.metric
    sign = 1 if one.verdict is Verdict.BETTER else -1
    ahead, behind = (one.first, one.second)[::sign]
    scores = one.scores[::sign]
    low, high = sorted((sign * one.ends.low, sign * one.ends.high))
    better = "higher" if metric.higher_is_better else "lower"
    few = f"; {len(one.rounds)} rounds are few" if one.few_rounds else ""
    exploratory = "" if compared.is_declared else " (exploratory analysis)"
    by = f"{amount(metric, abs(one.value))}{unit(metric)}"
    return (
        f"On {compared.where}, {ahead} reached {_a(better)} {metric.title} than {behind} "
        f"({scores[0]:.3f} against {scores[1]:.3f}; difference {by}, 95 % interval {amount(metric, low)} to "
        f"{amount(metric, high)}; p {_p(one)}; {_rounds(one)}{few}){exploratory}."
    )


def _equal_sentence(compared: Compared, one: Difference, question: Question) -> str:
    metric = question.metric
    low, high = interval(one.value, one.variance, EQUIVALENCE_LEVEL)
    margin = f"{amount(metric, one.margin)}{unit(metric)}"
    return (
        f"On {compared.where}, {one.first} and {one.second} were practically equal in {metric.title}, within "
        f"a margin of {margin} (difference "
        f"{amount(metric, one.value, signed=True)}, 90 % interval {amount(metric, low, signed=True)} to "
        f"{amount(metric, high, signed=True)}; two one-sided tests at 5 %; {_rounds(one)})."
    )


def _p(one: Difference) -> str:
    if one.comparisons == 1:
        return p_text(one.p)
    return f"{p_text(one.adjusted)} after Holm over {one.comparisons} comparisons"


def _rounds(one: Difference) -> str:
    return f"{len(one.rounds)} round{'s' * (len(one.rounds) != 1)}"


def _a(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


# --- what may not ------------------------------------------------------------------------------------


def _not_shown(compared: Compared, question: Question) -> Iterator[Refused]:
    metric = question.metric
    for one in compared.differences:
        ahead, behind = (one.first, one.second) if one.value >= 0 else (one.second, one.first)
        sentence = f"{ahead} outperforms {behind} in {metric.title}."
        if one.verdict in (Verdict.ONE_ROUND, Verdict.TWO_ROUNDS, Verdict.NO_SPREAD):
            yield Refused(sentence, f"{one.verdict.value}.", of_pair=True)
        elif one.verdict is Verdict.OPEN:
            low, high = sorted((abs(one.value) - _half(one), abs(one.value) + _half(one)))
            yield Refused(
                sentence,
                f"the difference of {amount(metric, abs(one.value))}{unit(metric)} has a 95 % interval of "
                f"{amount(metric, low)} to {amount(metric, high)}, p {_p(one)}; this study finds a true "
                f"difference of {amount(metric, one.detectable)}{unit(metric)} in four of five cases.",
                of_pair=True,
            )
            yield Refused(
                f"{one.first} and {one.second} perform equally.",
                f"not to have shown a difference is not to have shown that there is none: one of more than "
                f"{amount(metric, one.margin)}{unit(metric)} has a probability of "
                f"{100 * (1 - one.against.equal):.0f} %.",
                of_pair=True,
            )
    if compared.differences and not compared.is_declared:
        yield Refused(
            f"Our primary hypothesis, tested on {metric.title}, was confirmed.",
            "no study declared this metric and these comparisons before it was run ([evidence] in a study "
            "file): the analysis is exploratory.",
        )


def _half(one: Difference) -> float:
    return (one.ends.high - one.ends.low) / 2


def _best(table: Table, rows: Mapping[str, Judged]) -> Iterator[Refused]:
    tied = [name for name, judged in rows.items() if judged.best]
    if len(tied) > 1:
        yield Refused(
            "One row is the best method.",
            f"{len(tied)} rows are not shown to differ from the best mean: {', '.join(tied)}.",
        )
    elif rows and all(judged.best is None for judged in rows.values()) and len(rows) > 1:
        yield Refused("One row is the best method.", "there are too few rounds for any verdict.")


def _about_data(table: Table) -> Iterator[Refused]:
    done = [one for method in table.methods for one in method.done.values()]
    leaking = sorted({one.spec.round for one in done if one.audit and one.audit.leaks})
    if leaking:
        yield Refused(
            "These scores are those of new patients.",
            f"the split leaks in round{'s' * (len(leaking) > 1)} {', '.join(map(str, leaking))}: test images "
            "have a near-duplicate or a group mate among the training images.",
        )
    if any(not one.audit for one in done):
        yield Refused("No test image was seen in training.", "the split was not audited for duplicates.")
    if _is_transductive(table.methods):
        yield Refused(
            "No method saw the test images before the test.",
            "a pretraining saw them, without labels (pretrain.data = all).",
        )
    tested = tested_on(table.methods[0].units[0].spec.dataset.params)
    yield Refused(
        "The methods generalise to other hospitals, devices or populations.",
        f"they were {tested} alone: one further place is no sample of places."
        if tested
        else "all test images are from the same data set as the training images.",
    )
    yield Refused(
        "Our method is better than published results on this data set.",
        "published numbers are from other splits and another protocol; `bench table --reported` shows them "
        "beside, they do not compete.",
    )


def _is_transductive(methods: Sequence[Method]) -> bool:
    for method in methods:
        for one in method.done.values():
            start = getattr(one.spec, "start", None)
            if start is not None and start.pretrain.data == "all":
                return True
    return False


# --- as text -----------------------------------------------------------------------------------------


def as_text(found: Sequence[Claims]) -> str:
    """Plain lines, one a sentence."""
    blocks = []
    for claims in found:
        lines = [claims.where, "", "may be written:"]
        lines += [f"  {sentence}" for sentence in claims.may] or ["  nothing yet"]
        lines += ["", "may not:"]
        for refused in claims.may_not:
            lines += [f'  "{refused.sentence}"', f"      because {refused.reason}"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
