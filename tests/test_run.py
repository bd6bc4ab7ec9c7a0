"""One unit of work, in this process: what it suffers becomes a record, and what it may see is enforced."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import Context, Encoder, Outcome, Session, Strategy, Study, silent
from bench.comparison.tables import tables_of
from bench.data.splits.manifest import load_split
from bench.execution import run as execution
from bench.execution import verdict
from bench.execution.plan import make_plan
from bench.execution.run import execute
from bench.interfaces.executor import Environment
from bench.registry import Entry, installed
from bench.results import store
from bench.results.record import Record
from bench.study.spec import PretrainSpec, RunSpec

BASE = {
    "size": 32,
    "rounds": 1,
    "pretrain": {"epochs": 1, "resize": 40},
    "finetune": {"epochs": 2, "resize": 36, "learning_rate": 2e-3},
}
Run = Callable[..., list[Outcome]]


class Counted(nn.Module):
    """Reconstruct nothing: a loss that needs the encoder, and a memory of the batches it was given."""

    seen: list[Tensor] = []  # noqa: RUF012  # shared by all instances, emptied by the fixture
    limit = 1000
    scale = 1.0

    def __init__(self, encoder: Encoder, context: Context) -> None:
        super().__init__()
        self.net, self.features, self.context = encoder.net, encoder.features, context

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory (simulated)")
        Counted.seen.append(images)
        return self.features(self.net, self.context.normalize(images)).square().mean() * self.scale


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session whose registry also has the strategy `counted`."""
    counted = Strategy(
        name="counted",
        about="test",
        needs=frozenset({"dense"}),
        objective=lambda encoder, params, context: Counted(encoder, context),
    )
    real = installed()
    entries = real.strategies.entries
    known = {**entries, "counted": Entry(counted, entries["egmae"].plugin)}
    registry = dataclasses.replace(real, strategies=dataclasses.replace(real.strategies, entries=known))
    monkeypatch.setattr(Counted, "limit", 1000)
    Counted.seen.clear()
    return Session(Environment(data=tmp_path, results=tmp_path / "results"), registry)


@pytest.fixture
def run(session: Session) -> Run:
    """Execute the units of a study on a small phantom."""

    def run_(*strategies: str, model: str = "test_convnext", **protocol: Any) -> list[Outcome]:
        merged = {k: {**v, **protocol.pop(k, {})} if isinstance(v, dict) else v for k, v in BASE.items()}
        study = Study.from_keywords(
            registry=session.registry,
            datasets=("phantom",),
            models=(model,),
            strategies=strategies,
            protocol={**merged, **protocol},
            dataset={"phantom": {"patients": 30}},
        )
        return [execute(unit, session, silent) for unit in make_plan(study, session).units]

    return run_


def record(tmp_path: Path, outcome: Outcome) -> Record:
    return store.read(tmp_path / "results", outcome.unit)


def test_pretraining_sees_training_images_only(run: Run, session: Session, tmp_path: Path) -> None:
    (pretrained, tuned) = run(
        "counted", pretrain={"scale": (1.0, 1.0), "resize": 32, "flip": 0.0, "epochs": 3}
    )
    assert (pretrained.status, tuned.status) == ("done", "done")
    spec = pretrained.unit
    assert isinstance(spec, PretrainSpec)
    counts = record(tmp_path, tuned).data.counts
    train = sum(images for images, _ in counts["train"].values())
    assert sum(len(batch) for batch in Counted.seen) == 3 * train
    images = session.images(spec.dataset, (32,))
    split = load_split(tmp_path / "results", images, spec.split)
    view = images.view(32)
    shown = {t.numpy().tobytes() for batch in Counted.seen for t in batch.contiguous()}
    for part in ("val", "test"):
        hidden = {np.repeat(view[i], 3, 0).tobytes() for i in split.indices(part)}
        assert not shown & hidden
    # The check can fail: crops of the whole image are the training images themselves.
    assert shown & {np.repeat(view[i], 3, 0).tobytes() for i in split.indices("train")}


def test_all_images_are_seen_only_if_asked_for_and_the_table_says_so(run: Run, tmp_path: Path) -> None:
    outcomes = run("counted", pretrain={"data": "all"})
    total = sum(n for by in record(tmp_path, outcomes[1]).data.counts.values() for n, _ in by.values())
    assert sum(len(batch) for batch in Counted.seen) == total
    results = tmp_path / "results"
    (table,) = tables_of(store.scan(results)[0], results).tables
    assert any(line.startswith("Transductive: counted saw the test images") for line in table.footer)
    Counted.seen.clear()
    run("counted", pretrain={"data": "train"})
    assert sum(len(batch) for batch in Counted.seen) < total


