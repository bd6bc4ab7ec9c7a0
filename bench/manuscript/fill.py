"""Checklists filled from records: each item with what the records of each comparison say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.manuscript.answer import FOR_YOU, FROM_RECORDS, PARTLY, Answer
from bench.manuscript.answers import ANSWERS
from bench.manuscript.checklist import Checklist, Item
from bench.manuscript.facts import Material, telling


class Filled(NamedTuple):
    """An item with what the records of each comparison say, by the comparison's title."""

    item: Item
    answers: tuple[tuple[str, Answer], ...]

    @property
    def state(self) -> str:
        """Of all comparisons together: an item is answered if it is for each of them."""
        states = {answer.state for _, answer in self.answers}
        if states == {FROM_RECORDS}:
            return FROM_RECORDS
        return FOR_YOU if states <= {FOR_YOU} else PARTLY


def fill(checklist: Checklist, material: Material) -> list[Filled]:
    """Each item with what the records say of it. Raises StoreError for a record no version of bench wrote."""
    return [Filled(item, tuple(_answers(item, material))) for item in checklist.items]


def _answers(item: Item, material: Material) -> Iterator[tuple[str, Answer]]:
    for comparison in material.comparisons:
        with telling(comparison):
            answer = ANSWERS[item.answer](comparison, material) if item.answer else Answer()
        yield comparison.heading, answer


def counted(filled: Sequence[Filled]) -> str:
    """How many items are in which state."""
    counts = Counter(each.state for each in filled)
    return ", ".join(f"{counts[state]} {state}" for state in (FROM_RECORDS, PARTLY, FOR_YOU))
