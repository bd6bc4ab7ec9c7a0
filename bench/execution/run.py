"""One unit of work, from spec to record. A newcomer starts here.

execute(unit)   images -> split -> net -> pretrain or load weights -> fine-tune -> predict -> store.write
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench import process
from bench.errors import BenchError, PluginError, StoreError, TrainingError, blame, describe, encodable
from bench.execution.claim import claim, forget, holder
from bench.execution.keeping import (
    encoder_about,
    keep,
    parts_of_a_step,
    repeated,
    require_same_encoder,
    require_same_predictions,
)
from bench.execution.pools import pool_of
from bench.execution.prepare import (
    ENCODER,
    Setup,
    load_initial_weights,
    prepare,
    training_of,
)
from bench.execution.usage import measured, measured_latency
from bench.identity import Ref, derive_seed, to_json
from bench.interfaces.ensemble import Combine, Fitted
from bench.interfaces.executor import Outcome, Progress, Report
from bench.interfaces.model import within
from bench.interfaces.predictions import Predictions
from bench.interfaces.selection import external_name, tested_on
from bench.interruption import interrupted
from bench.registry import DISTRIBUTION
from bench.results import kept, store
from bench.results.distribution import fault
from bench.results.record import Asked, DataSummary, Provenance, Record, Timings, TrainingHistory, Usage
from bench.results.tensors_file import write_tensors
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from bench.data.images.images import Images
    from bench.data.splits.split import PartCount, Split
    from bench.engine.job import History, Job
    from bench.execution.session import Session
    from bench.registry import Components, Plugin

log = logging.getLogger("bench")


class Trained(NamedTuple):
    """How a training went, where and how it ran, and what it used."""

    history: History
    job: Job
    usage: Usage
    state: Mapping[str, Tensor] | None = None  # of all that was trained, where it is kept


def execute(spec: UnitSpec, session: Session, report: Report) -> Outcome:
    """Do one unit and store its record, unless another process is at it. What a unit can suffer becomes a
    failure record and an outcome; only an interruption passes through."""
    environment = session.environment
    results = environment.results
    if kept.finished(results, spec, environment.keep):
        return Outcome(unit=spec, status="done")
    report = partial(_report_as, spec, report)
    missing = [need for need in spec.needs if not _usable(need, session, report)]
    for need in missing:
        if other := holder(environment.scratch, need.key):
            return Outcome(unit=spec, status="held", reason=f"{other} works on {need.label}")
    if missing:
        names = ", ".join(sorted({need.label for need in missing}))
        return Outcome(unit=spec, status="blocked", reason=f"needs {names}, which failed")
    with claim(environment.scratch, spec.key) as other:
        if other is not None:
            return Outcome(unit=spec, status="held", reason=f"{other} works on it")
        if kept.finished(results, spec, environment.keep):  # since it was looked up
            return Outcome(unit=spec, status="done")
        with redirect_stdout(sys.stderr):  # stdout is for tables, whatever a plugin prints
            outcome = _outcome(spec, session, report)
        process.release_memory()
        if outcome.status == "done":
            forget(environment.scratch, spec.key)
        return outcome


def _report_as(spec: UnitSpec, report: Report, news: Progress) -> None:
    """Pass on news of what is done for a unit, also of its data set's images, as news of the unit."""
    report(dataclasses.replace(news, unit=spec.label, key=spec.key))


def _outcome(spec: UnitSpec, session: Session, report: Report) -> Outcome:
    """Do one unit that this process has claimed."""
    started = time.perf_counter()
    try:
        if isinstance(spec, EnsembleSpec):
            combine(spec, session)
        else:
            _train_within_memory(spec, session, report)
    except BaseException as error:  # a plugin may call sys.exit, or have exceptions of its own
        from bench.engine.device import device_lost, out_of_memory  # torch, which an ensemble does without

        if isinstance(error, KeyboardInterrupt) and interrupted():
            raise
        log.debug("%s %s failed", spec.kind, spec.label, exc_info=error)
        reason = reason_of(error, spec, session)
        write_failure(spec, session, reason, traceback.format_exc())
        return Outcome(
            unit=spec,
            status="failed",
            reason=reason,
            seconds=time.perf_counter() - started,
            out_of_memory=out_of_memory(error),
            device_lost=device_lost(error),
        )
    return Outcome(unit=spec, status="done", seconds=time.perf_counter() - started)


def write_failure(spec: UnitSpec, session: Session, reason: str, where: str) -> None:
    """Store why a unit failed, and the traceback `where` it did. Raises StoreError."""
    failure = Record(
        spec=spec,
        status="failed",
        asked=_asked(session),
        provenance=_provenance(spec, session),
        reason=encodable(reason),
        traceback=encodable(where),
    )
    store.write_failure(session.environment.results, failure)


