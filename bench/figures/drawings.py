"""The kinds of figures there are, and those that apply to stored results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.comparison.compare import Question, Table
from bench.figures.decision import NAME as DECISION
from bench.figures.decision import decision
from bench.figures.drawing import Drawing
from bench.figures.forest import NAME as FOREST
from bench.figures.forest import forest
from bench.figures.material import Material, NothingToDraw
from bench.figures.operating import (
    PR,
    PR_CLASSES,
    ROC,
    ROC_CLASSES,
    precision_recall,
    precision_recall_classes,
    roc,
    roc_classes,
)
from bench.registry import Registry
from bench.results.record import Record


class Kind(NamedTuple):
    """A kind of figure.

    Attributes:
        name: as `bench figure NAME` takes it.
        about: what it shows, in a line.
        make: its drawings of one table; raises NothingToDraw where there is nothing for it.
    """

    name: str
    about: str
    make: Callable[[Material], Sequence[Drawing]]


KINDS = (
    Kind(FOREST, "means with their intervals, and differences to the baseline", forest),
    Kind(ROC, "ROC curves, mean over classes", roc),
    Kind(ROC_CLASSES, "ROC curves of each class against the rest", roc_classes),
    Kind(PR, "precision-recall curves, mean over classes", precision_recall),
    Kind(PR_CLASSES, "precision-recall curves of each class against the rest", precision_recall_classes),
    Kind(DECISION, "decision curves of each class: net benefit by threshold", decision),
)


def drawings(
    table: Table, results: Path, registry: Registry, question: Question, records: Sequence[Record] = ()
) -> list[Drawing]:
    """The figures that apply to one table of the folder `results`, whose `records` figures of trainings and
    costs are drawn from. Raises StoreError for predictions that cannot be read."""
    material = Material(table=table, results=results, registry=registry, question=question, records=records)
    made: list[Drawing] = []
    for kind in KINDS:
        try:
            made += kind.make(material)
        except NothingToDraw:
            continue
    return made