@pytest.mark.parametrize(("limit", "parts"), [(10, 2), (5, 4)])
def test_memory_that_runs_out_starts_again_in_parts_and_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, parts: int
) -> None:
    monkeypatch.setattr(Counted, "limit", limit)
    pretrained, _ = run("counted")
    stored = record(tmp_path, pretrained)
    assert pretrained.status == "done"
    assert stored.accumulate == parts
    assert f"each step was done in {parts} parts" in stored.notes[-1]
    assert max(len(batch) for batch in Counted.seen) <= limit


def test_a_record_made_on_a_gpu_cites_what_the_doctor_said(
    run: Run, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tuned,) = run("scratch")
    on_cpu = record(tmp_path, tuned).engine
    assert on_cpu is not None
    assert "doctor" not in on_cpu
    del session.doctor  # asked once per session
    monkeypatch.setattr(verdict, "cited", lambda device: f"passed 2026-01-02 ({device})")
    (again,) = run("scratch", seed=1)
    engine = record(tmp_path, again).engine
    assert engine is not None
    assert engine["doctor"] == "passed 2026-01-02 (cpu)"


def test_memory_for_not_even_one_image_is_a_failure_with_a_remedy(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Counted, "limit", 0)
    tries: list[int] = []
    real = execution.pretrain
    monkeypatch.setattr(execution, "pretrain", lambda *a: (tries.append(a[-1]), real(*a))[1])
    pretrained, tuned = run("counted")
    assert tries == [1, 2, 4, 8, 16]
    assert pretrained.status == "failed"
    assert "choose a smaller protocol.size" in pretrained.reason
    assert tuned.status == "blocked"


def test_a_unit_among_others_leaves_it_to_them_to_make_room(
    run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs several units at once is told, and tries again with fewer."""
    monkeypatch.setattr(Counted, "limit", 5)
    session.environment = dataclasses.replace(session.environment, shared=True)
    pretrained, _ = run("counted")
    assert (pretrained.status, pretrained.out_of_memory) == ("failed", True)
    monkeypatch.setattr(Counted, "limit", 1000)
    monkeypatch.setattr(Counted, "scale", float("inf"))
    (other, *_) = run("counted")
    assert (other.status, other.out_of_memory) == ("failed", False)


def test_a_diverging_training_fails_alone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counted, "scale", float("inf"))
    outcomes = run("scratch", "counted")
    by_kind = {o.unit.label: o for o in outcomes if not isinstance(o.unit, RunSpec)}
    failed = by_kind["test_convnext.counted.r0"]
    assert failed.status == "failed"
    assert "lower protocol.pretrain.learning_rate" in failed.reason
    assert [o.status for o in outcomes if o.unit.label == "test_convnext.scratch.r0"] == ["done"]
    assert (store.failure_path(tmp_path / "results", failed.unit) / "record.json").exists()


def test_all_strategies_of_a_round_start_from_the_same_network(run: Run, tmp_path: Path) -> None:
    """With a learning rate of almost nothing, scratch and a pretraining that learns nothing agree."""
    still = {"learning_rate": 1e-30, "weight_decay": 0.0}
    outcomes = run("scratch", "counted", pretrain=still, finetune=still)
    tuned = [o.unit for o in outcomes if isinstance(o.unit, RunSpec)]
    first, second = (
        store.read_predictions(store.path_of(tmp_path / "results", spec), "test") for spec in tuned
    )
    assert first.ids == second.ids
    np.testing.assert_allclose(first.probabilities, second.probabilities, atol=1e-6)


def test_the_ensemble_is_the_mean_of_its_members(run: Run, tmp_path: Path) -> None:
    outcomes = run("scratch", "counted")
    folders = [store.path_of(tmp_path / "results", o.unit) for o in outcomes if o.unit.kind != "pretrain"]
    *members, ensemble = (store.read_predictions(f, "test").probabilities for f in folders)
    np.testing.assert_allclose(ensemble, np.mean(members, axis=0), atol=1e-12)


def test_bf16_and_best_epoch_selection_run_on_a_cpu(run: Run, tmp_path: Path) -> None:
    (outcome,) = run("scratch", precision="bf16", finetune={"selection": "best"})
    assert outcome.status == "done", outcome.reason
    assert len(record(tmp_path, outcome).history.validation_accuracy) == 2


def test_a_size_the_features_do_not_divide_is_refused(run: Run) -> None:
    pretrained, _ = run("egmae", model="convnext_atto", size=112, finetune={"resize": 116})
    assert pretrained.status == "failed"
    assert "choose a multiple of the network's stride" in pretrained.reason


def test_a_bug_in_a_plugin_is_a_failure_with_its_traceback(
    run: Run, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(Counted, "forward", lambda self, images: SimpleNamespace().nothing)
    pretrained, _ = run("counted")
    assert pretrained.status == "failed"
    folder = store.failure_path(tmp_path / "results", pretrained.unit)
    assert "Traceback" in (folder / "record.json").read_text()
