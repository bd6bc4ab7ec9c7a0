"""Sentences about how images were divided, and what an audit says of that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.data.audit.verdict import Verdict
from bench.errors import BenchError
from bench.interfaces.selection import external_name, tested_on
from bench.manuscript.document import Code, Gap, Section, Sentence, listed
from bench.manuscript.facts import Comparison, distinct
from bench.manuscript.links import manifests
from bench.parsing import parse
from bench.study.protocol import SplitSettings

PARTS = ("train", "val", "test")
SHOWN = 16  # digits of a hash


def partition_section(comparison: Comparison) -> Section:
    """Rounds, how images were divided, what belongs together, the audit, sizes of the parts, manifests."""
    sentences = [*rounds(comparison), *division(comparison), *audit(comparison)]
    sentences += [*sizes(comparison), *_manifests(comparison)]
    return Section("Partitions", tuple(sentences))


def rounds(comparison: Comparison) -> Iterator[Sentence]:
    """How often all was repeated, and what differed."""
    count = len(comparison.rounds)
    if count == 1:
        yield ("Everything was done once, with one split of the images.",)
        return
    splits = {record.spec.split for record in comparison.evaluated}
    own = "its own split" if len(splits) == count else f"one of {len(splits)} splits"
    rest = "initial weights and order of images"
    yield (f"The comparison was repeated in {count} rounds, each with {own}, {rest}.",)


def settings_of(comparison: Comparison) -> SplitSettings | None:
    """How splits were drawn; None where the records do not say, or say what this version does not know."""
    known = next((d.settings for d in comparison.data.values() if d.settings is not None), None)
    if known is None:
        return None
    try:
        settings: SplitSettings = parse(SplitSettings, known, "split")
    except BenchError:
        return None
    return settings


def fixed(comparison: Comparison) -> bool | None:
    """Whether the data set itself says which part an image is in; None where some record does not say."""
    stated = [data.fixed for data in comparison.data.values()]
    return None if None in stated or not stated else any(stated)


def division(comparison: Comparison) -> Iterator[Sentence]:
    """How images were divided, and what belongs together."""
    settings = settings_of(comparison)
    if settings is None:
        yield (Gap("how images were divided into training, validation and test parts"),)
        return
    if any(path.name.split(".")[1] == "given" for path in manifests(comparison)):
        yield ("The parts were read from split manifests that had been made before; their settings follow.",)
    if fixed(comparison):
        yield (_fixed_parts(comparison),)
        if settings.mend != "none":
            first = "first" if settings.mend == "drop_test" else "last"
            yield (
                "Of a group, or a set of duplicates, with images in several of these parts, only those in "
                f"the {first} of training, validation and test part were kept; the others were left out.",
            )
        return
    yield (_drawn(settings),)
    if fixed(comparison) is None:
        yield (Gap("check that the data set does not fix the parts itself, which these records do not say"),)
    yield (together(settings),)


def _fixed_parts(comparison: Comparison) -> str:
    tested, name = tested_on(comparison.dataset.params), comparison.dataset.name
    if external := external_name(comparison.dataset.params):
        return (
            f"The test part was the whole of another data set, {external} (external test). The validation "
            f"part was drawn from {name}, stratified by class, and the rest of {name} was for training."
        )
    if tested:
        return (
            f"Models were {tested}, with all of its images, and trained on the other sources; the validation "
            "part was drawn from these, stratified by class."
        )
    return (
        "Images were in the training, validation and test parts that the data set itself fixes; where it "
        "fixes no validation part, one was drawn from the training part, stratified by class."
    )


def _drawn(settings: SplitSettings) -> str:
    if settings.method == "kfold":
        return (
            f"Images were divided at random into {settings.folds} disjoint folds, stratified by class; each "
            f"round tested on another fold, and {percent(settings.val)} of all images, drawn from the rest, "
            "were for validation."
        )
    return (
        "In each round, images were assigned at random to a training, a validation and a test part, "
        f"stratified by class, with {percent(settings.val)} of all images for validation and "
        f"{percent(settings.test)} for testing."
    )


def together(settings: SplitSettings) -> str:
    """What was kept in one part."""
    if settings.groups == "none":
        return "Each image was assigned by itself, without regard to groups or duplicates."
    if settings.groups == "given":
        return (
            "Images of one group, as the data set names groups, were kept in one part; duplicates were not "
            "looked for when images were assigned."
        )
    places = {
        "train": "were used for training alone",
        "out": "were left out of all parts",
        "anywhere": "were treated like all others",
    }
    return (
        "Images of one group, as the data set names groups, and groups that share duplicates according to "
        "the audit, were kept in one part; images whose duplicates carry another label "
        f"{places[settings.conflicts]}."
    )


def audit(comparison: Comparison) -> Iterator[Sentence]:
    """How duplicates were looked for, and what was found."""
    data = comparison.data
    verdicts = {number: data[number].audit if number in data else None for number in comparison.rounds}
    if without := [number for number, verdict in verdicts.items() if verdict is None]:
        which = _named(without)
        yield (Gap(f"whether duplicates are in more than one part in {which}; the records have no audit"),)
    known = {number: verdict for number, verdict in verdicts.items() if verdict is not None}
    for name in distinct(verdict.audit for verdict in known.values()):
        of_it = {number: verdict for number, verdict in known.items() if verdict.audit == name}
        first = next(iter(of_it.values()))
        yield (_method(first), Code(name[:SHOWN]), ").")
        yield (found(of_it),)
        conflicts = max(verdict.label_conflicts for verdict in of_it.values())
        kept_out = max(verdict.kept_out for verdict in of_it.values())
        if conflicts:
            yield (f"Up to {conflicts} validation and test images have a duplicate with another label.",)
        if kept_out:
            yield (
                f"{kept_out} images whose duplicates carry another label were neither validated nor tested "
                "on.",
            )
        for remark in distinct(remark for verdict in of_it.values() for remark in verdict.remarks):
            yield (f"The audit also found: {remark}.",)


def _method(verdict: Verdict) -> str:
    settings = verdict.settings
    neighbours = f", and nearest neighbours among features of {settings.embed}" if settings.embed else ""
    hashes = f"64-bit perceptual hashes that differ in at most {settings.distance} bits"
    if verdict.revision == 1 or not settings.keypoints:
        return (
            f"Duplicates were looked for in an audit: pairs of images were proposed by {hashes}{neighbours}, "
            f"and confirmed where detail correlates by at least {settings.similarity:g} after a shift (audit "
        )
    return (
        f"Duplicates were looked for in an audit: pairs of images were proposed by {hashes}, and by the SIFT "
        f"keypoints that they share{neighbours}, and confirmed where detail correlates by at least "
        f"{settings.similarity:g} after a shift, or after the affine map on which keypoints agree (audit "
    )


def found(verdicts: dict[int, Verdict]) -> str:
    """What one audit says of the splits of these rounds."""
    leaking = {number: verdict for number, verdict in verdicts.items() if verdict.leaks}
    if not leaking:
        return _nothing_apart(list(verdicts.values()))
    texts = [
        f"round {number}: {verdict.leaking_clusters} sets of duplicates and {verdict.leaking_groups} groups, "
        f"with {verdict.leaked} validation and test images"
        for number, verdict in leaking.items()
    ]
    return f"Some were found in more than one part ({'; '.join(texts)})."


def _nothing_apart(verdicts: Sequence[Verdict]) -> str:
    """What an audit found, where none of it is in more than one part."""
    worst = max(verdicts, key=lambda verdict: verdict.suspects_apart)
    if worst.pairs is None:
        return "No duplicates and no group were found in more than one part."
    text = f"{worst.pairs} pairs of duplicates were found" if worst.pairs else "No duplicates were found"
    if worst.groups or worst.published:
        text += f", and {worst.groups} groups of several images are known"
    text += "; none was in more than one part." if worst.pairs or worst.groups else "."
    if not worst.published:
        text += " Which images are of one patient or lesion is not published."
    if worst.suspects:
        text += (
            f" {worst.suspects} further pairs are alike, of which nobody has decided whether they belong "
            f"together; up to {worst.suspects_apart} of them were in different parts of a round."
        )
    return text


def sizes(comparison: Comparison) -> Iterator[Sentence]:
    """Images of each part."""
    known = [data.counts for data in comparison.data.values() if data.counts]
    if not known:
        return
    means = {
        part: sum(n.images for counts in known for n in counts.get(part, {}).values()) / len(known)
        for part in PARTS
    }
    mean = f", as means over {len(known)} rounds" if len(known) > 1 else ""
    yield (
        f"There were {means['train']:.4g} training, {means['val']:.4g} validation and {means['test']:.4g} "
        f"test images{mean}.",
    )


def _manifests(comparison: Comparison) -> Iterator[Sentence]:
    hashes = {r.spec.round: r.spec.split for r in comparison.evaluated}
    texts = listed(f"{split} (round {number})" for number, split in sorted(hashes.items()))
    yield ("Which image is in which part is frozen in split manifests with the hashes ", Code(texts), ".")


def percent(share: float) -> str:
    """A share from 0 to 1 as a percentage."""
    return f"{100 * share:.4g} %"


def _named(numbers: Sequence[int]) -> str:
    return f"round{'s' * (len(numbers) > 1)} {listed(map(str, numbers))}"
