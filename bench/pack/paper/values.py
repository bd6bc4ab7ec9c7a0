"""Numbers as a paper prints them: a value, what stands beside it, and whether a result rounds to that."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from bench.evidence.printed import step
from bench.pack.paper.plain import DASHES

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?"
_PRINTED = re.compile(
    rf"(?P<value>{_NUMBER})?"
    r"(?:\((?P<last>\d+)\)"  # of siunitx: 0.812(12)
    rf"|\s*±\s*(?P<sd>{_NUMBER})"
    rf"|\s*\(\s*(?:±|SD|sd)?\s*(?P<bracket>{_NUMBER})\s*\))?"
    r"(?:\s*,?\s*(?:CI)?[:\s]*[\[({]\s*(?:CI)?[:,\s]*[\[({]?\s*"
    rf"(?P<low>{_NUMBER})\s*(?:,|;|-|to)\s*(?P<high>{_NUMBER})\s*[\])}}]\s*[\])}}]?)?"
)
_LEVEL = re.compile(r"\d\d(?:\.\d+)?\s*%?\s*CI")
_MARKS = re.compile(r"[*†‡§¶↑↓✓]+|(?<=\d)\s*[a-d](?![\w])")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?")
NOTHING = ("", "-", "--", "n/a", "na", "n.a.", "nan", "none", "…")
_SLACK = 1e-10
"""What another processor's order of the same sums may change, relative to the number."""


@dataclass(frozen=True, kw_only=True)
class Printed:
    """The numbers of one cell.

    Attributes:
        value: the number itself; None where only what stands beside it is printed.
        spread: after ±, or in brackets alone.
        interval: the ends of one.
        percent: whether the cell has the sign.
    """

    value: Decimal | None = None
    spread: Decimal | None = None
    interval: tuple[Decimal, Decimal] | None = None
    percent: bool = False

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return (self.value is not None) + (self.spread is not None) + 2 * (self.interval is not None)


def parse_printed(text: str) -> Printed | None:
    """The numbers of a cell; None for what is no number, or a number with other text."""
    text = _LEVEL.sub("CI", text)
    percent = "%" in text
    cleaned = re.sub(f"[{DASHES}]", "-", text).replace("%", "").replace("+/-", "±").replace("+-", "±")
    cleaned = " ".join(_MARKS.sub("", cleaned).split())
    if _THOUSANDS.fullmatch(cleaned):
        cleaned = cleaned.replace(",", "")
    match = _PRINTED.fullmatch(cleaned)
    if match is None or not any(match.groups()):
        return None
    value = Decimal(match["value"]) if match["value"] else None
    spread = Decimal(match["sd"] or match["bracket"]) if match["sd"] or match["bracket"] else None
    if match["last"] and value is not None:
        unit = step(value)
        spread = Decimal(match["last"]) * Decimal(unit.numerator) / Decimal(unit.denominator)
    interval = (Decimal(match["low"]), Decimal(match["high"])) if match["low"] else None
    return Printed(value=value, spread=spread, interval=interval, percent=percent)


def is_nothing(text: str) -> bool:
    """Whether a cell says that it has no number."""
    return re.sub(f"[{DASHES}]", "-", text).strip().lower() in NOTHING


def rounds_to(true: float, printed: Decimal, scale: int) -> bool:
    """Whether `scale` times a number rounds to the printed digits; a tie may have been rounded either way."""
    if not math.isfinite(true):
        return False
    exact = Fraction(true) * scale
    slack = Fraction(_SLACK) * max(Fraction(1), abs(exact))
    return abs(exact - Fraction(printed)) <= step(printed) / 2 + slack


def as_printed(true: float, printed: Decimal, scale: int) -> str:
    """A number with as many decimals as the printed one."""
    exponent = printed.as_tuple().exponent
    assert isinstance(exponent, int)  # a finite number's
    if exponent < -8:
        return repr(true * scale)
    return f"{true * scale:.{max(0, -exponent)}f}"
