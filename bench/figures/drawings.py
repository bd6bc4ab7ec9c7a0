"""The kinds of figures there are, and those that apply to stored results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.comparison.compare import Question, Table
from bench.errors import BenchError, UnknownName
from bench.figures import amounts, cost, critical, decision, forest, learning, operating, ranks, reliability
from bench.figures import confusion as confusions
from bench.figures.drawing import Drawing
from bench.figures.kinds import ABOUT
from bench.figures.material import Material, NothingToDraw
from bench.registry import Registry
from bench.results.record import Record


class Kind(NamedTuple):
    """A kind of figure of one table.

    Attributes:
        name: as `bench figure NAME` takes it.
        make: its drawings; raises NothingToDraw where there is nothing for it.
    """

    name: str
    make: Callable[[Material], Sequence[Drawing]]


class Overview(NamedTuple):
    """A kind of figure over all tables, as `Kind`."""

    name: str
    make: Callable[[Sequence[Material]], Sequence[Drawing]]


KINDS = (
    Kind(forest.NAME, forest.forest),
    Kind(ranks.NAME, ranks.ranks),
    Kind(operating.ROC, operating.roc),
    Kind(operating.ROC_CLASSES, operating.roc_classes),
    Kind(operating.PR, operating.precision_recall),
    Kind(operating.PR_CLASSES, operating.precision_recall_classes),
    Kind(confusions.NAME, confusions.confusion),
    Kind(reliability.NAME, reliability.reliability_diagrams),
    Kind(decision.NAME, decision.decision),
    Kind(cost.GMACS, cost.by_operations),
    Kind(cost.SECONDS, cost.by_training_time),
    Kind(learning.PRETRAINING, learning.pretraining_losses),
    Kind(learning.FINETUNING, learning.finetuning_losses),
    Kind(learning.VALIDATION, learning.validation_accuracy),
)
OVERVIEWS = (
    Overview(amounts.SHARES, amounts.by_share),
    Overview(amounts.EPOCHS, amounts.by_epochs),
    Overview(amounts.ABLATION, amounts.ablation),
    Overview(critical.NAME, critical.critical),
)


class Made(NamedTuple):
    """Drawings, and why kinds that these results are for could not be made."""

    drawings: list[Drawing]
    problems: list[str]


def drawings(
    table: Table, results: Path, registry: Registry, question: Question, records: Sequence[Record] = ()
) -> list[Drawing]:
    """The figures that apply to one table of the folder `results`, whose `records` figures of trainings and
    costs are drawn from. What cannot be made is left out; `drawings_of` says why."""
    material = Material(table=table, results=results, registry=registry, question=question, records=records)
    return drawings_of(material).drawings


def drawings_of(material: Material) -> Made:
    """All kinds of one table."""
    return _made([(kind.name, partial(kind.make, material)) for kind in KINDS])


def drawings_over(materials: Sequence[Material]) -> Made:
    """All kinds over several tables."""
    return _made([(kind.name, partial(kind.make, materials)) for kind in OVERVIEWS if materials])


def _made(kinds: Sequence[tuple[str, Callable[[], Sequence[Drawing]]]]) -> Made:
    made: list[Drawing] = []
    problems: dict[str, list[str]] = {}
    for name, make in kinds:
        try:
            made += make()
        except NothingToDraw:
            continue
        except BenchError as error:  # a metric that fails, or a file that cannot be read, takes no other down
            problems.setdefault(str(error), []).append(name)
    return Made(made, [f"{', '.join(names)}: not drawn, {error}" for error, names in problems.items()])


def make(name: str, materials: Sequence[Material]) -> list[Drawing]:
    """One kind, of all of these tables. Raises UnknownName for a kind that there is not, NothingToDraw where
    no table has anything for it, and what reading predictions raises."""
    for overview in OVERVIEWS:
        if overview.name == name:
            return list(overview.make(materials))
    found = [kind for kind in KINDS if kind.name == name]
    if not found:
        raise UnknownName("figure", name, ABOUT)
    made: list[Drawing] = []
    reasons: dict[str, None] = {}
    for material in materials:
        try:
            made += found[0].make(material)
        except NothingToDraw as nothing:
            reasons[str(nothing)] = None
    if not made:
        raise NothingToDraw("; ".join(reasons))
    return made
