"""One unit of work, from spec to record. A newcomer starts here.

execute(unit)   images -> split -> net -> pretrain or load weights -> fine-tune -> predict -> store.write

`execute` takes plain values and loads the catalog itself, so it works in any process.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from bench import plugins, provenance, store
from bench.errors import BenchError, TrainingError
from bench.spec import EnsembleSpec, PretrainSpec, Ref, RunSpec, UnitSpec, derive_seed, key, to_json
from bench.types import Context, Outcome, Predictions, Report, Workplace
from bench.workbench import (
    ENCODER,
    Training,
    Workbench,
    finetuning,
    initial_weights,
    pretraining,
    set_up,
    within,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.images import Images
    from bench.data.splits import Split
    from bench.engine.loop import History, Job


def execute(spec: UnitSpec, workplace: Workplace, report: Report) -> Outcome:
    """Do one unit and store its record. What a unit can suffer becomes a failure record and an outcome;
    only an interruption passes through."""
    if store.exists(workplace.results, spec):
        return Outcome(spec, "done")
    missing = [need for need in spec.needs if not store.exists(workplace.results, need)]
    if missing:
        return Outcome(
            spec, "blocked", f"needs {', '.join(sorted({m.label for m in missing}))}, which failed"
        )
    started = time.perf_counter()
    try:
        if isinstance(spec, EnsembleSpec):
            combine(spec, workplace)
        else:
            _train_within_memory(spec, workplace, report)
    except Exception as error:
        reason = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
        content = {"asked": dict(workplace.asked), "provenance": _provenance(spec, workplace)}
        store.write_failure(workplace.results, spec, reason, traceback.format_exc(), content)
        return Outcome(spec, "failed", reason, time.perf_counter() - started)
    return Outcome(spec, "done", seconds=time.perf_counter() - started)


def pretrain(spec: PretrainSpec, workplace: Workplace, report: Report, accumulate: int = 1) -> None:
    """Self-supervised pretraining on the images that `spec.pretrain.data` names; stores the encoder."""
    from safetensors.torch import save_file

    desk = set_up(spec, workplace)
    training = pretraining(spec, desk)
    history, job = _optimize(spec, training, desk, workplace, report, accumulate)
    dropped = desk.model.classifier(desk.net)
    encoder = {
        name: value.detach().cpu().contiguous()
        for name, value in desk.net.state_dict().items()
        if not within(name, dropped)
    }
    content = _record(spec, desk, workplace, history, accumulate)
    store.write(
        workplace.results, spec, content, files=lambda folder: save_file(encoder, str(folder / ENCODER))
    )
    _discard(job)


def run(spec: RunSpec, workplace: Workplace, report: Report, accumulate: int = 1) -> None:
    """Fine-tuning from the strategy's weights, then predictions of the validation and test parts.

    The test part is opened only here, after the weights to judge have been chosen.
    """
    desk = set_up(spec, workplace)
    origin = initial_weights(spec, desk, workplace)
    training = finetuning(spec, desk)
    history, job = _optimize(spec, training, desk, workplace, report, accumulate)
    predictions = {part: _predict(desk, desk.split.indices(part), job) for part in ("val", "test")}
    content = _record(spec, desk, workplace, history, accumulate)
    content |= {"weights": origin, "cost": _cost(spec.model, desk.context)}
    store.write(workplace.results, spec, content, predictions=predictions)
    _discard(job)


def combine(spec: EnsembleSpec, workplace: Workplace) -> None:
    """Fit the ensemble on the members' validation predictions and apply it to both parts."""
    import dataclasses

    catalog = plugins.catalog()
    offer = catalog.get("ensembles", spec.ensemble.name)
    folders = [store.path_of(workplace.results, member) for member in spec.members]
    members = {part: [store.read_predictions(f, part) for f in folders] for part in ("val", "test")}
    rule = offer.fit(members["val"], catalog.params("ensembles", spec.ensemble))
    predictions = {
        part: dataclasses.replace(found[0], probabilities=rule([p.probabilities for p in found]))
        for part, found in members.items()
    }
    first = store.read(workplace.results, spec.members[0]).content
    content = {
        "asked": dict(workplace.asked),
        "data": first.get("data", {}),
        "members": [key(member) for member in spec.members],
        "provenance": _provenance(spec, workplace),
        "notes": [],
    }
    store.write(workplace.results, spec, content, predictions=predictions)


# --- the stages --------------------------------------------------------------------------------------


