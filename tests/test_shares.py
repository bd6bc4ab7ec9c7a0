"""Fine-tuning with the labels of a share of the training images: which, and what tables make of it."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import data_of, mean_of, predictions, record_of, run_spec
from spies import Seen, Watched, tagged, watch
from typer.testing import CliRunner

from bench import ConfigError, Study
from bench.cli import app
from bench.comparison.build import Shown
from bench.comparison.tables import tables_of
from bench.data.splits import assign
from bench.data.splits.labelled import labelled_counts, labelled_images
from bench.data.splits.split import PartCount
from bench.engine.batches import steps_per_epoch
from bench.execution.estimate import Estimator
from bench.execution.prepare import prepare, training_of
from bench.identity import to_json
from bench.registry import installed
from bench.results import store
from bench.study.expand import expand
from bench.study.protocol import Finetuning
from bench.study.spec import PretrainSpec, RunSpec, share_of

SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.9, 1.0)
WIDE: Any = {"env": {"COLUMNS": "200"}}


# --- which images ------------------------------------------------------------------------------------


def toy(groups: list[list[int]]) -> assign.GroupedLabels:
    """Images of groups that list how many images of each class they have."""
    rows = [(c, g) for g, of in enumerate(groups) for c, n in enumerate(of) for _ in range(n)]
    classes, numbers = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return assign.GroupedLabels(classes, numbers, [f"g{i}" for i in range(len(groups))])


some_groups = st.lists(
    st.lists(st.integers(0, 4), min_size=3, max_size=3).filter(any), min_size=3, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(some_groups, st.integers(0, 5))
def test_subsets_are_whole_groups_nested_and_have_every_class(groups: list[list[int]], seed: int) -> None:
    images = toy(groups)
    subsets = [assign.subset(images, share, seed) for share in SHARES]
    for smaller, larger in pairwise(subsets):
        assert not (smaller & ~larger).any()
    for taken in subsets:
        assert not set(images.groups[taken]) & set(images.groups[~taken])
        assert set(images.classes[taken]) == set(images.classes)
    assert subsets[-1].all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(1, 5), min_size=4, max_size=30), min_size=2, max_size=4))
def test_a_subset_is_off_its_share_by_at_most_half_a_group(sizes: list[list[int]]) -> None:
    images = toy([[n * (c == k) for k in range(len(sizes))] for c, own in enumerate(sizes) for n in own])
    for share in SHARES:
        taken = assign.subset(images, share, 7)
        for class_, own in enumerate(sizes):
            count = int((images.classes[taken] == class_).sum())
            if count > max(own):  # more than the one group that every class has
                assert abs(count - share * sum(own)) <= max(own) / 2


def test_a_large_group_is_not_skipped() -> None:
    """Where a smaller one were taken in its place, the subset would not lie within that of a larger share."""
    images = toy([[10, 0], [1, 0], [1, 0], [0, 1], [0, 1]])
    for seed in range(20):
        sizes = [
            int(assign.subset(images, share, seed)[images.classes == 0].sum()) for share in (0.2, 0.5, 1)
        ]
        assert sizes == sorted(sizes)
        assert set(images.groups[assign.subset(images, 0.2, seed)]) <= set(
            images.groups[assign.subset(images, 0.5, seed)]
        )


def test_another_image_leaves_the_order_of_the_others() -> None:
    few, more = (toy([[1, 0], [0, 1]] * n) for n in (20, 21))
    a, b = (set(x.groups[assign.subset(x, 0.2, 3)]) for x in (few, more))
    assert len(a - b) <= 2  # one of each class


# --- what the engine sees ----------------------------------------------------------------------------


def trained(watched: Watched, first: int = 0, last: int | None = None) -> set[str]:
    seen: list[Seen] = watched.notes.seen[first:last]
    return {name for batch in seen if batch.training for name in batch.ids}


def labelled_ids(watched: Watched, share: float) -> set[str]:
    (split,) = watched.plan.splits.values()
    return {split.ids[i] for i in labelled_images(split, share, 0)}


def ids_of(watched: Watched, part: str) -> set[str]:
    (split,) = watched.plan.splits.values()
    return {split.ids[i] for i in split.indices(part)}


def test_fine_tuning_sees_exactly_the_images_of_the_share(tmp_path: Path) -> None:
    watched = watch(tmp_path, "scratch", finetune={"share": 0.25, "epochs": 3, "batch": 4})
    chosen = labelled_ids(watched, 0.25)
    assert trained(watched) == chosen < ids_of(watched, "train")
    counted = Counter(n for b in watched.notes.seen if b.training for n in b.ids)
    assert len(chosen) % 4 != 1, "a last batch of a single image would be left out"
    assert counted == dict.fromkeys(chosen, 3)
    predicted = [set(batch.ids) for batch in watched.notes.seen if not batch.training]
    assert predicted == [ids_of(watched, "val"), ids_of(watched, "test")]
    data = store.read(watched.results, watched.unit("run")).data
    assert data
    (split,) = watched.plan.splits.values()
    assert data.labelled == labelled_counts(split, 0.25, 0)
    assert sum(n.images for n in data.labelled.values()) == len(chosen)
    assert data.counts == split.counts()


def test_pretraining_sees_all_training_images_and_is_the_same_for_all_shares(tmp_path: Path) -> None:
    budget = {"epochs": 1, "batch": 7}
    shown = watch(tmp_path, "spied", "scratch", finetune={"share": 0.1, "epochs": 1}, pretrain=budget)
    train = ids_of(shown, "train")
    seen = [set(b.ids) for b in shown.notes.seen if b.training]
    steps = steps_per_epoch(len(train), 7)
    assert len(train) % 7 != 1, "a last batch of a single image would be left out"
    assert set().union(*seen[:steps]) == train
    assert seen[steps:] == [labelled_ids(shown, 0.1)] * 2
    whole = watch(tmp_path / "whole", "spied", finetune={"share": 1.0}, pretrain=budget, run=False)
    assert whole.unit("pretrain").key == shown.unit("pretrain").key
    assert "share" not in json.dumps(to_json(shown.unit("pretrain")))


def test_all_strategies_of_a_round_see_the_same_images(tmp_path: Path) -> None:
    whole = {"epochs": 1, "batch": 40}
    watched = watch(tmp_path, "scratch", "spied", finetune={"share": 0.2, **whole}, pretrain=whole)
    seen = [set(b.ids) for b in watched.notes.seen if b.training]
    chosen = labelled_ids(watched, 0.2)
    assert seen == [chosen, ids_of(watched, "train"), chosen]


def test_rounds_and_seeds_have_other_images(tmp_path: Path) -> None:
    watched = watch(tmp_path, "scratch", rounds=2, run=False)
    first, second = watched.plan.splits.values()
    drawn = [{s.ids[i] for i in labelled_images(s, 0.3, 0)} for s in (first, second)]
    assert drawn[0] != drawn[1]
    assert drawn[0] != {first.ids[i] for i in labelled_images(first, 0.3, 1)}
    assert labelled_images(first, 1.0, 0).tolist() == first.indices("train").tolist()


@pytest.mark.parametrize("share", [0.001, 0.1])
def test_fewer_images_than_a_batch_are_one_step(tmp_path: Path, share: float) -> None:
    watched = watch(tmp_path, "scratch", finetune={"share": share, "epochs": 2, "batch": 16})
    count = len(labelled_ids(watched, share))
    assert 2 <= count < 16
    record = store.read(watched.results, watched.unit("run"))
    assert record.timings
    assert record.timings.steps == 2
    assert trained(watched) == labelled_ids(watched, share)


def test_the_estimate_counts_the_steps_of_the_share(tmp_path: Path) -> None:
    watched = watch(tmp_path, "scratch", finetune={"share": 0.3, "epochs": 5, "batch": 2}, run=False)
    unit = watched.unit("run")
    assert isinstance(unit, RunSpec)
    steps = 5 * steps_per_epoch(len(labelled_ids(watched, 0.3)), 2)
    assert Estimator([], watched.session)._steps(unit) == steps
    training = training_of(unit, prepare(unit, watched.session), watched.session)
    assert training.budget.epochs * training.budget.steps == steps


# --- studies -----------------------------------------------------------------------------------------


def test_a_study_of_several_shares_has_one_pretraining_a_round() -> None:
    study = Study.from_names(
        "phantom", "egmae,scratch", protocol="quick", rounds=2, shares=[0.1, 1], ensembles="mean"
    )
    units = expand(study, installed(), lambda dataset, round_: f"split{round_}").units
    assert Counter(unit.kind for unit in units) == {"pretrain": 2, "run": 8, "ensemble": 4}
    assert len({unit.key for unit in units}) == len(units)
    for i, unit in enumerate(units):
        assert all(need in units[:i] for need in unit.needs)
        if unit.kind == "ensemble":
            assert {share_of(member) for member in unit.needs} == {share_of(unit)}
    assert {unit.label for unit in units if unit.kind == "run" and unit.round == 0} == {
        f"tf_efficientnet_lite0.{s}{share}.r0" for s in ("egmae", "scratch") for share in (".share0.1", "")
    }
    plain = Study.from_names("phantom", "egmae,scratch", protocol="quick", rounds=2, ensembles="mean")
    old = expand(plain, installed(), lambda dataset, round_: f"split{round_}").units
    assert {unit.key for unit in old} < {unit.key for unit in units}


def test_a_share_of_one_keeps_the_key() -> None:
    assert run_spec(finetune=Finetuning(share=1)).key == run_spec().key
    assert run_spec(finetune=Finetuning(share=0.5)).key != run_spec().key
    assert isinstance(run_spec(epochs=3, finetune=Finetuning(share=0.5)).start, PretrainSpec)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"shares": [0.1, 0.1]}, "0.1 is named twice"),
        ({"shares": [10]}, "shares 10: must be shares from 0.0001 to 1"),
        ({"shares": ["few"]}, "shares 'few': must be shares"),
        ({"shares": []}, "names none"),
        ({"shares": [0.1], "values": {"protocol.finetune.share": 0.2}}, "give one of them"),
        ({"values": {"protocol.finetune.share": 0}}, "protocol.finetune.share = 0"),
    ],
)
def test_bad_shares_are_one_clear_error(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Study.from_names("phantom", "scratch", protocol="quick", **given_)


def test_a_study_file_and_the_option_name_shares(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('datasets = ["phantom"]\nstrategies = ["scratch"]\nbase = "quick"\nshares = [0.1, 1]\n')
    assert Study.from_file(file).shares == (0.1, 1.0)
    file.write_text('datasets = ["phantom"]\nstrategies = ["scratch"]\nshares = [0.1, 2]\n')
    with pytest.raises(ConfigError, match=r"s.toml.shares.1 = 2"):
        Study.from_file(file)
    asked = CliRunner().invoke(app, ["run", "-d", "phantom", "-s", "scratch", "--shares", "5,10"], **WIDE)
    assert isinstance(asked.exception, ConfigError)
    assert "--shares '5': must be shares from 0.0001 to 1" in str(asked.exception)


# --- tables ------------------------------------------------------------------------------------------


def store_share(results: Path, strategy: str, share: float, round_: int, skill: float) -> None:
    spec = run_spec(strategy, round_, finetune=Finetuning(share=share))
    labelled = {
        name: PartCount(round(share * n) + round_, 5) for name, n in (("benign", 300), ("normal", 90))
    }
    each = predictions(100 * round_ + len(strategy), skill=skill)
    record = record_of(spec, data=data_of(labelled=labelled if share < 1 else None))
    store.write(results, record, predictions={"val": each, "test": each})


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for share in (1.0, 0.05, 0.1):
        for strategy in ("imagenet", "scratch"):
            for round_ in range(3 if share < 1 else 2):
                store_share(tmp_path, strategy, share, round_, 1.5 + share + (strategy == "imagenet"))
    return tmp_path


def bench(results: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--results", str(results)], **WIDE)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_each_share_has_a_table_of_its_own_from_the_smallest(results: Path) -> None:
    tables = tables_of(store.scan(results)[0], results, ["accuracy"]).tables
    assert [(t.share, t.labelled) for t in tables] == [(0.05, 21), (0.1, 41), (1.0, 540)]
    assert all([row.method for row in t.rows] == ["imagenet", "scratch"] for t in tables)
    assert tables[0].protocol.startswith("5 % of the labels (21 images), 224 px")
    assert "share" not in tables[0].protocol
    assert tables[2].protocol.startswith("224 px")
    assert any("fine-tuning saw 41 of the training images" in line for line in tables[1].footer)


def test_the_curve_has_a_column_for_each_share_with_the_values_of_its_table(results: Path) -> None:
    records = store.scan(results)[0]
    tables = tables_of(records, results, ["accuracy", "auc"]).tables
    curves = tables_of(records, results, ["accuracy", "auc"], shown=Shown(by_share=True)).tables
    assert [c.title for c in curves] == ["busi: Accuracy by share of labels", "busi: AUC by share of labels"]
    assert [c.title for c in curves[0].columns] == ["5 % (21)", "10 % (41)", "100 % (540)"]
    for name, curve in zip(("accuracy", "auc"), curves, strict=True):
        for table, column in zip(tables, curve.columns, strict=True):
            for row, own in zip(curve.rows, table.rows, strict=True):
                assert row.values[column.name] == own.values[name]
    row = curves[0].rows[0]
    assert (row.rounds_done, row.rounds_asked) == (2, 3)
    assert "rounds: 3 at 5 %, 3 at 10 %, 2 at 100 %" in row.note
    assert curves[0].share is None
    said = "\n".join(curves[0].footer)
    assert "100 %: Nothing is tested with 2 rounds" in said
    assert "\n5 %: Nothing is tested" not in said  # three rounds are tested


def test_tables_that_differ_in_more_than_the_share_have_no_curve(results: Path) -> None:
    other = run_spec("imagenet", 0, finetune=Finetuning(share=0.5, epochs=3))
    each = predictions(1)
    store.write(results, record_of(other), predictions={"val": each, "test": each})
    moved = run_spec("imagenet", 0, split="another", finetune=Finetuning(share=0.5))
    store.write(results, record_of(moved), predictions={"val": each, "test": each})
    (curve,) = tables_of(store.scan(results)[0], results, ["accuracy"], shown=Shown(by_share=True)).tables
    assert [column.title.split(" (")[0] for column in curve.columns] == ["5 %", "10 %", "100 %"]


def test_an_ensemble_is_a_row_of_the_curve(results: Path) -> None:
    for share in (0.05, 0.1):
        spec = mean_of(*(run_spec(s, finetune=Finetuning(share=share)) for s in ("imagenet", "scratch")))
        each = predictions(5)
        store.write(results, record_of(spec), predictions={"val": each, "test": each})
        assert spec.label == f"convnext_tiny.mean(imagenet+scratch).share{share:g}.r0"
    (curve,) = tables_of(store.scan(results)[0], results, ["accuracy"], shown=Shown(by_share=True)).tables
    assert [row.method for row in curve.rows] == ["imagenet", "scratch", "mean(imagenet + scratch)"]
    assert sorted(curve.rows[2].values) == ["accuracy@0.05", "accuracy@0.1"]


@pytest.mark.parametrize("format_", ["rich", "markdown", "latex", "html", "csv", "json"])
def test_every_reporter_renders_the_curve(results: Path, format_: str) -> None:
    text = bench(results, "table", "--by-share", "--metrics", "auc", "-f", format_)
    for share in ("5", "10", "100"):
        if format_ == "csv":
            assert f"auc@{float(share) / 100:g}_mean" in text
        else:
            assert f"{share} % (" in text or f"{share} \\% (" in text or f"{share}\\,\\% (" in text
    assert "busi: AUC by share of labels" in text


def test_csv_has_columns_for_share_and_images(results: Path) -> None:
    text = bench(results, "table", "--metrics", "accuracy", "-f", "csv")
    rows = list(csv.DictReader(line for line in io.StringIO(text) if not line.startswith("#")))
    assert [(r["share"], r["labelled"], r["method"]) for r in rows[::2]] == [
        ("0.05", "21.0", "imagenet"),
        ("0.1", "41.0", "imagenet"),
        ("1.0", "540.0", "imagenet"),
    ]
    assert float(rows[0]["accuracy_mean"]) > 0


def test_methods_are_compared_at_each_share_by_itself(results: Path) -> None:
    text = " ".join(bench(results, "compare", "imagenet", "scratch").split())
    assert "Some of them are of the same images" in text
    for where in ("(5 % of the labels (21 images), 224 px", "(10 % of the labels (41 images), 224 px"):
        assert text.count(where) == 1


def test_options_that_curves_do_not_have_are_refused(results: Path) -> None:
    for option in ("--costs", "--reported", "--per-class"):
        arguments = ["table", "--by-share", option, "--results", str(results)]
        done = CliRunner().invoke(app, arguments, **WIDE)
        assert isinstance(done.exception, ConfigError)
        assert f"{option} is not for tables by share of labels" in str(done.exception)


def test_without_two_shares_it_is_said_how_to_get_them(tmp_path: Path) -> None:
    store_share(tmp_path, "imagenet", 0.5, 0, 1.0)
    done = CliRunner().invoke(app, ["table", "--by-share", "--results", str(tmp_path)], **WIDE)
    assert "that differ in the share of labels alone" in done.stderr


def test_the_methods_text_says_the_share(results: Path) -> None:
    text = " ".join(bench(results, "methods-text").split())
    assert "busi, 5 % of the labels (21 images) ====" in text
    assert "fine-tuned with the labels of 5 % of the images (21 on average) of the training part" in text
    assert text.count("fine-tuned with the labels of the training part") == 1


def test_run_ends_with_the_curve(tmp_path: Path) -> None:
    """From end to end, in this process: units of two shares, their tables, and the curve."""
    arguments = ["run", "-d", "phantom", "-s", "scratch", "-p", "quick", "-r", "1", "--shares", "0.02,0.05"]
    for value in ("size=32", "finetune.resize=36", "finetune.epochs=1", "pretrain.resize=36"):
        arguments += ["--set", f"protocol.{value}"]
    arguments += ["--set", "dataset.phantom.patients=40", "--set", "dataset.phantom.size=32"]
    arguments += ["--in-process", "--device", "cpu", "--threads", "1", "--results", str(tmp_path)]
    done = CliRunner().invoke(app, arguments, **WIDE)
    assert done.exit_code == 0, done.output
    assert "Accuracy by share of labels" in done.stdout
    assert done.stdout.count("by share of labels\n") == 1
    records = store.scan(tmp_path)[0]
    assert sorted(share_of(record.spec) for record in records) == [0.02, 0.05]


def test_no_group_is_divided_in_a_real_split(tmp_path: Path) -> None:
    watched = watch(tmp_path, "scratch", dataset=tagged(), run=False)
    (split,) = watched.plan.splits.values()
    for share in SHARES:
        rows = set(labelled_images(split, share, 0).tolist())
        assert rows <= set(split.indices("train").tolist())
        assert {split.labels[i] for i in rows} == set(split.classes)
