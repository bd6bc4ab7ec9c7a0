"""What the digits of a published table allow, in exact arithmetic.

An accuracy is a whole number of images over their number, which few printed values are for a small test set;
a check of means of whole numbers by their printed digits is known as GRIM (Brown and Heathers 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Literal

Relation = Literal["equal", "below", "above"]

LARGEST_SEARCHED = 10_000


def step(value: Decimal) -> Fraction:
    """One unit of the last printed digit: 1/10000 for 0.7877."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # a finite number's
    return Fraction(10) ** min(0, exponent)


def nearest_hits(value: Decimal, images: int) -> int:
    """The k, 0 to `images`, for which k / images is nearest to a printed accuracy."""
    return min(images, max(0, round(Fraction(value) * images)))


def attainable(value: Decimal, images: int) -> bool:
    """Whether some k / images rounds to a printed accuracy; a tie may have been rounded either way."""
    hits = nearest_hits(value, images)
    return abs(Fraction(hits, images) - Fraction(value)) <= step(value) / 2


def smallest_size(values: Sequence[Decimal], rounds: int = 1) -> int | None:
    """The fewest images a round, at least 2, with which every one of these printed accuracies is attainable
    as a mean over so many rounds; None if that takes more than 10,000."""
    return next(
        (
            size
            for size in range(2, LARGEST_SEARCHED + 1)
            if all(attainable(value, rounds * size) for value in values)
        ),
        None,
    )


def harmonic_mean(precision: Fraction, recall: Fraction) -> Fraction:
    """Of two numbers that are not negative; 0 if both are 0."""
    total = precision + recall
    return 2 * precision * recall / total if total else Fraction(0)


def against_harmonic_mean(f1: Decimal, precision: Decimal, recall: Decimal) -> Relation:
    """How a printed F1 stands to the harmonic mean of the printed precision and recall: "equal" if rounding
    explains any difference.

    The mean of per-class F1 is never above the harmonic mean of mean precision and mean recall over the same
    classes with the same weights (Opitz and Burst 2019, "Macro F1 and Macro F1", arXiv 1911.03347), because
    the harmonic mean is concave; and so neither is a mean over rounds. What is "above" is neither.
    """
    ends = [
        harmonic_mean(*(max(Fraction(0), Fraction(v) + sign * step(v) / 2) for v in (precision, recall)))
        for sign in (-1, 1)
    ]
    if Fraction(f1) + step(f1) / 2 < ends[0]:
        return "below"
    return "above" if Fraction(f1) - step(f1) / 2 > ends[1] else "equal"