def _train_within_memory(spec: PretrainSpec | RunSpec, workplace: Workplace, report: Report) -> None:
    """Train; where memory runs out, start again with each step in twice as many parts."""
    import torch

    accumulate = 1
    batch = spec.pretrain.batch if isinstance(spec, PretrainSpec) else spec.finetune.batch
    while True:
        try:
            if isinstance(spec, PretrainSpec):
                pretrain(spec, workplace, report, accumulate)
            else:
                run(spec, workplace, report, accumulate)
            return
        except torch.OutOfMemoryError:
            if workplace.shared:  # the executor tries again with fewer units at once
                raise
            if accumulate >= batch:
                raise TrainingError(
                    f"{spec.label}: memory ran out even with one image at a time; "
                    "choose a smaller protocol.size or model, or another --device"
                ) from None
        # Outside the handler, so that the traceback no longer holds the tensors of the failed try.
        accumulate *= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _optimize(
    spec: PretrainSpec | RunSpec,
    training: Training,
    desk: Workbench,
    workplace: Workplace,
    report: Report,
    accumulate: int,
) -> tuple[History, Job]:
    from bench.engine.loop import Job, optimize

    stage = training.stage
    unit = key(spec)
    job = Job(
        unit=spec.label,
        stage=stage,
        seed=derive_seed(spec.seed, spec.dataset.name, spec.round, stage),
        device=desk.device,
        checkpoint=workplace.scratch / "checkpoints" / f"{unit}.{accumulate}.pt",
        report=report,
        precision=spec.precision,
        accumulate=accumulate,
        layouts=workplace.scratch / "layouts",
        compile=workplace.compile,
    )
    validate = None
    if isinstance(spec, RunSpec) and spec.finetune.selection == "best":
        validate = partial(_validation_accuracy, desk, job)
    return optimize(training.module, training.feed, training.budget, job, validate), job


def _validation_accuracy(desk: Workbench, job: Job) -> float:
    found = _predict(desk, desk.split.indices("val"), job)
    return float((found.probabilities.argmax(1) == found.labels).mean())


def _predict(desk: Workbench, indices: NDArray[np.int64], job: Job) -> Predictions:
    from bench.engine import feeds
    from bench.engine.loop import predict

    images, size = desk.images, desk.context.size
    batches = feeds.evaluation(images.view(size), indices, desk.device, size=size)
    return Predictions(
        classes=images.classes,
        ids=tuple(images.ids[i] for i in indices),
        groups=tuple(desk.split.groups[i] for i in indices),
        labels=images.labels[indices],
        probabilities=predict(desk.net, batches, desk.context.normalize, job).numpy(),
    )


# --- the record --------------------------------------------------------------------------------------


def _record(
    spec: PretrainSpec | RunSpec,
    desk: Workbench,
    workplace: Workplace,
    history: History,
    accumulate: int,
) -> dict[str, Any]:
    notes = list(desk.split.notes)
    notes += [f"{offer.name}: {offer.caution}" for offer in (desk.model, desk.strategy) if offer.caution]
    if accumulate > 1:
        notes.append(f"memory ran out: each step was done in {accumulate} parts, which changes batch norm")
    return {
        "asked": dict(workplace.asked),
        "data": describe_data(desk.images, desk.split, spec.dataset),
        "normalization": asdict(desk.context.normalization),
        "history": {"loss": history.losses, "validation_accuracy": history.scores},
        "timings": {
            "seconds": history.seconds,
            "steps": history.steps,
            "resumed_from_epoch": history.resumed_from,
        },
        "accumulate": accumulate,
        "engine": history.engine,  # what was chosen for speed alone
        "provenance": _provenance(spec, workplace),
        "notes": notes,
    }


def describe_data(images: Images, split: Split, dataset: Ref) -> dict[str, Any]:
    """What a record says about its images: content hash, split and counts per part and class."""
    return {
        "title": {**dataset.params, **dataset.local}.get("title") or dataset.name,
        "content": images.content,
        "version": images.version,
        "split": split.hash,
        "settings": to_json(split.settings),
        "audit": asdict(split.verdict) if split.verdict else None,
        "counts": {
            part: {name: list(count) for name, count in by_class.items()}
            for part, by_class in split.counts().items()
        },
    }


def _cost(model: Ref, context: Context) -> dict[str, Any]:
    """Cost of a model at this size, counted once a process."""
    return _cached_cost(model, len(context.classes), context.size)


@lru_cache(maxsize=32)
def _cached_cost(model: Ref, classes: int, size: int) -> dict[str, Any]:
    from bench.cost import measure

    catalog = plugins.catalog()
    context = Context(tuple(str(i) for i in range(classes)), size)
    net = catalog.get("models", model.name).build(catalog.params("models", model), context)
    return asdict(measure(net, size))


def _provenance(spec: UnitSpec, workplace: Workplace) -> dict[str, Any]:
    """Tolerant, because failure records need it too: an offer that is gone is left out."""
    catalog = plugins.catalog()
    sources = []
    for kind, name in _offers(spec):
        try:
            sources.append(catalog.entry(kind, name).source)
        except BenchError:
            continue
    return provenance.describe(sources, workplace.device, workplace.threads)


def _offers(spec: UnitSpec) -> Iterator[tuple[str, str]]:
    if isinstance(spec, EnsembleSpec):
        yield "ensembles", spec.ensemble.name
        return
    yield from (
        ("datasets", spec.dataset.name),
        ("models", spec.model.name),
        ("strategies", spec.strategy.name),
    )


def _discard(job: Job) -> None:
    from bench.engine import checkpoint

    checkpoint.discard(job.checkpoint)