def _usable(need: UnitSpec, session: Session, report: Report) -> bool:
    """Whether a unit that another one needs is done and is what was stored; a damaged one is made again."""
    results = session.environment.results
    encoder = store.path_of(results, need) / ENCODER
    if store.sound(results, need) and (need.kind != "pretrain" or encoder.is_file()):
        return True
    moved = store.set_aside(results, need) is not None or store.was_set_aside(results, need)
    if not moved or store.read_failure(results, need) is not None:
        return False
    return execute(need, session, report).status == "done"


def pretrain(spec: PretrainSpec, session: Session, report: Report, accumulate: int = 1) -> None:
    """Self-supervised pretraining on the images that `spec.pretrain.data` names; stores the encoder."""
    results = session.environment.results
    again = repeated(spec, session)
    setup = prepare(spec, session, report)
    trained = _optimize(spec, setup, session, report, accumulate)
    classifier = setup.model.classifier(setup.net)
    encoder = {
        name: value.detach().cpu()
        for name, value in setup.net.state_dict().items()
        if not within(name, classifier)
    }
    if again:
        require_same_encoder(again, encoder, session)
    else:
        record = _record(spec, setup, session, trained)
        about = encoder_about(spec, setup)
        store.write(results, record, files=lambda folder: write_tensors(folder / ENCODER, encoder, about))
    if trained.state is not None:
        keep(spec, setup, session, trained.history.engine, trained.state)
    _discard(trained.job)


def finetune(spec: RunSpec, session: Session, report: Report, accumulate: int = 1) -> None:
    """Fine-tuning from the strategy's weights, then predictions of the validation and test parts.

    The test part is opened only here, after the weights to evaluate have been chosen.
    """
    again = repeated(spec, session)
    setup = prepare(spec, session, report)
    origin = load_initial_weights(spec, setup, session)
    trained = _optimize(spec, setup, session, report, accumulate)
    predictions = {
        part: _predict(setup, session, setup.split.indices(part), trained.job) for part in ("val", "test")
    }
    _require_distributions(predictions, f"model {spec.model.name!r}", session.registry.models, spec.model)
    if again:
        require_same_predictions(again, predictions, session)
    else:
        _store_run(spec, setup, session, trained, origin, predictions)
    if "model" in session.environment.keep:
        keep(spec, setup, session, trained.history.engine, setup.net.state_dict(), origin)
    _discard(trained.job)


def _store_run(
    spec: RunSpec,
    setup: Setup,
    session: Session,
    trained: Trained,
    origin: str,
    predictions: Mapping[str, Predictions],
) -> None:
    """Store the record of a fine-tuning and its predictions."""
    # After the predictions, which so are what they would be without.
    latency = measured_latency(setup.net, setup.context.size, trained.job, trained.history.seconds)
    record = dataclasses.replace(
        _record(spec, setup, session, trained),
        usage=dataclasses.replace(trained.usage, latency=latency),
        weights=origin,
        cost=session.cost(spec.model, len(setup.context.classes), setup.context.size),
    )
    store.write(session.environment.results, record, predictions=predictions)


def combine(spec: EnsembleSpec, session: Session) -> None:
    """Fit the ensemble on the members' validation predictions and apply it to both parts."""
    results = session.environment.results
    ensembles = session.registry.ensembles
    records = [(store.path_of(results, member), store.read(results, member)) for member in spec.members]
    members = {
        part: [store.read_predictions(folder, part, record) for folder, record in records]
        for part in ("val", "test")
    }
    for each in members.values():
        _require_same_images(each, [folder for folder, _ in records])
    rule = ensembles.get(spec.ensemble.name).fit(members["val"], ensembles.params(spec.ensemble))
    predictions = {
        part: dataclasses.replace(each[0], probabilities=rule([p.probabilities for p in each]))
        for part, each in members.items()
    }
    _require_distributions(predictions, f"ensemble {spec.ensemble.name!r}", ensembles, spec.ensemble)
    record = Record(
        spec=spec,
        asked=_asked(session),
        data=records[0][1].data,
        members=tuple(member.key for member in spec.members),
        provenance=_provenance(spec, session),
        rule=_rule_text(rule, spec.member_names),
    )
    store.write(results, record, predictions=predictions)


def _require_same_images(members: Sequence[Predictions], folders: Sequence[Path]) -> None:
    """Raise StoreError, naming the folder, for a member of other images or classes than the first."""
    first = members[0]
    for each, folder in zip(members, folders, strict=True):
        if (each.classes, each.ids) != (first.classes, first.ids):
            raise StoreError(
                f"{folder}: its predictions are not of the images and classes that {folders[0]} predicts, so "
                "they cannot be combined; delete it and repeat the command that made it"
            )


