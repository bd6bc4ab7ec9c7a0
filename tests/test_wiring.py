"""That the engine does what the protocol says: tiny units from end to end, watched by spies."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from spies import IMAGES, SIZE, Seen, Watched, tagged, watch
from typer.testing import CliRunner

import bench
from bench import (
    Context,
    Dataset,
    Index,
    NoParams,
    Predictions,
    Progress,
    Sample,
    Session,
    Study,
    local_environment,
    silent,
)
from bench.cli import app
from bench.comparison.tables import tables_of
from bench.data.splits import assign
from bench.data.splits.manifest import load_split
from bench.engine import input_pipeline, loop
from bench.engine import step as step_module
from bench.engine.input_pipeline import InputPipeline
from bench.engine.job import Budget, History, Job
from bench.execution.estimate import TIMED, Estimator, time_step
from bench.execution.prepare import ENCODER, prepare, training_of
from bench.execution.run import execute, finetune
from bench.identity import derive_seed
from bench.registry import installed
from bench.results import store
from bench.results.record import Provenance, Record, Timings
from bench.study.spec import PretrainSpec, RunSpec
from bench_strategies.corruption import EntropyNoise
from bench_strategies.params import NoiseParams

PARTS = ("train", "val", "test")
Specs = tuple[Watched, PretrainSpec, RunSpec]


def ids_of(watched: Watched, part: str, round_: int = 0) -> set[str]:
    """The images of one part of the frozen split."""
    (split,) = (s for (_, r), s in watched.plan.splits.items() if r == round_)
    return {split.ids[i] for i in split.indices(part)}


def shown(seen: list[Seen]) -> Counter[str]:
    return Counter(name for batch in seen for name in batch.ids)


# --- which images ------------------------------------------------------------------------------------


def test_finetuning_sees_exactly_the_training_images_and_predicts_exactly_the_others(tmp_path: Path) -> None:
    watched = watch(tmp_path, "scratch", finetune={"batch": 10, "epochs": 3}, seed=1)
    trained = [batch for batch in watched.notes.seen if batch.training]
    predicted = [batch for batch in watched.notes.seen if not batch.training]
    train = ids_of(watched, "train")
    assert len(train) % 10 != 1, "a last batch of a single image would be left out"
    assert shown(trained) == dict.fromkeys(train, 3)  # every image once per epoch
    assert [set(batch.ids) for batch in predicted] == [ids_of(watched, "val"), ids_of(watched, "test")]
    for part in ("val", "test"):
        predictions = watched.predictions(watched.unit("run"), part)
        assert set(predictions.ids) == ids_of(watched, part)
        labels = [int(name[1:]) % 2 for name in predictions.ids]
        assert labels != ([0, 1] * IMAGES)[: len(labels)], "or the first images would be right by chance"
        assert predictions.labels.tolist() == labels


def test_a_record_says_which_images_were_in_which_part(tmp_path: Path) -> None:
    watched = watch(tmp_path, "scratch", split={"test": 0.3}, finetune={"epochs": 1})
    (split,) = watched.plan.splits.values()
    data = store.read(watched.results, watched.unit("run")).data
    assert data
    assert (data.title, data.content, data.split) == ("tagged", split.content, split.hash)
    assert data.settings == {"test": 0.3}
    assert data.counts == split.counts()
    assert sum(n.images for by_class in data.counts.values() for n in by_class.values()) == IMAGES
    assert data.counts["test"]["a"].images == 6
    assert data.audit == split.verdict is not None


@pytest.mark.parametrize(("data", "parts"), [("train", PARTS[:1]), ("train+val", PARTS[:2]), ("all", PARTS)])
def test_pretraining_sees_the_parts_that_the_protocol_names(
    tmp_path: Path, data: str, parts: tuple[str, ...]
) -> None:
    watched = watch(
        tmp_path, "spied", pretrain={"data": data, "epochs": 1, "batch": 7}, finetune={"epochs": 1}
    )
    first_of_finetuning = next(i for i, b in enumerate(watched.notes.seen) if b.shape[0] == 8)
    pretrained = [b for b in watched.notes.seen[:first_of_finetuning] if b.training]
    assert set(shown(pretrained)) == set().union(*(ids_of(watched, part) for part in parts))
    (table,) = tables_of(store.scan(watched.results)[0], watched.results).tables
    said = any("Transductive: spied saw the test images" in line for line in table.footer)
    assert said == (data == "all")


def test_the_test_images_are_seen_once_and_last(tmp_path: Path) -> None:
    watched = watch(tmp_path, "scratch", finetune={"selection": "best", "epochs": 3})
    test = ids_of(watched, "test")
    of_test = [i for i, batch in enumerate(watched.notes.seen) if set(batch.ids) & test]
    assert of_test == [len(watched.notes.seen) - 1]
    assert set(watched.notes.seen[-1].ids) == test


def test_the_best_epoch_is_chosen_by_the_validation_images_alone(tmp_path: Path) -> None:
    watched = watch(tmp_path, "scratch", finetune={"selection": "best", "epochs": 3})
    val = ids_of(watched, "val")
    evaluated = [set(batch.ids) for batch in watched.notes.seen if not batch.training]
    assert evaluated == [val] * 3 + [val, ids_of(watched, "test")]
    record = store.read(watched.results, watched.unit("run"))
    assert record.history
    found = watched.predictions(watched.unit("run"), "val")
    accuracy = float((found.probabilities.argmax(1) == found.labels).mean())
    assert accuracy == max(record.history.validation_accuracy)  # type: ignore[type-var]


def test_the_network_trains_in_training_mode_and_predicts_in_evaluation_mode(tmp_path: Path) -> None:
    """Also after a validation between epochs: back in training mode."""
    watched = watch(tmp_path, "scratch", finetune={"selection": "best", "epochs": 2})
    train = ids_of(watched, "train")
    for batch in watched.notes.seen:
        assert batch.training == (set(batch.ids) <= train)


def test_every_stage_has_its_own_copy_of_the_images(tmp_path: Path) -> None:
    """Evaluation sees whole images, frame and all; random crops of larger copies rarely see two corners."""
    watched = watch(
        tmp_path,
        "scratch",
        dataset=tagged(framed=True),
        finetune={"resize": 44, "epochs": 4},
        split={"groups": "none"},  # the frame makes them all look alike
    )
    assert all(batch.border == 1 for batch in watched.notes.seen if not batch.training)
    trained = [batch.border for batch in watched.notes.seen if batch.training]
    assert np.mean(trained) < 0.2
    assert all(batch.shape[1:] == (3, SIZE, SIZE) for batch in watched.notes.seen)


# --- weights -----------------------------------------------------------------------------------------


STILL = {"learning_rate": 1e-30, "weight_decay": 0.0}


def test_a_pretrained_encoder_is_really_loaded(tmp_path: Path) -> None:
    """At a learning rate of almost nothing, what differs from scratch is what pretraining left."""
    watched = watch(tmp_path, "scratch", "spied", pretrain={"learning_rate": 1.0}, finetune=STILL)
    scratch, pretrained = (
        watched.predictions(watched.unit("run", name)).probabilities for name in ("scratch", "spied")
    )
    assert np.abs(scratch - pretrained).max() > 1e-4
    record = store.read(watched.results, watched.unit("run", "spied"))
    assert record.weights == f"pretraining {watched.unit('pretrain').key}"
    assert record.cost
    assert (record.cost.size, record.cost.classes) == (SIZE, 2)


def test_strategies_of_a_round_start_from_the_same_network(tmp_path: Path) -> None:
    watched = watch(tmp_path, "scratch", "spied", run=False)
    setups = [prepare(unit, watched.session) for unit in watched.plan.units if unit.kind != "ensemble"]
    first = setups[0].net.state_dict()
    for setup in setups[1:]:
        for name, value in setup.net.state_dict().items():
            assert torch.equal(value, first[name]), name


def test_every_unit_starts_with_a_small_classifier(tmp_path: Path) -> None:
    watched = watch(tmp_path, "scratch", run=False)
    head = prepare(watched.unit("run"), watched.session).net.head
    assert isinstance(head, torch.nn.Linear)
    assert 0 < head.weight.abs().max() <= 0.02
    assert not head.bias.any()


def as_version_1(folder: Path) -> None:
    """Make the record in `folder` one of before checksums."""
    file = folder / "record.json"
    content = json.loads(file.read_text())
    del content["artefacts"]
    file.write_text(json.dumps(content | {"version": 1}))


def test_an_encoder_that_is_not_the_stored_one_is_not_used_but_made_again(tmp_path: Path) -> None:
    watched = watch(tmp_path, "spied", run=False)
    pretraining, finetuning = watched.plan.units
    assert execute(pretraining, watched.session, silent).status == "done"
    file = store.path_of(watched.results, pretraining) / ENCODER
    stored = file.read_bytes()
    with safe_open(str(file), "pt") as opened:
        metadata = opened.metadata()
    weights = load_file(str(file))
    save_file({**weights, "body.0.weight": weights["body.0.weight"] * 1.01}, str(file), metadata)
    assert file.stat().st_size == len(stored), "the size must not tell"
    assert execute(finetuning, watched.session, silent).status == "done"
    assert file.read_bytes() == stored
    (moved,) = (watched.results / ".damaged" / "pretrain" / "tagged").iterdir()
    assert (moved / ENCODER).read_bytes() != stored


def test_an_encoder_of_an_older_record_that_is_gone_is_made_again(tmp_path: Path) -> None:
    watched = watch(tmp_path, "spied", run=False)
    pretraining, finetuning = watched.plan.units
    execute(pretraining, watched.session, silent)
    folder = store.path_of(watched.results, pretraining)
    as_version_1(folder)
    (folder / ENCODER).unlink()
    assert execute(finetuning, watched.session, silent).status == "done"


def test_an_encoder_that_lacks_tensors_is_refused(tmp_path: Path) -> None:
    watched = watch(tmp_path, "spied", run=False)
    pretraining, finetuning = watched.plan.units
    assert execute(pretraining, watched.session, silent).status == "done"
    as_version_1(store.path_of(watched.results, pretraining))
    file = store.path_of(watched.results, pretraining) / ENCODER
    encoder = load_file(str(file))
    assert not [name for name in encoder if name.startswith("head")], "the classifier is not kept"
    del encoder["body.0.weight"]
    save_file(encoder, str(file))
    outcome = execute(finetuning, watched.session, silent)
    assert outcome.status == "failed"
    assert "does not fit spy: body.0.weight" in outcome.reason


def test_an_encoder_with_tensors_too_many_is_refused(tmp_path: Path) -> None:
    watched = watch(tmp_path, "spied", run=False)
    pretraining, finetuning = watched.plan.units
    execute(pretraining, watched.session, silent)
    as_version_1(store.path_of(watched.results, pretraining))
    file = store.path_of(watched.results, pretraining) / ENCODER
    save_file({**load_file(str(file)), "body.9.weight": torch.zeros(1)}, str(file))
    assert "does not fit spy: body.9.weight" in execute(finetuning, watched.session, silent).reason


# --- rounds ------------------------------------------------------------------------------------------


def test_rounds_differ_in_split_weights_classifier_and_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []
    real = loop.optimize
    monkeypatch.setattr(loop, "optimize", lambda *a, **k: (jobs.append(a[3]), real(*a, **k))[1])
    watched = watch(tmp_path, "spied", rounds=3)
    splits = {frozenset(ids_of(watched, "test", r)) for r in range(3)}
    assert len(splits) == 3
    nets = [prepare(watched.unit("run", round_=r), watched.session).net.state_dict() for r in range(3)]
    for name in ("body.0.weight", "head.weight"):
        assert len({nets[r][name].numpy().tobytes() for r in range(3)}) == 3, name
    assert len({job.seed for job in jobs}) == 6  # two stages of three rounds


def test_data_sets_of_one_study_have_random_numbers_of_their_own(tmp_path: Path) -> None:
    other = dataclasses.replace(tagged(), name="others")
    nets = [
        prepare(w.unit("run"), w.session).net.state_dict()["body.0.weight"]
        for w in (
            watch(tmp_path / "a", "scratch", run=False),
            watch(tmp_path / "b", "scratch", dataset=other, run=False),
        )
    ]
    assert not torch.equal(*nets)


# --- protocol to engine, field by field --------------------------------------------------------------


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    """Units of a protocol in which no two values are alike and none is at its default."""
    watched = watch(
        tmp_path_factory.mktemp("specs"),
        "spied",
        run=False,
        seed=5,
        precision="bf16",
        pretrain={
            "epochs": 11,
            "batch": 6,
            "resize": 41,
            "scale": [0.3, 0.9],
            "flip": 0.25,
            "learning_rate": 0.07,
            "betas": [0.81, 0.91],
            "weight_decay": 0.013,
            "warmup": 0.17,
        },
        finetune={
            "epochs": 13,
            "batch": 5,
            "resize": 37,
            "flip": 0.75,
            "learning_rate": 0.003,
            "betas": [0.82, 0.92],
            "weight_decay": 0.017,
            "warmup": 0.19,
        },
    )
    pretraining, finetuning = watched.plan.units
    assert isinstance(pretraining, PretrainSpec)
    assert isinstance(finetuning, RunSpec)
    return watched, pretraining, finetuning


def steps(images: int, batch: int) -> int:
    """Steps of an epoch; a last batch of one image is left out."""
    whole, rest = divmod(images, batch)
    return whole + (rest > 1)


BUDGET: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "epochs": (lambda s, n: s.pretrain.epochs, lambda s, n: s.finetune.epochs),
    "steps": (lambda s, n: steps(n, s.pretrain.batch), lambda s, n: steps(n, s.finetune.batch)),
    "learning_rate": (lambda s, n: 0.07 * 6 / 256, lambda s, n: 0.003),
    "betas": (lambda s, n: (0.81, 0.91), lambda s, n: (0.82, 0.92)),
    "weight_decay": (lambda s, n: 0.013, lambda s, n: 0.017),
    "warmup": (lambda s, n: 0.17, lambda s, n: 0.19),
}


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Budget)])
def test_every_field_of_a_budget_is_its_protocols(specs: Specs, name: str) -> None:
    watched, *units = specs
    train = len(ids_of(watched, "train"))
    for unit, expected in zip(units, BUDGET[name], strict=True):
        training = training_of(unit, prepare(unit, watched.session), watched.session)
        assert getattr(training.budget, name) == expected(unit, train)


INPUTS: dict[str, dict[str, Any]] = {
    "pretraining": {"batch": 6, "size": SIZE, "scale": (0.3, 0.9), "flip": 0.25, "device_store": None},
    "finetuning": {"batch": 5, "size": SIZE, "flip": 0.75, "device_store": None},
}


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        (stage, name)
        for stage in INPUTS
        for name in inspect.signature(getattr(input_pipeline, stage)).parameters
    ],
)
def test_every_setting_of_the_input_pipeline_is_its_protocols(
    specs: Specs, monkeypatch: pytest.MonkeyPatch, stage: str, name: str
) -> None:
    calls: list[inspect.BoundArguments] = []
    real = getattr(input_pipeline, stage)

    def note(*arguments: Any, **settings: Any) -> InputPipeline:
        calls.append(inspect.signature(real).bind(*arguments, **settings))
        pipeline: InputPipeline = real(*arguments, **settings)
        return pipeline

    monkeypatch.setattr(input_pipeline, stage, note)
    watched, *units = specs
    unit = units[0] if stage == "pretraining" else units[1]
    setup = prepare(unit, watched.session)
    training_of(unit, setup, watched.session)
    (call,) = calls
    if name == "view":
        assert call.arguments[name] is setup.images.view(41 if stage == "pretraining" else 37)
    elif name == "indices":
        assert {setup.images.ids[i] for i in call.arguments[name]} == ids_of(watched, "train")
    elif name == "labels":
        assert call.arguments[name].tolist() == setup.images.labels.tolist()
    else:
        assert call.arguments[name] == INPUTS[stage][name]


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Job)])
def test_every_field_of_a_job_is_its_units(specs: Specs, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What the training loop is told about where it runs."""
    jobs: list[Job] = []

    class EnoughSeen(Exception):
        pass

    def note(module: Any, inputs: Any, budget: Any, job: Job, validate: Any = None) -> None:
        jobs.append(job)
        raise EnoughSeen

    monkeypatch.setattr(loop, "optimize", note)
    watched, unit, _ = specs
    environment = dataclasses.replace(watched.session.environment, compile=True, graph=False)
    session = Session(environment, watched.session.registry)
    heard: list[Progress] = []
    assert "EnoughSeen" in execute(unit, session, heard.append).reason
    heard.clear()
    news = Progress(unit="of the loop", stage="pretrain", done=1)
    jobs[0].report(news)
    assert heard == [dataclasses.replace(news, unit=unit.label, key=unit.key)]
    expected = {
        "unit": "spy.spied.r0",
        "stage": "pretrain",
        "seed": derive_seed(5, "tagged", 0, "pretrain"),
        "device": torch.device("cpu"),
        "checkpoint": environment.scratch / "checkpoints" / f"{unit.key}.1.pt",
        "report": jobs[0].report,  # which was called above
        "precision": "bf16",
        "accumulate": 1,
        "memory_formats": environment.scratch / "memory_formats",
        "graph": False,
        "compile": True,
    }
    assert getattr(jobs[0], name) == expected[name]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graph")


