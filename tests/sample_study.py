"""A folder of results as a study of many methods leaves it, made up in seconds."""

from __future__ import annotations

from pathlib import Path

from samples import CLASSES, data_of, mean_of, predictions, record_of, run_spec

from bench.data.audit.verdict import Verdict
from bench.identity import Ref
from bench.results import store
from bench.results.record import (
    Asked,
    Provenance,
    Timings,
    TrainingHistory,
    Usage,
)
from bench.study.protocol import AuditSettings
from bench.study.spec import EnsembleSpec, RunSpec

SKILLS = {"egmae": 2.2, "mae": 1.9, "noise": 1.7, "imagenet": 2.0, "scratch": 1.0}
MODELS = ("convnext_tiny", "resnet50")
AUDIT = Verdict(
    audit="a" * 64,
    settings=AuditSettings(),
    leaking_clusters=0,
    leaking_groups=0,
    leaked=0,
    label_conflicts=0,
    kept_out=19,
)
MADE = Provenance(
    plugins={"strategies": {"distribution": "medbench", "version": "0.1.0"}},
    hardware={"device": "cpu", "cpu": "AMD EPYC", "cores": 2, "threads": 1},
    git={"commit": "c0ffee" * 6 + "beef", "changed": False},
    packages={"medbench": "0.1.0", "torch": "2.11.0", "timm": "1.0.22", "numpy": "2.0.0"},
    python="3.11.7",
    platform="Linux-6.1-x86_64",
)


def fill(
    results: Path,
    datasets: tuple[str, ...] = ("busi",),
    models: tuple[str, ...] = MODELS[:1],
    rounds: int = 5,
    images: int = 90,
    baseline: str = "imagenet",
    classes: tuple[str, ...] = CLASSES,
) -> Path:
    """Five strategies and an ensemble on each model and data set; the folder."""
    asked = Asked(protocol="quick", rounds=rounds, metric="accuracy", baseline=baseline, margin=0.01)
    for place, dataset in enumerate(datasets):
        for number in range(rounds):
            for model in models:
                specs = [run_spec(name, number, model=model, dataset=Ref(dataset)) for name in SKILLS]
                for i, spec in enumerate(specs):
                    seed = 1000 * place + 10 * number + 100 * models.index(model) + i
                    _store(results, spec, SKILLS[spec.strategy.name], seed, images, classes, asked, place)
                _store(results, mean_of(*specs[:2]), 2.3, 7000 + number, images, classes, asked, place)
    return results


def _store(
    results: Path,
    spec: RunSpec | EnsembleSpec,
    skill: float,
    seed: int,
    images: int,
    classes: tuple[str, ...],
    asked: Asked,
    place: int,
) -> None:
    each = predictions(seed, n=images, classes=classes, skill=skill)
    is_run = isinstance(spec, RunSpec)
    record = record_of(
        spec,
        asked=asked,
        data=data_of(title=spec.dataset.name, content=f"{place}c0ffee" * 8, audit=AUDIT),
        provenance=MADE,
        history=TrainingHistory(loss=(1.0, 0.6, 0.4), validation_accuracy=(0.5, 0.6, 0.7))
        if is_run
        else None,
        timings=Timings(seconds=60.0, steps=300) if is_run else None,
        usage=Usage(images_per_second=40.0, latency=0.01) if is_run else None,
    )
    store.write(results, record, predictions={"val": each, "test": each})
