"""Tables that differ in one setting alone, so that they can stand on one curve."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from bench.comparison.comparable import splits_of
from bench.comparison.scored import ScoredUnit
from bench.identity import digest

T = TypeVar("T")


def families(
    tables: Sequence[T],
    units: Callable[[T], Sequence[ScoredUnit]],
    key: Callable[[ScoredUnit], list[Any]],
    value: Callable[[T], float],
) -> list[list[T]]:
    """The tables that stand together, each from the smallest value to the largest: `key` of their first
    units is the same, no two have one value, and they have the same split in every round that they share."""
    found: dict[str, list[list[T]]] = defaultdict(list)
    for one in tables:
        family = found[digest(key(units(one)[0]))]
        for curve in family:
            if all(_fit(one, other, units, value) for other in curve):
                curve.append(one)
                break
        else:
            family.append([one])
    return [sorted(curve, key=value) for family in found.values() for curve in family]


def _fit(one: T, other: T, units: Callable[[T], Sequence[ScoredUnit]], value: Callable[[T], float]) -> bool:
    own, others = splits_of(units(one)), splits_of(units(other))
    return value(one) != value(other) and all(own[n] == others[n] for n in own.keys() & others.keys())