@pytest.mark.parametrize(
    ("by", "given", "variable", "graph"),
    [
        ("command", True, None, True),
        ("command", False, None, False),
        ("command", True, "0", False),
        ("command", True, "1", True),
        ("api", True, None, True),
        ("api", False, None, False),
        ("api", True, "0", False),
    ],
)
def test_whether_steps_are_captured_is_up_to_who_asks(
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
    given: bool,
    variable: str | None,
    graph: bool,
) -> None:
    """From --no-graph, `graph=False` and $BENCH_GRAPH to what the training loop is told."""
    jobs: list[Job] = []

    def note(module: Any, inputs: Any, budget: Any, job: Job, validate: Any = None) -> None:
        jobs.append(job)
        raise ValueError("seen enough")

    monkeypatch.setattr(loop, "optimize", note)
    monkeypatch.delenv("BENCH_GRAPH", raising=False)
    if variable is not None:
        monkeypatch.setenv("BENCH_GRAPH", variable)
    results, values = workplace / "results", {"dataset.phantom.patients": 30, "protocol.size": 32}
    if by == "command":
        text = "run --dataset phantom -s scratch -p quick --rounds 1 --device cpu --threads 1 --in-process"
        options = [f"--set={name}={value}" for name, value in values.items()]
        options += ["--data", str(workplace), "--results", str(results)]
        if not given:
            options.append("--no-graph")
        done = CliRunner().invoke(app, [*text.split(), *options])
        assert done.exit_code == 1  # the unit has failed
    else:
        study = Study.from_names("phantom", "scratch", protocol="quick", rounds=1, values=values)
        place = local_environment(workplace, results, device="cpu", threads=1, graph=given)
        bench.run(bench.plan(study, place), in_process=True)
    assert [job.graph for job in jobs] == [graph]