def _rule_text(rule: Combine, members: Sequence[str]) -> str:
    """What a fitted rule says of itself, in a line. Raises PluginError for what is no text."""
    if not isinstance(rule, Fitted):
        return ""
    text: object = rule.about(members)
    if not isinstance(text, str):
        raise PluginError(f"an ensemble's `about` gave {type(text).__name__}, not a text; repair its plugin")
    return encodable(" ".join(text.split()))


def _require_distributions(
    predictions: Mapping[str, Predictions], what: str, components: Components, ref: Ref
) -> None:
    """Raise PluginError, naming the component and its plugin, for predictions that are no distributions."""
    for part, each in predictions.items():
        if problem := fault(each.probabilities, len(each.ids), len(each.classes)):
            raise PluginError(
                f"{what} of plugin {components.entry(ref.name).plugin} gives {problem}, in the {part} part; "
                "nothing is stored of it; repair it, or leave it out"
            )


# --- the stages --------------------------------------------------------------------------------------


def _train_within_memory(spec: PretrainSpec | RunSpec, session: Session, report: Report) -> None:
    """Train; where memory runs out, start again with each step in twice as many parts."""
    from bench.engine.device import out_of_memory

    accumulate = parts_of_a_step(spec, session)
    batch = spec.pretrain.batch if isinstance(spec, PretrainSpec) else spec.finetune.batch
    while True:
        try:
            if isinstance(spec, PretrainSpec):
                pretrain(spec, session, report, accumulate)
            else:
                finetune(spec, session, report, accumulate)
            return
        except RuntimeError as error:
            if session.environment.shared:  # the executor tries again with fewer units at once
                raise
            if not out_of_memory(error):
                raise
            if accumulate >= batch:
                raise TrainingError(
                    f"{spec.label}: memory ran out even with one image at a time; "
                    "choose a smaller protocol.size or model, or another --device"
                ) from None
        # Outside the handler, so that the traceback no longer holds the tensors of the failed try.
        accumulate *= 2
        session.free_device_memory()


def _optimize(
    spec: PretrainSpec | RunSpec,
    setup: Setup,
    session: Session,
    report: Report,
    accumulate: int,
) -> Trained:
    from bench.engine.job import Job
    from bench.engine.loop import optimize

    # Not kept beyond the training: it holds the images that were trained on, and a decoder if there is one.
    training = training_of(spec, setup, session)
    environment, stage = session.environment, training.stage
    job = Job(
        unit=spec.label,
        stage=stage,
        seed=derive_seed(spec.seed, spec.dataset.name, spec.round, stage),
        device=setup.device,
        checkpoint=environment.scratch / "checkpoints" / f"{spec.key}.{accumulate}.pt",
        report=report,
        precision=spec.precision,
        accumulate=accumulate,
        memory_formats=environment.scratch / "memory_formats",
        graph=environment.graph,
        compile=environment.compile,
    )
    validate = None
    if isinstance(spec, RunSpec) and spec.finetune.selection == "best":
        validate = partial(_validation_accuracy, setup, session, job)
    with measured(setup.device) as measurement:
        history = optimize(training.module, training.inputs, training.budget, job, validate)
    decoder = isinstance(spec, PretrainSpec) and "decoder" in environment.keep
    state = training.module.state_dict() if decoder else None
    return Trained(history, job, measurement.usage(history, session.at_once), state)


def _validation_accuracy(setup: Setup, session: Session, job: Job) -> float:
    predictions = _predict(setup, session, setup.split.indices("val"), job)
    return float((predictions.probabilities.argmax(1) == predictions.labels).mean())


def _predict(setup: Setup, session: Session, indices: NDArray[np.int64], job: Job) -> Predictions:
    from bench.engine.input_pipeline import evaluation
    from bench.engine.predict import predict

    images, size = setup.images, setup.context.size
    batches = evaluation(images.view(size), indices, size=size, device_store=session.device_store)
    return Predictions(
        classes=images.classes,
        ids=tuple(images.ids[i] for i in indices),
        groups=tuple(setup.split.groups[i] for i in indices),
        labels=images.labels[indices],
        probabilities=predict(
            setup.net, batches, setup.context.normalize, job, session.free_device_memory
        ).numpy(),
    )


def _discard(job: Job) -> None:
    from bench.engine import checkpoint

    checkpoint.discard(job.checkpoint)


# --- the record --------------------------------------------------------------------------------------


