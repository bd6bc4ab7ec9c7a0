"""Sentences about networks and how they were trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bench.identity import Ref
from bench.manuscript.bibliography import OPTIMIZER, SCHEDULE, find
from bench.manuscript.document import Cite, Gap, Part, Section, Sentence, listed
from bench.manuscript.facts import Comparison, Material, distinct, shared_by
from bench.manuscript.partition_text import percent
from bench.results.record import Record
from bench.study.protocol import Pretraining
from bench.study.spec import RunSpec

SELECTED = {
    "last": "The weights of the last epoch were evaluated.",
    "best": "The weights of the epoch with the highest validation accuracy were evaluated.",
}
"""What `finetune.selection` means."""


def training_sections(comparison: Comparison, material: Material) -> Iterator[Section]:
    """Input, networks, where their weights come from, pretraining if there is any, fine-tuning, ensembles."""
    yield Section("Image preparation", tuple(preparation(comparison)))
    yield Section("Networks", tuple(networks(comparison, material)))
    yield Section("Initial weights", tuple(initial_weights(comparison, material)))
    if comparison.starts:
        yield Section("Pretraining", tuple(pretraining(comparison, material)))
    if comparison.specs:
        yield Section("Fine-tuning", tuple(fine_tuning(comparison, material)))
    if comparison.ensembles:
        yield Section("Ensembles", tuple(ensembles(comparison, material)))


# --- input -------------------------------------------------------------------------------------------


def preparation(comparison: Comparison) -> Iterator[Sentence]:
    """From file to input, for training and evaluation."""
    for (size, settings), specs in shared_by(comparison.specs, lambda spec: (spec.size, spec.finetune)):
        whose = _of_some(comparison, specs)
        yield (
            f"Images were read as 8-bit pixels{whose}. For fine-tuning their shorter side was resized to "
            f"{settings.resize} pixels by antialiased bilinear filtering, and a random square of {size} "
            f"pixels was cut out and mirrored horizontally with a probability of {settings.flip:g}; for "
            f"evaluation the shorter side was resized to {size} pixels, and the central square was used.",
        )
    for budget, _ in shared_by(comparison.starts, lambda start: start.pretrain):
        yield (
            f"Pretraining saw squares of {_sides(comparison)} pixels, resized from random crops of "
            f"{percent(budget.scale[0])} to {percent(budget.scale[1])} of the area, with aspect ratios from "
            f"3/4 to 4/3, of images whose shorter side was {budget.resize} pixels, mirrored with a "
            f"probability of {budget.flip:g}.",
        )
    yield from pixels(comparison)


def _sides(comparison: Comparison) -> str:
    return listed(str(size) for size in distinct(start.size for start in comparison.starts))


def pixels(comparison: Comparison) -> Iterator[Sentence]:
    """What was subtracted from the pixels, and what they were divided by."""
    known = [(r, r.normalization) for r in comparison.runs if r.normalization is not None]
    if len(known) < len(comparison.specs):
        yield (Gap("what was subtracted from the pixels of each channel, and what they were divided by"),)
    groups = shared_by(known, lambda pair: pair[1])
    for values, pairs in groups:
        models = distinct(r.spec.model.name for r, _ in pairs if isinstance(r.spec, RunSpec))
        whose = f" for {listed(models)}" if len(groups) > 1 else ""
        yield (
            f"From the pixels of each channel, scaled to 0 to 1, the mean {_triple(values.mean)} was "
            f"subtracted{whose}, and the result was divided by {_triple(values.std)}.",
        )


def _triple(values: Iterable[float]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"


# --- networks ----------------------------------------------------------------------------------------


def networks(comparison: Comparison, material: Material) -> Iterator[Sentence]:
    """Each network: what it is, its parameters, its cost."""
    for ref in distinct(spec.model for spec in comparison.specs):
        runs = [r for r in comparison.runs if isinstance(r.spec, RunSpec) and r.spec.model == ref]
        yield (*_named("model", ref, material), f"{_set(ref)}{_cost(runs)}.")
        if not material.works.components.get(("model", ref.name)):
            yield (Gap(f"a reference for the network {ref.name}"),)
        yield from _newer("model", ref, material)


def _cost(runs: Iterable[Record]) -> str:
    cost = next((record.cost for record in runs if record.cost is not None), None)
    if cost is None:
        return ""
    texts = []
    if cost.params is not None:
        texts.append(f"{cost.params / 1e6:.2f} million parameters")
    if cost.macs is not None:
        at = f" of {cost.size} by {cost.size} pixels" if cost.size else ""
        texts.append(f"{cost.macs / 1e9:.3g} billion multiply-adds for one image{at}, counted by fvcore")
    return f", with {listed(texts)}" if texts else ""


def _named(kind: str, ref: Ref, material: Material) -> Sentence:
    """A component's name with what it is and whose work it is."""
    registered = find(kind, ref.name, material.registry)
    about = f" ({registered.component.about})" if registered else ""
    gap: tuple[Part, ...] = ()
    if registered is None:
        gap = (" ", Gap(f"what {ref.name} is: its plugin is not installed here"))
    return (f"{ref.name}{about}", *gap, Cite(material.works.components.get((kind, ref.name), ())))


def _set(ref: Ref) -> str:
    if not ref.params:
        return ""
    return f", with {listed(f'{name} = {value}' for name, value in ref.params.items())}"


def _newer(kind: str, ref: Ref, material: Material) -> Iterator[Sentence]:
    registered = find(kind, ref.name, material.registry)
    if registered and registered.component.revision != ref.revision:
        yield (
            Gap(
                f"whether this describes {ref.name}: results are of its revision {ref.revision}, installed "
                f"is revision {registered.component.revision}"
            ),
        )