def test_predictions_that_do_not_fit_let_go_of_images_on_the_device(
    specs: Specs, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, _, unit = specs
    session, rooms = watched.session, []

    def note(net: Any, batches: Any, normalize: Any, job: Any, make_room: Any) -> None:
        rooms.append(make_room)
        raise ValueError("seen enough")

    monkeypatch.setattr("bench.engine.predict.predict", note)
    monkeypatch.setattr(loop, "optimize", lambda *arguments: History())
    monkeypatch.setattr("bench.execution.run.load_initial_weights", lambda *arguments: "")
    with pytest.raises(ValueError, match="seen enough"):
        finetune(unit, session, silent)
    assert rooms == [session.free_device_memory]


def test_a_protocols_tables_are_merged_value_by_value() -> None:
    protocol = Study.from_names(
        "phantom",
        "scratch",
        protocol="quick",
        values={"protocol.pretrain.epochs": 9, "protocol.split.val": 0.3},
    ).protocol
    assert (protocol.pretrain.epochs, protocol.pretrain.resize, protocol.pretrain.batch) == (9, 112, 16)
    assert (protocol.split.val, protocol.split.test, protocol.finetune.warmup) == (0.3, 0.2, 0.1)


# --- ensembles and groups ----------------------------------------------------------------------------


def test_an_ensemble_is_fitted_on_validation_and_applied_to_both_parts(tmp_path: Path) -> None:
    watched = watch(tmp_path, "scratch", "spied")
    (members,) = watched.notes.fitted
    assert [set(p.ids) for p in members] == [ids_of(watched, "val")] * 2
    runs = [watched.unit("run", name) for name in ("scratch", "spied")]
    assert store.read(watched.results, watched.unit("ensemble")).members == tuple(run.key for run in runs)
    for run, member in zip(runs, members, strict=True):
        expected = watched.predictions(run, "val").probabilities
        np.testing.assert_array_equal(member.probabilities, expected)
    assert watched.notes.combined == [len(ids_of(watched, part)) for part in ("val", "test")]
    for part in ("val", "test"):
        each = [watched.predictions(run, part).probabilities for run in runs]
        combined = watched.predictions(watched.unit("ensemble"), part)
        np.testing.assert_allclose(combined.probabilities, np.mean(each, axis=0))
        assert combined.ids == watched.predictions(runs[0], part).ids


def with_duplicates() -> Dataset:
    """Textures, of which images 2k and 2k + 1 show the same picture, under groups of their own."""

    def index(root: Path, params: NoParams) -> Index:
        rng = np.random.default_rng(0)
        samples = []
        for k in range(IMAGES // 2):
            texture = rng.integers(0, 256, (64, 64), dtype=np.uint8)
            for i in (2 * k, 2 * k + 1):
                samples.append(
                    Sample(id=f"i{i:02d}", label="ab"[k % 2], group=f"patient {i:02d}", array=texture)
                )
        return Index(classes=("a", "b"), samples=tuple(samples))

    return Dataset(name="textured", about="test", index=index)


def test_predictions_carry_the_groups_that_the_audit_joined(tmp_path: Path) -> None:
    watched = watch(tmp_path, "scratch", dataset=with_duplicates())
    for part in ("val", "test"):
        predictions = watched.predictions(watched.unit("run"), part)
        groups = dict(zip(predictions.ids, predictions.groups, strict=True))
        assert groups
        for name, group in groups.items():
            first = int(name[1:]) // 2 * 2
            assert group == f"patient {first:02d}", "duplicates are one group, under the first of their names"
    split = load_split(
        watched.results,
        watched.session.images(watched.plan.study.datasets[0], (SIZE,)),
        watched.unit("run").split,
    )
    assert split.verdict
    assert not split.verdict.leaks


# --- time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same", [True, False])
def test_only_records_of_this_very_machine_estimate_time(specs: Specs, same: bool) -> None:
    watched, unit, _ = specs
    hardware = dict(watched.session.hardware)
    if not same:
        hardware["threads"] = int(hardware["threads"]) + 1
    record = Record(
        spec=unit, timings=Timings(seconds=20.0, steps=10), provenance=Provenance(hardware=hardware)
    )
    expected = Estimator([record], watched.session, may_measure=False).expect(unit)
    if same:
        assert expected is not None
        assert expected.seconds == pytest.approx(2.0 * 11 * steps(len(ids_of(watched, "train")), 6))
        assert expected.basis == "records"
    else:
        assert expected is None


def test_records_of_other_work_do_not_estimate_time(specs: Specs) -> None:
    watched, unit, finetuning = specs
    record = Record(
        spec=unit,
        timings=Timings(seconds=20.0, steps=10),
        provenance=Provenance(hardware=watched.session.hardware),
    )
    estimator = Estimator([record], watched.session, may_measure=False)
    assert estimator.expect(finetuning) is None
    larger = dataclasses.replace(unit, pretrain=dataclasses.replace(unit.pretrain, batch=12))
    assert estimator.expect(larger) is None


def test_a_timed_step_is_captured_only_where_trainings_are(
    specs: Specs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--no-graph and $BENCH_GRAPH=0 are the way out where graphs fail, so a plan must not try one."""
    jobs: list[Job] = []

    def note(module: Any, inputs: Any, budget: Any, job: Job) -> None:
        jobs.append(job)
        raise ValueError("seen enough")

    monkeypatch.setattr("bench.engine.step.make_step", note)
    watched, unit, _ = specs
    for graph in (True, False):
        environment = dataclasses.replace(watched.session.environment, graph=graph)
        with pytest.raises(ValueError, match="seen enough"):
            time_step(unit, Session(environment, watched.session.registry))
    assert [job.graph for job in jobs] == [True, False]


def test_a_step_is_timed_as_a_run_does_it(specs: Specs, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the choices of a run, on batches that the step has drawn, all of one size."""
    watched, unit, _ = specs
    jobs: list[Job] = []
    drawn: list[Any] = []
    stepped: list[Any] = []
    original = step_module.make_step

    class Watched(step_module.Step):
        def draw(self, epoch: Any) -> Any:
            for batch in super().draw(epoch):
                drawn.append(batch)
                yield batch

        def __call__(self, batch: Any, rate: float) -> None:
            assert batch is drawn[-1]
            stepped.append(batch)
            super().__call__(batch, rate)

    def note(module: Any, inputs: Any, budget: Any, job: Job) -> Any:
        jobs.append(job)
        return original(module, inputs, budget, dataclasses.replace(job, compile=False))

    monkeypatch.setattr(step_module, "Step", Watched)
    monkeypatch.setattr(step_module, "make_step", note)
    environment = dataclasses.replace(watched.session.environment, compile=True)
    smaller = dataclasses.replace(unit, pretrain=dataclasses.replace(unit.pretrain, batch=7))
    assert time_step(smaller, Session(environment, watched.session.registry)) > 0
    (job,) = jobs
    assert job.compile
    assert job.memory_formats == environment.scratch / "memory_formats"
    assert len(stepped) == 1 + TIMED
    assert {len(images) for (images,) in stepped} == {7}


# --- numbers that the paper's figures depend on ------------------------------------------------------


def two_images(first: float, second: float) -> Predictions:
    """Of three classes: one image predicted rightly with probability `first`, one wrongly with `second`."""
    rows = [[top, (1 - top) / 2, (1 - top) / 2] for top in (first, second)]
    return Predictions(
        classes=("a", "b", "c"),
        ids=("1", "2"),
        groups=("1", "2"),
        labels=np.array([0, 1]),
        probabilities=np.array(rows),
    )


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [
        (6 / 15, 0.41, True),  # the upper edge belongs to the bin below it
        (6 / 15, 0.35, False),
        (7 / 15 + 1e-9, 0.52, False),
        (7 / 15, 0.52, True),
    ],
)
def test_calibration_bins_are_closed_above(first: float, second: float, apart: bool) -> None:
    expected = (abs(1 - first) + second) / 2 if apart else abs(1 - first - second) / 2
    ece = installed().metrics.get("ece").score(two_images(first, second))
    assert ece == pytest.approx(expected, abs=1e-6)


def lone_images(per_class: int, classes: int) -> assign.GroupedLabels:
    """Images that stand alone, as many of every class."""
    count = per_class * classes
    return assign.GroupedLabels(
        np.arange(count) % classes, np.arange(count), [f"image {i:03d}" for i in range(count)]
    )


def test_folds_rotate_from_class_to_class() -> None:
    """With six images in each of five classes, one fold of every class has two: not in the same round."""
    images = lone_images(6, 5)
    rounds = [assign.kfold(images, 0.1, 5, r, (3, 100 + r)) for r in range(5)]
    assert [int((codes == assign.TEST).sum()) for codes in rounds] == [6] * 5
    assert (sum((codes == assign.TEST).astype(int) for codes in rounds) == 1).all(), "each is tested once"


def test_validation_is_drawn_anew_in_every_round_of_folds() -> None:
    images = lone_images(20, 3)
    first, again, other = (assign.kfold(images, 0.2, 5, 0, (3, seed)) for seed in (7, 7, 8))
    assert (first == again).all()
    assert ((first == assign.TEST) == (other == assign.TEST)).all(), "the folds have a seed of their own"
    assert ((first == assign.VAL) != (other == assign.VAL)).any()


def test_validation_is_not_what_testing_would_have_taken_next() -> None:
    """Test and validation images are ordered by hashes of their own."""
    images = lone_images(60, 1)
    small, large = (assign.holdout(images, 0.2, share, 5) for share in (0.2, 0.4))
    next_to_test = (large == assign.TEST) & (small != assign.TEST)
    assert ((small == assign.VAL) != next_to_test).any()


def test_noise_is_drawn_for_every_channel() -> None:
    context = Context(classes=("a", "b"), size=64)
    images = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)
    clean = context.normalize(images)
    torch.manual_seed(0)
    noise = EntropyNoise(NoiseParams(), context, guided=True)(images, clean).images - clean
    channels = noise.transpose(0, 1).flatten(1)
    correlation = torch.corrcoef(channels)
    assert correlation.fill_diagonal_(0).abs().max() < 0.05
    assert (channels.std(1) > 1).all()
