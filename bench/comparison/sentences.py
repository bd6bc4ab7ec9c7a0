"""Differences in plain English, with all that a reader needs to judge them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from bench.comparison.compare import Compared, Question
from bench.comparison.difference import Difference, Verdict
from bench.comparison.remedies import what_would_do
from bench.interfaces.metric import Metric

MINUS = "\N{MINUS SIGN}"
UNDECIDED = (Verdict.ONE_ROUND, Verdict.TWO_ROUNDS, Verdict.NO_SPREAD)


def paragraph(compared: Compared, one: Difference, question: Question, checks: Mapping[str, float]) -> str:
    """One difference. `checks` are p values of other tests, by what they are called."""
    metric, count = question.metric, len(one.rounds)
    head = f"{compared.where}, {metric.title}, {rounds_text(count)}: "
    sentences = [head + finding(metric, one), *uncertainty(metric, one)]
    sentences += [f"Cross-check, {name}: p {p_text(p)}." for name, p in checks.items()]
    sentences.append(f"It rests on {compared.basis}.")
    if not one.resampled:
        sentences.append(
            f"{metric.title} cannot be computed on resampled images (its plugin gives neither of_counts nor "
            "of_weights), so this is the corrected resampled t test, which finds few differences."
        )
    if one.left_out:
        rounds = ", ".join(map(str, one.left_out))
        sentences.append(f"Left out because only one of them has it: round {rounds}.")
    sentences.append(_standing(compared, one, question))
    return " ".join(filter(None, sentences))


def rounds_text(count: int) -> str:
    """ "1 round", "5 rounds"."""
    return f"{count} round{'s' * (count != 1)}"


def amount(metric: Metric, value: float, signed: bool = False) -> str:
    """A difference in points of a metric between 0 and 1, else in the metric's unit."""
    number = f"{100 * value:.1f}" if in_points(metric) else f"{value:.4f}"
    number = number.replace("-", MINUS)
    return f"+{number}" if signed and value > 0 else number


def in_points(metric: Metric) -> bool:
    """Whether differences are said in points: hundredths of a share."""
    return metric.bounds == (0, 1)


def unit(metric: Metric) -> str:
    """ " points", or nothing."""
    return " points" if in_points(metric) else ""


def p_text(p: float) -> str:
    """ "= 0.034", "< 0.001"."""
    if math.isnan(p):
        return "not defined"
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def finding(metric: Metric, one: Difference) -> str:
    """The verdict on one difference in a sentence, with its interval."""
    first, second = (
        f"{name} ({score:.4f})" for name, score in zip((one.first, one.second), one.scores, strict=True)
    )
    by = f"{amount(metric, abs(one.value))}{unit(metric)}"
    if not math.isnan(one.p):
        ends = (one.ends.low, one.ends.high) if one.value >= 0 else (-one.ends.high, -one.ends.low)
        by += f" (95 % interval {amount(metric, ends[0])} to {amount(metric, ends[1])}"
        by += ")" if one.verdict in UNDECIDED else f", p {_p_of(one)})"
    mark = f" ({len(one.rounds)} rounds are few)" if one.few_rounds else ""
    if one.verdict in (Verdict.BETTER, Verdict.WORSE):
        ahead, behind = (first, second) if one.verdict is Verdict.BETTER else (second, first)
        return f"{ahead} is better than {behind}, by {by}{mark}."
    apart = "level with" if not one.value else "ahead of" if one.value > 0 else "behind"
    verdict = f"{'No verdict' if one.verdict in UNDECIDED else 'Verdict'}: {one.verdict.value}"
    return f"{first} is {apart} {second}{' by ' if one.value else ', difference '}{by}. {verdict}{mark}."


def _p_of(one: Difference) -> str:
    if one.comparisons == 1:
        return p_text(one.p)
    return f"{p_text(one.adjusted)} after Holm over {one.comparisons} comparisons"


def uncertainty(metric: Metric, one: Difference) -> list[str]:
    """How probable a relevant difference is, what such a study finds, and what would show more; nothing where
    there is no verdict."""
    if one.verdict in UNDECIDED:
        return []
    margin = f"{amount(metric, one.margin)}{unit(metric)}"
    better, equal, worse = (share(p) for p in one.against)
    images = one.image_share
    if images >= 0.5:
        rests = f"{share(images)} of the variance comes from the test images: more images would help most"
    else:
        rests = f"{share(1 - images)} of the variance comes from training: more rounds would help most"
    return [
        f"{one.first} better by more than {margin}: {better}; practically equal: {equal}; worse by more: "
        f"{worse}.",
        f"Such a study finds a true difference of {amount(metric, one.detectable)}{unit(metric)} in four of "
        f"five cases; {rests}.",
        *_remedy(metric, one),
    ]


def _remedy(metric: Metric, one: Difference) -> list[str]:
    """What would have shown a difference as large as the one observed, where none was shown. One within the
    margin need not be shown: the margin stands for it."""
    if one.verdict is not Verdict.OPEN or not one.resampled:
        return []

    def say(value: float) -> str:
        return f"{amount(metric, value)}{unit(metric)}"

    observed = abs(one.value) > one.margin
    sought = abs(one.value) if observed else one.margin
    remedy = what_would_do(one.design, sought, say)
    which = "as large as the one observed" if observed else f"of {say(sought)}, the margin,"
    return [f"To find a difference {which} in four of five cases: {remedy}."] if remedy else []


