"""Sample records, predictions and data sets for tests: made up in one call what takes minutes to compute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import Dataset, Environment, Predictions, Report, silent
from bench.data.images.images import Images, open_images
from bench.data.images.index import read_index
from bench.data.splits.split import PartCount
from bench.identity import Ref
from bench.results import store
from bench.results.record import Asked, Cost, DataSummary, Record, Skipped
from bench.study.protocol import Finetuning, Pretraining
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec

CLASSES = ("benign", "malignant", "normal")


def run_spec(
    strategy: str | Ref = "imagenet",
    round_: int = 0,
    *,
    epochs: int | None = None,
    params: dict[str, Any] | None = None,
    model: str = "convnext_tiny",
    **changes: Any,
) -> RunSpec:
    """A fine-tuning; with `epochs`, one that starts from a pretraining of so many."""
    shared: dict[str, Any] = {
        "dataset": Ref("busi"),
        "model": Ref(model),
        "strategy": Ref(strategy, params or {}) if isinstance(strategy, str) else strategy,
        "split": f"split{round_}",
        "round": round_,
        **changes,
    }
    finetune = shared.pop("finetune", Finetuning())
    start = PretrainSpec(**shared, pretrain=Pretraining(epochs=epochs)) if epochs else None
    return RunSpec(**shared, finetune=finetune, start=start)


def mean_of(*members: RunSpec) -> EnsembleSpec:
    return EnsembleSpec(Ref("mean"), members)


def predictions(
    seed: int = 0, n: int = 60, classes: tuple[str, ...] = CLASSES, skill: float = 1.5
) -> Predictions:
    """Softmax of noise plus `skill` on the true class; every class has images."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(classes)
    logits = rng.normal(size=(n, len(classes))) + skill * np.eye(len(classes))[labels]
    exponentials = np.exp(logits)
    ids = tuple(f"image ({i}).png" for i in range(n))
    groups = tuple(f"patient {i // 2}" for i in range(n))
    return Predictions(
        classes=classes,
        ids=ids,
        groups=groups,
        labels=labels,
        probabilities=exponentials / exponentials.sum(1, keepdims=True),
    )


COUNTS = {
    "train": {"benign": (300, 250), "malignant": (150, 120), "normal": (90, 80)},
    "val": {"benign": (44, 40), "malignant": (21, 20), "normal": (13, 10)},
    "test": {"benign": (87, 70), "malignant": (42, 40), "normal": (27, 20)},
}


def record_of(spec: UnitSpec, **changes: Any) -> Record:
    """What is stored of a finished unit, by default as a study of two rounds under "quick" has it."""
    cost = Cost(
        params=28_000_000,
        macs=4_460_000_000,
        skipped=(Skipped("aten::softmax", 1, 10),),
        skipped_share=0.012,
    )
    return Record(
        spec=spec,
        **{
            "asked": Asked(protocol="quick", rounds=2),
            "data": data_of(),
            "cost": cost if isinstance(spec, RunSpec) else None,
            **changes,
        },
    )


def data_of(**changes: Any) -> DataSummary:
    """Of made-up images."""
    counts = {part: {name: PartCount(*n) for name, n in by.items()} for part, by in COUNTS.items()}
    known = {"title": "busi", "content": "c0ffee" * 8, "counts": counts, "settings": {}}
    return DataSummary(**{**known, **changes})


def failure_of(spec: UnitSpec, reason: str = "out of luck") -> Record:
    """What is stored of a failed unit."""
    asked = Asked(protocol="quick", rounds=2)
    return Record(spec=spec, status="failed", asked=asked, reason=reason, traceback="Traceback")


def store_run(results: Path, spec: RunSpec | EnsembleSpec, *, seed: int = 0, skill: float = 1.5) -> Path:
    """Store a finished unit with made-up predictions."""
    each = predictions(seed + 100 * spec.round, skill=skill)
    return store.write(results, record_of(spec), predictions={"val": each, "test": each})


def opened(
    dataset: Dataset, environment: Environment, short_sides: Sequence[int], report: Report = silent
) -> Images:
    """The images of a data set with its default parameters, as a session opens them."""
    index = read_index(dataset, dataset.params(), environment.data)
    return open_images(dataset.name, index, environment, short_sides, report)
