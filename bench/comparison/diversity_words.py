"""Diversity in words, for the terminal and for the report."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bench.comparison.diversity import Diversity, Estimated
from bench.evidence.agreement import MEASURES

READING = (
    "Each value is a mean over rounds, with its 95 % interval from resampled groups of test images. "
    "Disagreement: exactly one of the two is right. Q (Yule's): 0 where errors are independent, 1 where "
    "they coincide, below 0 where they avoid each other. Error correlation: Pearson's, of being wrong. "
    "Double fault: both are wrong.",
    "The oracle counts an image as right if any of the methods gets it right. No rule that picks one of "
    "their answers can be more accurate, and it needs the labels to do so. The best method is the best on "
    "these test images, which flatters it.",
)
"""How to read the numbers."""


def basis(one: Diversity) -> str:
    """What was measured on what."""
    rounds = f"{len(one.rounds)} round{'s' * (len(one.rounds) != 1)}"
    return (
        f"{one.where}: {len(one.methods)} methods, {rounds} of {one.images:.4g} test images, {one.groups} "
        "groups in all"
    )


def bound(one: Diversity) -> str:
    """Oracle, best method and best ensemble, in a sentence."""
    text = (
        f"At least one of the {len(one.methods)} methods is right on {_percent(one.oracle)} of the test "
        f"images (the oracle); the best of them, {one.best}, on {_percent(one.accuracy[one.best])}"
    )
    whole = [ensemble for ensemble in one.ensembles if ensemble.accuracy.rounds == len(one.rounds)]
    if whole:
        best = max(whole, key=lambda ensemble: ensemble.accuracy.value)
        text += f"; the most accurate ensemble of them, {best.name}, on {_percent(best.accuracy)}"
    return f"{text}."


def coverage(one: Diversity) -> Iterator[str]:
    """What was not measured, or in fewer rounds, a sentence each."""
    for number, lacking in one.left_out.items():
        yield f"Round {number} is left out: {', '.join(lacking)} did not finish it."
    for ensemble in one.ensembles:
        if (rounds := ensemble.accuracy.rounds) < len(one.rounds):
            yield f"{ensemble.name} is there in {rounds} of {len(one.rounds)} rounds, and judged by these."
    for name, measure in MEASURES.items():
        fewer = [pair for pair in one.pairs if pair.measures[name].rounds < len(one.rounds)]
        if fewer:
            of = f"of {len(one.rounds)} rounds"
            listed = "; ".join(f"{p.first}, {p.second}: {p.measures[name].rounds} {of}" for p in fewer[:4])
            more = f"; and {len(fewer) - 4} more pairs" if len(fewer) > 4 else ""
            title = f"{measure.title[:1].upper()}{measure.title[1:]}"
            yield f"{title} is not defined everywhere, because cells are empty ({listed}{more})."


def value_text(estimated: Estimated, digits: int = 3) -> str:
    """ "0.154 [0.121, 0.190]"; "undefined" where it is."""
    return " ".join(filter(None, (number_text(estimated, digits), interval_text(estimated, digits))))


def number_text(estimated: Estimated, digits: int = 3) -> str:
    """ "0.154"; "undefined" where it is."""
    return "undefined" if math.isnan(estimated.value) else f"{estimated.value:.{digits}f}"


def interval_text(estimated: Estimated, digits: int = 3) -> str:
    """ "[0.121, 0.190]"; empty where there is none."""
    low, high = estimated.interval
    return "" if math.isnan(low) else f"[{low:.{digits}f}, {high:.{digits}f}]"


def _percent(estimated: Estimated) -> str:
    low, high = (100 * end for end in estimated.interval)
    text = f"{100 * estimated.value:.1f} %"
    return text if math.isnan(low) else f"{text} [{low:.1f}, {high:.1f}]"