def _standing(compared: Compared, one: Difference, question: Question) -> str:
    """Whether this is what the study set out to show."""
    if compared.is_declared:
        return "Metric and comparison were declared before the study was run."
    if one.verdict in UNDECIDED:
        return ""
    return "Exploratory: no study declared this metric and this comparison before it was run."


def share(value: float) -> str:
    """A probability or part, as whole percent."""
    percent = 100 * value
    if 0 < percent < 1:
        return "under 1 %"
    return "over 99 %" if 99 < percent < 100 else f"{percent:.0f} %"


def nothing_to_compare(compared: Compared, question: Question) -> str:
    """Why rows of one table have no difference."""
    rounds = [set(method.done) for method in compared.methods]
    if any(one & other for one, other in combinations(rounds, 2)):
        return f"{question.metric.title} is not defined in any round that two rows share"
    return "no two rows share a round; run them with the same --rounds"


# --- many --------------------------------------------------------------------------------------------


def matrix(compared: Compared, question: Question) -> str:
    """All differences of one table: a matrix of all pairs, or a line a row where one is the baseline."""
    metric, differences = question.metric, compared.differences
    if not differences:
        return f"{compared.where}: {nothing_to_compare(compared, question)}"
    count = max(len(each.rounds) for each in differences)
    tested = max(each.comparisons for each in differences)
    head = f"{compared.where}, {metric.title}, {rounds_text(count)}"
    head += f": differences in{unit(metric)}" if unit(metric) else ": differences"
    against_one = question.declared.baseline
    lines = _lines(compared, metric) if against_one else _grid(compared, metric)
    legend = []
    if count >= 3:
        legend.append(f"* at 5 %, by Holm's method over {tested} comparison{'s' * (tested != 1)}")
        margin = f"{amount(metric, question.declared.margin)}{unit(metric)}"
        legend.append(f"= practically equal, within {margin}, by two one-sided tests")
        if count < 5:
            legend.append(f"{count} rounds are few")
    else:
        legend.append(f"{rounds_text(count)}: too few for any verdict")
    said = "declared before the study was run" if compared.is_declared else "exploratory: not declared"
    return "\n".join([f"{head} ({said})", *lines, "; ".join(legend), f"Rests on {compared.basis}."])


def _mark(one: Difference) -> str:
    if one.verdict in (Verdict.BETTER, Verdict.WORSE):
        return "*"
    return "=" if one.verdict is Verdict.EQUAL else ""


def _grid(compared: Compared, metric: Metric) -> list[str]:
    """Row less column, where numbers stand for methods in the heading."""
    values = {}
    for one in compared.differences:
        mark = _mark(one)
        values[one.first, one.second] = amount(metric, one.value, signed=True) + mark
        values[one.second, one.first] = amount(metric, -one.value, signed=True) + mark
    names = [method.name for method in compared.methods]
    width = max(8, *(len(text) + 1 for text in values.values()))
    left = max(len(name) for name in names) + len(str(len(names))) + 2
    lines = [" " * left + "".join(f"{i + 1:>{width}}" for i in range(len(names)))]
    for i, name in enumerate(names):
        cells = ["." if other == name else values.get((name, other), "-") for other in names]
        lines.append(f"{i + 1} {name}".ljust(left) + "".join(f"{cell:>{width}}" for cell in cells))
    return lines


def _lines(compared: Compared, metric: Metric) -> list[str]:
    left = max(len(one.first) for one in compared.differences)
    lines = []
    for one in compared.differences:
        low, high = (amount(metric, end, signed=True) for end in one.ends)
        p = "" if one.verdict in UNDECIDED else f"  p {p_text(one.adjusted)}"
        value = amount(metric, one.value, signed=True) + _mark(one)
        lines.append(f"{one.first:<{left}}  {value:>8}  [{low}, {high}]{p}")
    return [f"against {compared.differences[0].second}:", *lines]


def across(found: Sequence[Compared], first: str, second: str) -> str:
    """What two methods' differences on several data sets say together; "" for one."""
    verdicts = [one.verdict for compared in found for one in compared.differences]
    values = [one.value for compared in found for one in compared.differences]
    if len(values) < 2:
        return ""
    ahead, behind = sum(value > 0 for value in values), sum(value < 0 for value in values)
    text = (
        f"Over {len(values)} tables: {first} is ahead of {second} on {ahead}, demonstrably on "
        f"{verdicts.count(Verdict.BETTER)}; behind on {behind}, demonstrably on "
        f"{verdicts.count(Verdict.WORSE)}."
    )
    sets = {next((u.content for u in compared.methods[0].units if u.content), "") for compared in found}
    if len(sets) < len(found):
        return f"{text} Some of them are of the same images, so they are not independent."
    if len(values) < 6:
        text += " Fewer than six data sets allow no test of ranks."
    return text
