"""What records know of a checklist's items about models, training and software."""

from __future__ import annotations

from bench.manuscript import evaluation_text, links, training_text
from bench.manuscript.answer import Answer, answered
from bench.manuscript.data_answers import data_sharing
from bench.manuscript.document import Sentence
from bench.manuscript.facts import Comparison, Material, distinct


def model(comparison: Comparison, material: Material) -> Answer:
    """Networks with their cost."""
    return answered(
        training_text.networks(comparison, material),
        "layers and connections, where the cited works do not describe them",
        evidence=links.records(comparison.runs),
    )


def model_building(comparison: Comparison, material: Material) -> Answer:
    """Networks, weights, training, validation."""
    answer = training(comparison, material)
    networks = tuple(training_text.networks(comparison, material))
    return answered(
        (*networks, *answer.says),
        *answer.remains,
        "why these models; how hyperparameters were chosen, and on which images",
        evidence=answer.evidence,
    )


def software(comparison: Comparison, material: Material) -> Answer:
    """Packages with versions."""
    return answered(
        evaluation_text.software(comparison, material), evidence=links.records(comparison.evaluated)
    )


def initialization(comparison: Comparison, material: Material) -> Answer:
    """Strategies and the weights they gave."""
    return answered(
        training_text.initial_weights(comparison, material), evidence=links.records(comparison.runs)
    )


def training(comparison: Comparison, material: Material) -> Answer:
    """Pretraining and fine-tuning, augmentation, how many networks."""
    if not comparison.runs:
        return Answer()
    sentences = [
        *training_text.preparation(comparison),
        *training_text.pretraining(comparison, material),
        *training_text.fine_tuning(comparison, material),
        (f"{len(comparison.pretrainings)} networks were pretrained and {len(comparison.runs)} fine-tuned.",),
    ]
    trained = (*comparison.pretrainings, *comparison.runs)
    return answered(sentences, evidence=links.records(trained))


def selection(comparison: Comparison, material: Material) -> Answer:
    """Which weights of a training were evaluated."""
    sentences = [
        (training_text.SELECTED[choice],)
        for choice in distinct(spec.finetune.selection for spec in comparison.specs)
    ]
    return answered(
        sentences,
        "which model you call the final one and why; how hyperparameters were chosen, and on which images",
        evidence=links.records(comparison.runs),
    )


def ensembling(comparison: Comparison, material: Material) -> Answer:
    """Ensembles, if there are any."""
    if not comparison.ensembles:
        return Answer(remains=("no ensemble is among these results; whether models were combined elsewhere",))
    return answered(
        training_text.ensembles(comparison, material), evidence=links.records(comparison.ensembles)
    )


def protocol(comparison: Comparison, material: Material) -> Answer:
    """The name of the protocol that the study was started with."""
    names = distinct(r.asked.protocol for r in comparison.evaluated if r.asked.protocol)
    sentences: list[Sentence] = [
        (f"Units were computed under the protocol {name}; each record holds all of its values.",)
        for name in names
    ]
    return answered(
        sentences,
        "where the study protocol can be read, or that none was prepared",
        evidence=links.records(comparison.evaluated),
    )


def code_sharing(comparison: Comparison, material: Material) -> Answer:
    """Versions and commit of what computed the results."""
    return answered(
        evaluation_text.software(comparison, material),
        "where your own code, configuration and results can be had",
        evidence=links.records(comparison.evaluated),
    )


def availability(comparison: Comparison, material: Material) -> Answer:
    """Software and data; models are not kept."""
    data, code = data_sharing(comparison, material), code_sharing(comparison, material)
    remains = (
        *data.remains,
        *code.remains,
        "whether trained models can be had: bench keeps none that is fine-tuned",
    )
    return Answer((*code.says, *data.says), tuple(dict.fromkeys(remains)), code.evidence)
