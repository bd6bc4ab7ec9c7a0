"""A difference in plain English, with all that a reader needs to judge it."""

from __future__ import annotations

import math

from bench.comparison.difference import Difference, Verdict
from bench.interfaces.metric import Metric

MINUS = "\N{MINUS SIGN}"


def paragraph(where: str, metric: Metric, one: Difference, basis: str) -> str:
    """`where` names the data set, `basis` says what the numbers rest on."""
    count = len(one.rounds)
    head = f"{where}, {metric.title}, {count} round{'s' * (count != 1)}: "
    sentences = [head + _finding(metric, one), *_uncertainty(metric, one), f"It rests on {basis}."]
    if one.left_out:
        rounds = ", ".join(map(str, one.left_out))
        sentences.append(f"Left out because only one of them has it: round {rounds}.")
    return " ".join(sentences)


def amount(metric: Metric, value: float, signed: bool = False) -> str:
    """A difference in points of a metric between 0 and 1, else in the metric's unit."""
    number = f"{100 * value:.1f}" if _in_points(metric) else f"{value:.4f}"
    number = number.replace("-", MINUS)
    return f"+{number}" if signed and value > 0 else number


def _in_points(metric: Metric) -> bool:
    return metric.bounds == (0, 1)


def _unit(metric: Metric) -> str:
    return " points" if _in_points(metric) else ""


def _finding(metric: Metric, one: Difference) -> str:
    first, second = (
        f"{name} ({score:.4f})" for name, score in zip((one.first, one.second), one.scores, strict=True)
    )
    by = f"{amount(metric, abs(one.value))}{_unit(metric)}"
    if not math.isnan(one.p):
        ends = sorted((one.ends.low, one.ends.high)) if one.value >= 0 else (-one.ends.high, -one.ends.low)
        by += f", 95 % interval {amount(metric, ends[0])} to {amount(metric, ends[1])}"
        if one.verdict not in (Verdict.ONE_ROUND, Verdict.TWO_ROUNDS):
            by += f", p {_p(one.p)}"
    if one.verdict in (Verdict.BETTER, Verdict.WORSE):
        ahead, behind = (first, second) if one.verdict is Verdict.BETTER else (second, first)
        mark = " (few rounds)" if one.few_rounds else ""
        return f"{ahead} is better than {behind}{mark}, by {by}."
    apart = "equal to" if not one.value else "ahead of" if one.value > 0 else "behind"
    by = f" by {by}" if one.value else f": {by}"
    mark = " (few rounds)" if one.few_rounds else ""
    return f"{first} is {apart} {second}{by}. Verdict: {one.verdict.value}{mark}."


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def _uncertainty(metric: Metric, one: Difference) -> list[str]:
    if math.isnan(one.p) or one.verdict in (Verdict.ONE_ROUND, Verdict.TWO_ROUNDS):
        return []
    margin = f"{amount(metric, one.margin)}{_unit(metric)}"
    better, equal, worse = (_share(p) for p in one.against)
    images = one.image_share
    if images >= 0.5:
        rests = f"{_share(images)} of the variance comes from the test images: more images would help most"
    else:
        rests = f"{_share(1 - images)} of the variance comes from training: more rounds would help most"
    return [
        f"{one.first} better by more than {margin}: {better}; practically equal: {equal}; worse by more: "
        f"{worse}.",
        f"A study like this finds a true difference of {amount(metric, one.detectable)}{_unit(metric)} in "
        f"four of five cases; {rests}.",
    ]


def _share(value: float) -> str:
    percent = 100 * value
    if 0 < percent < 1:
        return "under 1 %"
    return "over 99 %" if 99 < percent < 100 else f"{percent:.0f} %"
