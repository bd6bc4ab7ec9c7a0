"""A small study without training: real splits and records, predictions made up in a second, for packs."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import safetensors.numpy
from samples import data_of, failure_of, opened, record_of, run_spec

from bench import Environment, Predictions
from bench.data.images.images import Images
from bench.data.splits.manifest import freeze_split, read_named
from bench.data.splits.split import Split
from bench.identity import Ref, digest
from bench.registry import installed
from bench.results import store
from bench.study.protocol import SplitSettings
from bench.study.spec import EnsembleSpec, RunSpec

ROUNDS = 3
WHERE = "/home/ada/venv/lib/python3.12/site-packages/somewhere/net.py"


@cache
def images() -> Images:
    """Of the data set that needs no download, once a process."""
    folder = Path(mkdtemp(prefix="bench-packable-"))
    environment = Environment(data=folder, results=folder / "results", device="cpu", threads=1)
    return opened(installed().datasets.get("phantom"), environment, [32])


def make_results(results: Path, *, rounds: int = ROUNDS, leaking: bool = False) -> Path:
    """A pretraining, two runs and their mean in every round, and a run that failed; returns `results`."""
    for number in range(rounds):
        split = frozen(results, number, leaking)
        shared: dict[str, Any] = {"dataset": Ref("phantom"), "model": "test_convnext", "split": split.hash}
        first = run_spec("egmae", number, epochs=2, **shared)
        second = run_spec("scratch", number, **shared)
        assert first.start is not None
        about = {
            "data": data_of(
                title="phantom", content=split.content, split=split.hash, counts=split.counts(), fixed=False
            )
        }
        weights = {"weight": np.array([number], np.float32)}
        store.write(
            results,
            record_of(first.start, **about),
            files=lambda folder, w=weights: safetensors.numpy.save_file(w, folder / "encoder.safetensors"),
        )
        each = [
            write_run(results, spec, split, about, seed)
            for seed, spec in enumerate((first, second), 10 * number)
        ]
        mean = EnsembleSpec(Ref("mean"), (first, second))
        means = {
            part: dataclasses.replace(
                each[0][part], probabilities=np.mean([e[part].probabilities for e in each], axis=0)
            )
            for part in ("val", "test")
        }
        members = (first.key, second.key)
        store.write(results, record_of(mean, members=members, **about), predictions=means)
    failed = run_spec(
        "mae", 0, split=frozen(results, 0, leaking).hash, dataset=Ref("phantom"), model="test_convnext"
    )
    failure = failure_of(failed, f"ValueError: broken ({WHERE}:7)")
    store.write_failure(
        results, dataclasses.replace(failure, traceback=f'Traceback\n  File "{WHERE}", line 7, in forward')
    )
    return results


def write_run(
    results: Path, spec: RunSpec, split: Split, about: dict[str, Any], seed: int
) -> dict[str, Predictions]:
    """Store one run with predictions drawn from `seed`."""
    parts = {part: drawn(split, part, seed) for part in ("val", "test")}
    store.write(results, record_of(spec, **about), predictions=parts)
    return parts


def drawn(split: Split, part: str, seed: int) -> Predictions:
    """Softmax of noise that leans to the true class, for the images of one part."""
    rows = split.indices(part)
    labels = np.array([split.classes.index(split.labels[i]) for i in rows])
    logits = np.random.default_rng(seed).normal(size=(len(rows), len(split.classes)))
    logits += 1.5 * np.eye(len(split.classes))[labels]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Predictions(
        classes=split.classes,
        ids=tuple(split.ids[i] for i in rows),
        groups=tuple(split.groups[i] for i in rows),
        labels=labels,
        probabilities=shares,
    )


def frozen(results: Path, number: int, leaking: bool) -> Split:
    """The split of a round; a leaking one has a test image's group in training too, and does not say so."""
    known = sorted((results / "splits" / "phantom").glob(f"r{number}.*.json"))
    if known:
        return read_named(known[0])
    split = freeze_split(results, images(), SplitSettings(), number, 0)
    if not leaking:
        return split
    (path,) = (results / "splits" / "phantom").glob(f"r{number}.*.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    train = next(row for row in content["images"] if row[4] == "train")
    test = next(row for row in content["images"] if row[4] == "test" and row[2] == train[2])
    train[3] = test[3]
    content["hash"] = digest(sorted(content["images"]))[:16]
    path.unlink()
    leak = path.with_name(f"r{number}.given.{content['hash']}.json")
    leak.write_text(json.dumps(content), encoding="utf-8")
    return read_named(leak)