# --- weights -----------------------------------------------------------------------------------------


def initial_weights(comparison: Comparison, material: Material) -> Iterator[Sentence]:
    """Each strategy: what it is, its parameters, and which weights it gave."""
    for ref, specs in shared_by(comparison.specs, lambda spec: spec.strategy):
        kind = "self-supervised pretraining, see below" if any(spec.start for spec in specs) else ""
        yield (*_named("strategy", ref, material), f"{_set(ref)}{f': {kind}' if kind else ''}.")
        yield from _newer("strategy", ref, material)
        if kind:
            continue
        keys = {spec.key for spec in specs}
        runs = [record for record in comparison.runs if record.key in keys]
        for weights, of_it in shared_by(runs, lambda record: record.weights or ""):
            models = listed(distinct(r.spec.model.name for r in of_it if isinstance(r.spec, RunSpec)))
            if weights:
                yield (f"The weights of {models} were, by its records: {weights}.",)
            else:
                yield (Gap(f"which weights {models} started from with {ref.name}"),)


# --- training ----------------------------------------------------------------------------------------


def pretraining(comparison: Comparison, material: Material) -> Iterator[Sentence]:
    """Each budget: images, epochs, batches, optimiser, learning rate."""
    parts = {
        "train": "the images of the training part",
        "train+val": "the images of the training and the validation part",
        "all": "all images, those of the test part included (which makes it transductive)",
    }
    for budget, starts in shared_by(comparison.starts, lambda start: start.pretrain):
        keys = {start.key for start in starts}
        specs = [spec for spec in comparison.specs if spec.start and spec.start.key in keys]
        methods = listed(distinct(comparison.method(spec) for spec in specs))
        peak = budget.learning_rate * budget.batch / 256
        yield (
            f"{methods}: networks were pretrained without labels on {parts[budget.data]}{_pool(budget)}, for "
            f"{budget.epochs} epochs in batches of {budget.batch} images, with AdamW",
            Cite((material.works.packages[OPTIMIZER],)),
            f" (β = {_triple(budget.betas)}; weight decay {budget.weight_decay:g}, not of biases and norms).",
        )
        yield (
            f"The learning rate was {budget.learning_rate:g} for 256 images a step, that is {peak:.3g} for "
            f"{budget.batch}; it ",
            *_schedule(budget.warmup, material),
        )
    yield from _accumulated(comparison.pretrainings, "pretraining")


def fine_tuning(comparison: Comparison, material: Material) -> Iterator[Sentence]:
    """Each budget: epochs, batches, loss, optimiser, learning rate, which weights were evaluated."""
    for budget, specs in shared_by(comparison.specs, lambda spec: spec.finetune):
        yield (
            "All networks were fine-tuned with the labels of "
            f"{_labelled(comparison, budget.share)}the training part{_of_some(comparison, specs)}, for "
            f"{budget.epochs} epochs in batches of {budget.batch} images, with the mean cross-entropy as "
            "loss and AdamW",
            Cite((material.works.packages[OPTIMIZER],)),
            f" (β = {_triple(budget.betas)}; weight decay {budget.weight_decay:g}, not of biases and norms).",
        )
        if budget.share != 1:
            yield (
                "The images with labels were drawn once a round, in whole groups and stratified by class; "
                "they were the same for all networks, and are among those of every larger share.",
            )
        yield (f"The learning rate was {budget.learning_rate:g}; it ", *_schedule(budget.warmup, material))
        yield (SELECTED[budget.selection],)
    yield from _accumulated(comparison.runs, "fine-tuning")


def _pool(budget: Pretraining) -> str:
    if not budget.pool:
        return ""
    return (
        f" and on further images without labels (digest of their pixels {budget.pool}), without those that "
        "an audit found to be duplicates of validation or test images"
    )


def _labelled(comparison: Comparison, share: float) -> str:
    """ "10 % of the images (54) of "; empty for all images."""
    if share == 1:
        return ""
    known = [sum(n.images for n in d.labelled.values()) for d in comparison.data.values() if d.labelled]
    count = f" ({sum(known) / len(known):.4g}{' on average' * (len(set(known)) > 1)})" if known else ""
    return f"{percent(share)} of the images{count} of "


def _schedule(warmup: float, material: Material) -> Sentence:
    rise = f"rose linearly over the first {percent(warmup)} of all steps, then " if warmup else ""
    return (f"{rise}fell to 0 by half a cosine", Cite((material.works.packages[SCHEDULE],)), ".")


def _accumulated(records: Iterable[Record], what: str) -> Iterator[Sentence]:
    split = [record for record in records if (record.accumulate or 1) > 1]
    if split:
        most = max(record.accumulate or 1 for record in split)
        yield (
            f"Because memory ran out, {len(split)} unit{'s' * (len(split) != 1)} of {what} "
            f"did each step in up to {most} parts, over which gradients were added up.",
        )


def _of_some(comparison: Comparison, specs: list[RunSpec]) -> str:
    """Which methods a sentence is about, where it is not about all of them."""
    if len(specs) == len(comparison.specs):
        return ""
    return f" ({listed(distinct(comparison.method(spec) for spec in specs))})"


# --- ensembles ---------------------------------------------------------------------------------------


def ensembles(comparison: Comparison, material: Material) -> Iterator[Sentence]:
    """Each rule of combination and its ensembles."""
    for ref, specs in shared_by(comparison.ensemble_specs, lambda spec: spec.ensemble):
        names = listed(distinct(comparison.method(spec) for spec in specs))
        yield (*_named("ensemble", ref, material), f"{_set(ref)}, combined finished runs: {names}.")
        yield from _newer("ensemble", ref, material)
    yield (
        "A rule of combination could see the members' predictions of the validation part, and none of the "
        "test part.",
    )
