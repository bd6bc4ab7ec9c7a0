"""What records know of a checklist's items about evaluation and its results."""

from __future__ import annotations

from bench.manuscript import evaluation_text, links, partition_text, training_text
from bench.manuscript.answer import Answer, answered
from bench.manuscript.document import Gap, Sentence
from bench.manuscript.facts import Comparison, Material


def metrics(comparison: Comparison, material: Material) -> Answer:
    """The metrics of tables."""
    if not material.metrics:
        return Answer()
    return answered(
        evaluation_text.evaluation(material), "why these metrics, and which of them is the primary one"
    )


def uncertainty(comparison: Comparison, material: Material) -> Answer:
    """Intervals, and tests where there are any; one round says nothing of a method."""
    sentences = list(evaluation_text.statistics(comparison, material))
    if len(comparison.rounds) < 2:
        gaps = [part.text for sentence in sentences for part in sentence if isinstance(part, Gap)]
        return Answer(remains=(*gaps, "uncertainty: one round tells of these trained models alone"))
    return answered(sentences, evidence=links.predictions(comparison.evaluated))


def internal_testing(comparison: Comparison, material: Material) -> Answer:
    """The test part, if the audit says that it shares nothing with the others."""
    verdicts = [data.audit for data in comparison.data.values()]
    sentences: list[Sentence] = [
        ("Models were tested on the test part of the same data set, which was opened once, after training.",),
        *partition_text.sizes(comparison),
        *partition_text.audit(comparison),
    ]
    leaks = any(verdict is not None and verdict.leaks for verdict in verdicts)
    remains = (
        ["what it means that test images have duplicates or group mates in other parts"] if leaks else []
    )
    return answered(sentences, *remains, evidence=links.predictions(comparison.evaluated))


def predictions(comparison: Comparison, material: Material) -> Answer:
    """How a prediction comes about."""
    if not comparison.runs:
        return Answer()
    sentences: list[Sentence] = [
        ("A network gives each image a probability for every class, the softmax of its outputs.",),
        *training_text.preparation(comparison),
    ]
    if comparison.ensembles:
        sentences += training_text.ensembles(comparison, material)
    return answered(sentences, evidence=links.predictions(comparison.evaluated))


def output(comparison: Comparison, material: Material) -> Answer:
    """Probabilities, and the most probable class."""
    return answered(
        [("Models put out a probability for every class.",)],
        "which classification is made of them in use, its thresholds, and why",
        evidence=links.predictions(comparison.evaluated),
    )


def performance(comparison: Comparison, material: Material) -> Answer:
    """Nothing is said: numbers are the manuscript's to report, and a command gives them."""
    command = f"bench table --dataset {comparison.dataset.name}"
    return Answer(
        remains=(
            f"the table that `{command}` computes from stored predictions, with confidence intervals, and "
            "the performance in subgroups",
        )
    )
