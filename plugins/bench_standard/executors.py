"""Ways to work through the units of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bench import Outcome, Progress, Workplace


def local(
    execute: Callable[[Any, Workplace, Callable[[Progress], None]], Outcome],
    units: list[Any],
    workplace: Workplace,
    report: Callable[[Progress], None],
) -> Iterator[Outcome]:
    """Execute the units in the order given, which respects what each needs, in this process."""
    for unit in units:
        yield execute(unit, workplace, report)
