"""The kinds of figures there are, and those that apply to stored results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.comparison.compare import Question, Table
from bench.figures import amounts, cost, critical, decision, forest, learning, operating, ranks, reliability
from bench.figures import confusion as confusions
from bench.figures.drawing import Drawing
from bench.figures.material import Material, NothingToDraw
from bench.registry import Registry
from bench.results.record import Record


class Kind(NamedTuple):
    """A kind of figure of one table.

    Attributes:
        name: as `bench figure NAME` takes it.
        about: what it shows, in a line.
        make: its drawings; raises NothingToDraw where there is nothing for it.
    """

    name: str
    about: str
    make: Callable[[Material], Sequence[Drawing]]


class Overview(NamedTuple):
    """A kind of figure over all tables, as `Kind`."""

    name: str
    about: str
    make: Callable[[Sequence[Material]], Sequence[Drawing]]


KINDS = (
    Kind(forest.NAME, "means with their intervals, and differences to the baseline", forest.forest),
    Kind(ranks.NAME, "how probable each rank of each row is", ranks.ranks),
    Kind(operating.ROC, "ROC curves, mean over classes", operating.roc),
    Kind(operating.ROC_CLASSES, "ROC curves of each class against the rest", operating.roc_classes),
    Kind(operating.PR, "precision-recall curves, mean over classes", operating.precision_recall),
    Kind(
        operating.PR_CLASSES,
        "precision-recall curves of each class against the rest",
        operating.precision_recall_classes,
    ),
    Kind(confusions.NAME, "confusion matrices: percent of each true class, and counts", confusions.confusion),
    Kind(
        reliability.NAME,
        "reliability diagrams before and after temperature scaling",
        reliability.reliability_diagrams,
    ),
    Kind(decision.NAME, "decision curves of each class: net benefit by threshold", decision.decision),
    Kind(cost.GMACS, "the metric against operations for one image", cost.by_operations),
    Kind(cost.SECONDS, "the metric against training time", cost.by_training_time),
    Kind(learning.PRETRAINING, "loss of every pretraining, by epoch", learning.pretraining_losses),
    Kind(learning.FINETUNING, "loss of every fine-tuning, by epoch", learning.finetuning_losses),
    Kind(
        learning.VALIDATION,
        "validation accuracy by epoch, where weights were chosen by it",
        learning.validation_accuracy,
    ),
)
OVERVIEWS = (
    Overview(amounts.SHARES, "the metric by the share of labels that fine-tuning saw", amounts.by_share),
    Overview(amounts.EPOCHS, "the metric by epochs of pretraining and fine-tuning", amounts.by_epochs),
    Overview(
        amounts.ABLATION, "one method by epochs, a line a data set: the paper's Figure 2", amounts.ablation
    ),
    Overview(critical.NAME, "critical difference diagram over six data sets or more", critical.critical),
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


def drawings_over(
    tables: Sequence[Table],
    results: Path,
    registry: Registry,
    question: Question,
    records: Sequence[Record] = (),
) -> list[Drawing]:
    """The figures that apply to several tables together. Raises as `drawings`."""
    materials = [
        Material(table=one, results=results, registry=registry, question=question, records=records)
        for one in tables
    ]
    made: list[Drawing] = []
    for kind in OVERVIEWS if materials else ():
        try:
            made += kind.make(materials)
        except NothingToDraw:
            continue
    return made
