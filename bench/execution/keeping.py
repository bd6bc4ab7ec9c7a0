"""Keeping the weights of a unit, also of one that was done before: then it is done again, and must come to
the very bits that are stored, because else its weights would be those of another result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from bench.errors import ConfigError, StoreError, describe
from bench.results import kept, store
from bench.results.kept import ENCODER, Kept, TrainedOn
from bench.results.predictions_file import read_predictions
from bench.study.spec import PretrainSpec, RunSpec
from bench.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

    from bench.data.images.images import Images
    from bench.execution.prepare import Setup
    from bench.execution.session import Session
    from bench.interfaces.predictions import Predictions
    from bench.results.record import Artefact, Record


def repeated(spec: PretrainSpec | RunSpec, session: Session) -> Record | None:
    """The record of a unit that is done already, and is done again for its weights; None for any other.

    Raises ConfigError where this command computes in another way than the record says: nothing need be
    trained to know that the bits would differ.
    """
    results = session.environment.results
    if not store.exists(results, spec):
        return None
    record = store.read(results, spec)
    before, now = record.provenance.arithmetic, session.provenance([], spec).arithmetic
    if before and before != now:
        raise ConfigError(
            f"{spec.label} was computed on {before}, and this command computes on {now}, where rounding and "
            f"so its weights differ: they would not be those of the stored result; {_remedy(before)}"
        )
    return record


def _remedy(before: str) -> str:
    kind, _, threads = before.partition(", ")
    where = (
        f"--device cpu --threads {threads.split()[0]}"
        if kind == "cpu" and threads
        else f"that device ({before})"
    )
    return f"give {where}, or do the study anew in another --results with --keep from its beginning"


def parts_of_a_step(spec: PretrainSpec | RunSpec, session: Session) -> int:
    """In how many parts a unit's steps are tried first: in those of its record, if it is done again."""
    results = session.environment.results
    return (store.read(results, spec).accumulate or 1) if store.exists(results, spec) else 1


def require_same_predictions(
    record: Record, predictions: Mapping[str, Predictions], session: Session
) -> None:
    """Raise StoreError, saying how much they differ, unless these are a record's predictions bit for bit."""
    import numpy as np

    assert record.path is not None
    differences, changed = [0.0], 0
    for part, ours in predictions.items():
        stored = read_predictions(record.path, part, record)
        if stored.ids != ours.ids:
            raise StoreError(f"{record.path}: holds other images than its split; see `bench verify`")
        difference = np.abs(stored.probabilities - ours.probabilities)
        differences.append(float(difference.max()))
        changed += int((stored.probabilities.argmax(1) != ours.probabilities.argmax(1)).sum())
    if max(differences) > 0:
        much = f"by up to {max(differences):.2g} in a probability, another class for {changed} images"
        raise _differs(record, much, session)


def require_same_encoder(record: Record, encoder: Mapping[str, Tensor], session: Session) -> None:
    """Raise StoreError, saying how much they differ, unless this is the encoder of a record bit for bit."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    assert record.path is not None
    try:
        stored = load_file(str(record.path / ENCODER))
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{record.path / ENCODER}: cannot be read ({describe(error)})") from error
    if differing := [n for n in encoder if n not in stored or not torch.equal(stored[n], encoder[n])]:
        raise _differs(record, f"in {len(differing)} of {len(encoder)} tensors of its encoder", session)


def _differs(record: Record, how: str, session: Session) -> StoreError:
    now = session.provenance([], record.spec)
    other = [
        f"{name} {version} (now {now.packages.get(name, 'none')})"
        for name, version in record.provenance.packages.items()
        if now.packages.get(name) != version
    ]
    cause = f"it was computed with {', '.join(other)}" if other else "the cause is not known to bench"
    return StoreError(
        f"{record.spec.label} was done again for its weights and differs from the stored result {how}: "
        f"{cause}; nothing is kept, because the weights are not those of the record; use what it was "
        "computed with, or do the study anew in another --results with --keep from its beginning"
    )


def keep(
    spec: PretrainSpec | RunSpec,
    setup: Setup,
    session: Session,
    engine: Mapping[str, str],
    state: Mapping[str, Tensor],
    origin: str = "",
) -> None:
    """Keep the weights of a unit whose record is stored. Raises StoreError."""
    results = session.environment.results
    record = store.read(results, spec)
    kind = kept.kind_of(spec)
    assert kind is not None

    def described(file: Artefact) -> Kept:
        return Kept(
            kind=kind,
            key=spec.key,
            label=spec.label,
            dataset=spec.dataset.name,
            model=spec.model,
            strategy=spec.strategy,
            round=spec.round,
            classes=setup.context.classes,
            size=spec.size,
            normalization=setup.context.normalization,
            precision=cast("Any", spec.precision),  # as parsed
            memory_format=cast("Any", engine.get("memory_format", "channels_last")),
            bits=setup.images.bits or 16,
            dicom=setup.images.dicom,
            result=kept.result_of(record),
            arithmetic=record.provenance.arithmetic,
            weights=one_line(origin),
            trained_on=trained_on(setup.images, spec.size),
            packages=dict(record.provenance.packages),
            file=file,
        )

    kept.write(results, spec, state, described)
    store.forget_failure(results, spec)


def encoder_about(spec: PretrainSpec, setup: Setup) -> dict[str, str]:
    """What an encoder's file says of itself, as texts: what is needed to use it, and nothing that another
    making of the same unit would say otherwise."""
    normalization = setup.context.normalization
    return {
        "format": "pt",
        "unit": spec.label,
        "key": spec.key,
        "model": spec.model.name,
        "strategy": spec.strategy.name,
        "dataset": spec.dataset.name,
        "epochs": str(spec.pretrain.epochs),
        "size": str(spec.size),
        "mean": json.dumps(normalization.mean),
        "std": json.dumps(normalization.std),
    }


def trained_on(images: Images, size: int) -> TrainedOn | None:
    """What the images of a data set are like; None where their files are not known."""
    if not images.originals:
        return None
    view = next(iter(images.views.values()))
    grey = sum(shape[0] == 1 for shape in view.shapes) / len(view)
    sides = [min(original.height, original.width) for original in images.originals]
    return TrainedOn(images=len(images), grey=grey, sides=(min(sides), max(sides)))
