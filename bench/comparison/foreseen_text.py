"""What a planned study can show, in plain English."""

from __future__ import annotations

import math
from pathlib import Path

from bench.comparison.footer import LEAST
from bench.comparison.foreseen import Case, Foreseen, Tested
from bench.comparison.remedies import what_would_do
from bench.comparison.sentences import rounds_text, share
from bench.evidence.design import Design
from bench.evidence.forecast import ENOUGH


def lines(foreseen: Foreseen, results: Path) -> list[str]:
    """One data set's: the question, an answer for each case, what it rests on, what is recommended."""
    tested, sought = foreseen.tested, _points(foreseen.difference)
    of = f"{tested.folds} folds" if tested.folds == tested.rounds else rounds_text(tested.rounds)
    head = (
        f"{foreseen.dataset}, {of}: can it find that the accuracies of two methods truly differ by {sought}?"
    )
    found = [head, _basis(foreseen, results)]
    if tested.rounds < LEAST:
        found.append(f"No: a verdict needs {LEAST} rounds at least.")
    for case in foreseen.cases:
        answer = _answer(case, foreseen)
        if not foreseen.measured:
            answer = f"If two methods disagree on {share(case.noise.disagreement)} of the images: {answer}"
        found.append(answer)
    if foreseen.folds:
        found.append(_alternative(foreseen, foreseen.folds))
    return [found[0], *(f"  {text[:1].upper()}{text[1:]}" for text in found[1:])]


def _basis(foreseen: Foreseen, results: Path) -> str:
    one = foreseen.measured
    if one is None:
        return (
            f"assumed, as the folder {results} holds no two methods on these images: how often they "
            "disagree (exactly one is right); that images of a group, and an image in several rounds, are "
            "alike (so the differences said here are rather too large); that trainings add no variance (what "
            "they add makes them larger)."
        )
    pairs = f"{one.pairs} pair{'s' * (one.pairs != 1)} of methods"
    text = (
        f"measured in {results} on {pairs} over {rounds_text(one.rounds)}: two methods disagree on "
        f"{share(one.noise.disagreement)} of the images (exactly one is right)"
    )
    text += f", under another protocol ({one.protocol})" if one.protocol else ""
    if one.rounds == 1:
        text += "; what trainings add is not known from one round, and makes the differences said here larger"
    if one.rounds < ENOUGH:
        text += (
            f"; fewer than {ENOUGH} rounds cannot tell how alike an image is in several, so it counts as the "
            "same (the differences said here are rather too large)"
        )
    return f"{text}."


def _answer(case: Case, foreseen: Foreseen) -> str:
    smallest = "none" if math.isnan(case.smallest) else f"one of {_points(case.smallest)}"
    text = f"it is found with a probability of {share(case.power)}; {smallest} with 80 %."
    if foreseen.tested.rounds < LEAST:
        text = f"with {LEAST} rounds {text}"
    if foreseen.measured and foreseen.measured.rounds > 1:
        text += f" {_part(case.design)}"
    remedy = _remedy(case.design, foreseen)
    return f"{text} For {_points(foreseen.difference)} with 80 %, {remedy}." if remedy else text


def _part(design: Design) -> str:
    variance = design.variance()
    part = variance.images / variance.total
    if part > 0.995:
        return "All variance seen comes from the test images."
    if part >= 0.5:
        return f"{share(part)} of the variance comes from the test images, the rest from training."
    return f"{share(1 - part)} of the variance comes from training, the rest from the test images."


def _remedy(design: Design, foreseen: Foreseen) -> str:
    tested = foreseen.tested
    which = "test images" if tested.fixed else "images"
    return what_would_do(design, foreseen.difference, _points, tested.images, which)


def _alternative(foreseen: Foreseen, folds: Tested) -> str:
    """What as many trainings on folds would show."""
    smallest = " and ".join(
        "none" if math.isnan(case.folds) else _points(case.folds)
        for case in foreseen.cases
        if case.folds is not None
    )
    if not foreseen.tighter:
        return f"{folds.rounds} folds instead, as many trainings, find {smallest} with 80 %: no better."
    text = (
        f"recommended: {folds.rounds} folds instead, as many trainings, find {smallest} with 80 % "
        f"(--set protocol.split.method=kfold --set protocol.split.folds={folds.rounds})"
    )
    if folds.trained < foreseen.tested.trained - 0.02:
        trained = share(folds.trained), share(foreseen.tested.trained)
        text += f"; each then trains on {trained[0]} of the images, not {trained[1]}"
    return f"{text}."


def _points(value: float) -> str:
    number = f"{100 * value:.1f}".removesuffix(".0")
    return f"{number} point{'s' * (number != '1')}"
