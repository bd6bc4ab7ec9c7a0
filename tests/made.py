"""Made-up units and predictions for the tests of storage and tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import Predictions, store
from bench.spec import EnsembleSpec, Finetuning, Pretraining, PretrainSpec, Ref, RunSpec

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
    return Predictions(classes, ids, groups, labels, exponentials / exponentials.sum(1, keepdims=True))


def content(rounds: int = 2, **data: Any) -> dict[str, Any]:
    """What a record says besides its identity."""
    counts = {
        "train": {"benign": [300, 250], "malignant": [150, 120], "normal": [90, 80]},
        "val": {"benign": [44, 40], "malignant": [21, 20], "normal": [13, 10]},
        "test": {"benign": [87, 70], "malignant": [42, 40], "normal": [27, 20]},
    }
    skipped = [{"operator": "aten::softmax", "calls": 1, "operations": 10}]
    return {
        "asked": {"protocol": "quick", "rounds": rounds},
        "data": {"title": "busi", "content": "c0ffee" * 8, "counts": counts, "settings": {}, **data},
        "cost": {"params": 28_000_000, "macs": 4_460_000_000, "skipped": skipped, "skipped_share": 0.012},
        "notes": [],
    }


def store_run(results: Path, spec: RunSpec | EnsembleSpec, *, seed: int = 0, skill: float = 1.5) -> Path:
    """Store a finished unit with made-up predictions."""
    found = predictions(seed + 100 * spec.round, skill=skill)
    about = content()
    if isinstance(spec, EnsembleSpec):
        about.pop("cost")
    return store.write(results, spec, about, predictions={"val": replace(found), "test": found})