def _record(spec: PretrainSpec | RunSpec, setup: Setup, session: Session, trained: Trained) -> Record:
    history, job, usage, _ = trained
    notes = list(setup.split.notes)
    notes += [f"{used.name}: {used.caution}" for used in (setup.model, setup.strategy) if used.caution]
    if pool := pool_of(spec, session.environment.results):
        notes.append(f"{spec.strategy.name}: {pool.text}")
    if job.accumulate > 1:
        notes.append(
            f"memory ran out: each step was done in {job.accumulate} parts, which changes batch norm"
        )
    cited = {"doctor": session.doctor} if session.doctor else {}
    return Record(
        spec=spec,
        asked=_asked(session),
        data=summarize_data(setup.images, setup.split, spec.dataset, _labelled(spec, setup.split)),
        normalization=setup.context.normalization,
        history=TrainingHistory(loss=tuple(history.losses), validation_accuracy=tuple(history.scores)),
        timings=Timings(
            seconds=history.seconds, steps=history.steps, resumed_from_epoch=history.resumed_from
        ),
        accumulate=job.accumulate,
        engine={**history.engine, **process.settings(), **cited},
        usage=usage,
        provenance=_provenance(spec, session),
        notes=tuple(notes),
    )


def _labelled(spec: PretrainSpec | RunSpec, split: Split) -> Mapping[str, PartCount] | None:
    """Sizes of what a fine-tuning with a share of the labels sees; None for any other unit."""
    from bench.data.splits.labelled import labelled_counts

    if isinstance(spec, PretrainSpec) or spec.finetune.share == 1:
        return None
    return labelled_counts(split, spec.finetune.share, spec.seed)


def summarize_data(
    images: Images, split: Split, dataset: Ref, labelled: Mapping[str, PartCount] | None = None
) -> DataSummary:
    """What a record says about its images: content hash, split, and counts per part and class, and of the
    training images that are `labelled`, where that are not all."""
    name = {**dataset.params, **dataset.local}.get("title") or dataset.name
    return DataSummary(
        title=", ".join(filter(None, (name, tested_on(dataset.params)))),
        content=images.content,
        version=images.version,
        split=split.hash,
        settings=to_json(split.settings),
        audit=split.verdict,
        counts=split.counts(),
        fixed=_fixed(images, split),
        bits=images.bits,
        changes=images.changes,
        reviewed={file.name: file.sha256 for file in images.reviewed},
        labelled=labelled,
        passed_over=images.passed_over,
    )


def _fixed(images: Images, split: Split) -> bool:
    """Whether the parts are those that the data set fixes. Validation may be drawn from its training part,
    and images may be left out where that split was mended."""
    pairs = zip(images.parts, split.parts, strict=True)
    drawn = ("train", "val")
    return any(images.parts) and all(p in (own, "out") or (own, p) == drawn for own, p in pairs)


def _asked(session: Session) -> Asked:
    asked = session.environment.asked
    margin = asked.get("margin")
    return Asked(
        protocol=str(asked.get("protocol", "")),
        rounds=int(asked.get("rounds", 0)),
        metric=str(asked.get("metric", "")),
        baseline=str(asked.get("baseline", "")),
        margin=None if margin is None else float(margin),
    )


def _provenance(spec: UnitSpec, session: Session) -> Provenance:
    """Tolerant, because failure records need it too: a component that is gone is left out."""
    return session.provenance(list(_plugins(spec, session)), spec)


def _plugins(spec: UnitSpec, session: Session) -> Iterator[Plugin]:
    registry = session.registry
    used: list[tuple[Components, Ref]]
    if isinstance(spec, EnsembleSpec):
        used = [(registry.ensembles, spec.ensemble)]
    else:
        used = [
            (registry.datasets, spec.dataset),
            (registry.models, spec.model),
            (registry.strategies, spec.strategy),
        ]
        if other := external_name(spec.dataset.params):
            used.append((registry.datasets, Ref(other)))
    for components, ref in used:
        try:
            yield components.entry(ref.name).plugin
        except BenchError:
            continue


def reason_of(error: BaseException, spec: UnitSpec, session: Session) -> str:
    """Why a unit failed, in a line; what is not a BenchError names the plugin and the place in its code."""
    if isinstance(error, BenchError):
        return encodable(str(error))
    place = blame(error, session.registry.plugins) or suspects(spec, session)
    return f"{describe(error)} ({place})" if place else describe(error)


def suspects(spec: UnitSpec, session: Session) -> str:
    """The third parties' plugins that a unit uses, where nothing says which of them it was; else empty."""
    others = [str(plugin) for plugin in _plugins(spec, session) if plugin.distribution != DISTRIBUTION]
    return f"it uses plugin {' and '.join(dict.fromkeys(others))}" if others else ""
