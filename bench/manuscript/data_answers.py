"""What records know of a checklist's items about images and partitions."""

from __future__ import annotations

from collections.abc import Iterator

from bench.interfaces.dataset import Dataset
from bench.manuscript import data_text, links, partition_text, training_text
from bench.manuscript.answer import Answer, answered
from bench.manuscript.bibliography import find
from bench.manuscript.document import Sentence, listed
from bench.manuscript.facts import Comparison, Material, distinct


def data_sources(comparison: Comparison, material: Material) -> Answer:
    """The data set with its reference and terms of use."""
    return answered(
        _origin(comparison, material),
        "where, when and from whom these images were acquired, and whom they represent",
    )


def data_sharing(comparison: Comparison, material: Material) -> Answer:
    """The data set, its home and terms of use."""
    return answered(_origin(comparison, material), "how others can get the very images that you used")


def _origin(comparison: Comparison, material: Material) -> Iterator[Sentence]:
    yield from data_text.source(comparison, material)
    registered = find("dataset", comparison.dataset.name, material.registry)
    if registered and isinstance(registered.component, Dataset) and registered.component.home:
        yield (f"Its home is {registered.component.home}.",)


def preprocessing(comparison: Comparison, material: Material) -> Answer:
    """From file to input."""
    return answered(training_text.preparation(comparison), evidence=links.records(comparison.runs))


def quality(comparison: Comparison, material: Material) -> Answer:
    """From file to input, and the audit."""
    return answered(
        (*training_text.preparation(comparison), *partition_text.audit(comparison)),
        "whether preparation and quality were alike across sociodemographic groups",
        evidence=(*links.audits(comparison), *links.records(comparison.runs)),
    )


def subsets(comparison: Comparison, material: Material) -> Answer:
    """Images whose duplicates carry another label, the only ones that bench itself leaves out."""
    verdicts = [data.audit for data in comparison.data.values() if data.audit]
    kept_out = max((verdict.kept_out for verdict in verdicts), default=0)
    if not kept_out:
        return Answer(remains=("whether the images are a selection, and how it was made",))
    sentence = (
        f"{kept_out} images whose duplicates carry another label were neither validated nor tested on.",
    )
    return answered([sentence], "any other selection", evidence=links.audits(comparison))


def partitions(comparison: Comparison, material: Material) -> Answer:
    """Rounds, division, sizes."""
    sentences = [*partition_text.division(comparison), *partition_text.sizes(comparison)]
    return answered([*partition_text.rounds(comparison), *sentences], evidence=links.manifests(comparison))


def data_use(comparison: Comparison, material: Material) -> Answer:
    """As `partitions`; TRIPOD+AI asks for the size that was required, too."""
    answer = partitions(comparison, material)
    return Answer(
        answer.says, (*answer.remains, "how sample size requirements were considered"), answer.evidence
    )


def disjointness(comparison: Comparison, material: Material) -> Answer:
    """What was kept together, and what the audit found."""
    settings = partition_text.settings_of(comparison)
    kept: list[Sentence] = []
    if settings and not partition_text.fixed(comparison):
        kept.append((partition_text.together(settings),))
    return answered(
        [*kept, *partition_text.audit(comparison)],
        "what a group is in these data: a patient, a lesion, an examination, or an image",
        evidence=(*links.audits(comparison), *links.manifests(comparison)),
    )


def same_source(comparison: Comparison, material: Material) -> Answer:
    """Whether the parts are random parts of one data set."""
    settings = partition_text.settings_of(comparison)
    if settings is None or partition_text.fixed(comparison) is not False:
        return Answer(remains=("how training and test data differ: setting, eligibility, outcome, images",))
    return answered(
        [("Training and test images are random parts of one data set.",)],
        "whether sites, devices or times of acquisition differ between the parts",
        evidence=links.manifests(comparison),
    )


def numbers(comparison: Comparison, material: Material) -> Answer:
    """Images and groups of each class, sizes of the parts."""
    return answered(
        (*data_text.classes(comparison), *partition_text.sizes(comparison)),
        "numbers of patients, and of those excluded before these images were put together; a flow diagram",
        evidence=links.manifests(comparison),
    )


def per_analysis(comparison: Comparison, material: Material) -> Answer:
    """Images of each class in each part."""
    return answered(
        _distribution(comparison), "numbers of participants", evidence=links.manifests(comparison)
    )


def class_distribution(comparison: Comparison, material: Material) -> Answer:
    """Images of each class in each part, the only characteristic that bench knows of them."""
    return answered(
        _distribution(comparison),
        "demographic and clinical characteristics (age, sex, setting, devices)",
        evidence=links.manifests(comparison),
    )


def _distribution(comparison: Comparison) -> Iterator[Sentence]:
    known = {number: data.counts for number, data in comparison.data.items() if data.counts}
    for number, counts in known.items():
        parts = "; ".join(
            f"{part}: " + ", ".join(f"{name} {count.images}" for name, count in by_class.items())
            for part, by_class in counts.items()
        )
        yield (f"Images in round {number}: {parts}.",)


def outcome(comparison: Comparison, material: Material) -> Answer:
    """The classes."""
    names = next((list(next(iter(d.counts.values()))) for d in comparison.data.values() if d.counts), [])
    sentences = (
        [(f"The outcome is one of {len(names)} classes of an image: {listed(names)}.",)] if names else []
    )
    return answered(
        sentences, "how and when these were assessed, why this outcome, consistency across groups"
    )


def predictors(comparison: Comparison, material: Material) -> Answer:
    """Pixels."""
    sizes = listed(f"{size} by {size}" for size in distinct(spec.size for spec in comparison.specs))
    sentences = (
        [(f"The predictors are the pixels of an image, {sizes} in three channels, alone.",)] if sizes else []
    )
    return answered(sentences, "how and when images were acquired", evidence=links.records(comparison.runs))
