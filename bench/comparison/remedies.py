"""How many rounds, or how many images, would show a difference, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable

from bench.evidence.design import MOST_FOLDS, Design, images_needed, power, rounds_needed
from bench.evidence.inference import POWER, detectable

UNLIMITED = 10**9  # rounds


def what_would_do(
    design: Design, difference: float, say: Callable[[float], str], images: int = 0, which: str = "images"
) -> str:
    """What would find the difference with a power of 80 %: "about 14 rounds would do, or about 1,900 images
    instead of 780"; "" where the design finds it, or nothing is known.

    `say` writes a difference with its unit, `which` says images of what. Where their number is not given, a
    multiple of them is said.
    """
    now = power(design, difference)
    if math.isnan(now) or now >= POWER:
        return ""
    rounds = rounds_needed(design, difference)
    factor = images_needed(design, difference)
    kind = "folds" if design.folds else "rounds"
    if rounds is not None:
        text = f"about {rounds} {kind} would do"
        if factor is None:
            return f"{text}; more images alone would not, because trainings vary too much"
        return f"{text}, or {_images(factor, images, which)}"
    text = f"no number of {kind} would do{_why(design, difference, say)}"
    if factor is not None:
        return f"{text}; {_images(factor, images, which)} would"
    for more in (10, 20, 50, 100):
        if design.rounds < more <= design.most:
            factor = images_needed(design, difference, more)
            if factor is not None:
                both = f"{more} {kind} of {_images(factor, images, which)}"
                return f"{text}, nor more images alone; {both} would"
    return f"{text}, nor more images: trainings vary too much"


def _why(design: Design, difference: float, say: Callable[[float], str]) -> str:
    if design.folds:
        return f" ({MOST_FOLDS}, the most, find {say(detectable(design.at(MOST_FOLDS).variance()))})"
    limit = design.at(UNLIMITED).variance()
    if detectable(limit) <= difference:
        return f" up to {design.most}"
    cause = "the images set" if limit.images >= limit.training else "trainings on overlapping images set"
    return f" ({cause} a limit of {say(detectable(limit))})"


def _images(factor: float, images: int, which: str) -> str:
    if not images:
        return f"{math.ceil(10 * factor - 0.001) / 10:,.1f} times as many {which}"
    return f"about {_rounded(factor * images):,} {which} instead of {images:,}"


def _rounded(count: float) -> int:
    """Up, to two digits that count."""
    unit: int = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return math.ceil(count / unit) * unit
