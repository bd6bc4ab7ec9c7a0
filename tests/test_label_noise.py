"""`bench label-noise`: images at odds with their label, from stored predictions."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import data_of, mean_of, record_of, run_spec
from test_cli import bench as run_bench
from test_cli import workspace
from typer.testing import CliRunner

from bench import Predictions
from bench.cli import app
from bench.comparison.label_noise import find_doubts, pool
from bench.data.audit.verdict import Verdict
from bench.data.splits.split import PartCount
from bench.identity import Ref
from bench.results import store
from bench.study.protocol import AuditSettings

FOLDS = 4

BUSI = Ref("busi")


def simulated(
    seed: int, images: int, classes: int, flipped: float, skill: float = 4.0
) -> tuple[Any, set[str]]:
    """Predictions of each fold by models that know the true classes; and ids of the images whose given label
    was flipped to another class."""
    random = np.random.default_rng(seed)
    names = tuple(f"class {k}" for k in range(classes))
    true = np.arange(images) % classes
    wrong = random.permutation(images)[: round(flipped * images)]
    labels = true.copy()
    labels[wrong] = (true[wrong] + random.integers(1, classes, len(wrong))) % classes
    logits = random.normal(size=(images, classes)) + skill * np.eye(classes)[true]
    exponentials = np.exp(logits)
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    order = random.permutation(images)
    folds = []
    for tested in np.array_split(order, FOLDS):
        ids = tuple(f"image {i}" for i in tested)
        folds.append(
            Predictions(
                classes=names, ids=ids, groups=ids, labels=labels[tested], probabilities=probabilities[tested]
            )
        )
    return folds, {f"image {i}" for i in wrong}


def stored(
    results: Path,
    rounds: Sequence[Predictions],
    strategy: str = "egmae",
    dataset: Ref = BUSI,
    **data: Any,
) -> None:
    for number, one in enumerate(rounds):
        record = record_of(run_spec(strategy, number, dataset=dataset), data=data_of(**data))
        store.write(results, record, predictions={"val": one, "test": one})


def noise(results: Path, *arguments: object) -> Any:
    words = ["label-noise", *map(str, arguments), "--results", str(results)]
    return CliRunner().invoke(app, words, env={"COLUMNS": "200"})


def counts(train: int, val: int, test: int) -> dict[str, dict[str, PartCount]]:
    numbers = {"train": train, "val": val, "test": test}
    return {part: {"class 0": PartCount(n, n)} for part, n in numbers.items()}


# --- flipped labels are found ------------------------------------------------------------------------


@pytest.mark.parametrize(("images", "classes"), [(2000, 3), (800, 2), (3000, 7)])
def test_flipped_labels_are_found(tmp_path: Path, images: int, classes: int) -> None:
    folds, flipped = simulated(images, images, classes, 0.05)
    stored(tmp_path, folds)
    [found] = json.loads(noise(tmp_path, "-f", "json").stdout)
    listed = {doubt["id"] for doubt in found["doubts"]}
    hits = len(listed & flipped)
    assert hits / len(flipped) > 0.9  # recall
    assert hits / len(listed) > 0.9  # precision
    assert found["judged"] == images
    for doubt in found["doubts"]:
        assert doubt["given"] != doubt["suggested"]
        assert doubt["self_confidence"] < doubt["confidence"]
    confidences = [doubt["self_confidence"] for doubt in found["doubts"]]
    assert confidences == sorted(confidences)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    images=st.integers(400, 1500),
    classes=st.integers(2, 6),
    skill=st.floats(8, 12),
)
def test_of_models_that_are_always_right_only_flipped_labels_are_listed(
    seed: int, images: int, classes: int, skill: float
) -> None:
    """All but a few: how many are wrong is estimated, and rounded, class by class. None of 2,500 random
    studies missed more than there are classes."""
    folds, flipped = simulated(seed, images, classes, 0.05, skill)
    listed = {doubt.id for doubt in find_doubts(pool(folds))}
    assert listed <= flipped
    assert len(flipped - listed) <= classes


def test_right_labels_and_sure_models_leave_nothing_to_list(tmp_path: Path) -> None:
    folds, _ = simulated(1, 300, 3, 0.0, skill=12)
    stored(tmp_path, folds)
    done = noise(tmp_path)
    assert "0 of 300 judged images" in done.stdout
    assert "agree with 100 % of the labels" in done.stdout


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_order_of_rounds_does_not_matter(seed: int) -> None:
    folds, _ = simulated(seed, 300, 3, 0.05)
    assert find_doubts(pool(folds)) == find_doubts(pool(folds[::-1]))


# --- how predictions become one ----------------------------------------------------------------------


def of(*rows: tuple[str, float]) -> Predictions:
    ids = tuple(id_ for id_, _ in rows)
    first = np.array([p for _, p in rows])
    return Predictions(
        classes=("a", "b"),
        ids=ids,
        groups=ids,
        labels=np.zeros(len(rows), dtype=np.int64),
        probabilities=np.stack([first, 1 - first], axis=1),
    )


def test_every_prediction_of_an_image_counts_the_same() -> None:
    pooled = pool([of(("x", 0.9), ("y", 0.2)), of(("y", 0.4)), of(("y", 0.9), ("z", 1.0))])
    assert pooled.ids == ("x", "y", "z")
    assert pooled.predictions.tolist() == [1, 3, 1]
    assert pooled.probabilities[:, 0] == pytest.approx([0.9, 0.5, 1.0])


def test_ensembles_are_used_only_where_they_are_named(tmp_path: Path) -> None:
    folds, _ = simulated(2, 200, 3, 0.05)
    stored(tmp_path, folds, "egmae")
    stored(tmp_path, folds, "imagenet")
    for number, one in enumerate(folds):
        members = [run_spec(strategy, number) for strategy in ("egmae", "imagenet")]
        certain = replace(one, probabilities=np.eye(3)[one.labels])
        record = record_of(mean_of(*members), data=data_of())
        store.write(tmp_path, record, predictions={"val": certain, "test": certain})
    [both] = json.loads(noise(tmp_path, "-f", "json").stdout)
    assert {doubt["predictions"] for doubt in both["doubts"]} == {2}
    assert both["doubts"]
    [one_row] = json.loads(noise(tmp_path, "imagenet", "-f", "json").stdout)
    assert {doubt["predictions"] for doubt in one_row["doubts"]} == {1}
    [ensemble] = json.loads(noise(tmp_path, "mean(egmae+imagenet)", "-f", "json").stdout)
    assert ensemble["doubts"] == []
    unknown = noise(tmp_path, "nope")
    assert unknown.exit_code != 0
    assert "nope" in str(unknown.exception)


# --- what is said of it ------------------------------------------------------------------------------


def test_what_was_not_judged_is_said(tmp_path: Path) -> None:
    folds, _ = simulated(3, 400, 3, 0.05)
    leaky = Verdict(
        audit="a" * 16,
        settings=AuditSettings(),
        leaking_clusters=2,
        leaking_groups=0,
        leaked=4,
        label_conflicts=0,
        kept_out=7,
    )
    stored(tmp_path, folds[:2], counts=counts(240, 60, 100), audit=leaky)
    text = noise(tmp_path).stdout
    assert "of 200 judged images" in text
    assert "200 of 400 images are in no test part and are not judged, 7 of them because" in text
    assert "method=kfold" in text
    assert "The split of rounds 0, 1 leaks" in text
    assert "a person must look. No label is changed." in text


def test_parts_that_a_data_set_fixes_are_not_blamed_on_the_split(tmp_path: Path) -> None:
    folds, _ = simulated(3, 400, 3, 0.05)
    stored(tmp_path, folds[:1], counts=counts(240, 60, 100), fixed=True)
    text = noise(tmp_path).stdout
    assert "the data set itself fixes which are tested on" in text
    assert "kfold" not in text


def test_weak_models_are_not_believed(tmp_path: Path) -> None:
    folds, _ = simulated(4, 400, 3, 0.0, skill=0.3)
    stored(tmp_path, folds)
    assert "says more of them than of the labels" in noise(tmp_path).stdout
    folds, _ = simulated(4, 400, 3, 0.05)
    stored(tmp_path / "good", folds)
    assert "says more of them" not in noise(tmp_path / "good").stdout


def test_a_class_with_few_images_is_named(tmp_path: Path) -> None:
    folds, _ = simulated(5, 90, 3, 0.0)
    some = [
        replace(
            one, classes=(*one.classes, "rare"), probabilities=np.pad(one.probabilities, ((0, 0), (0, 1)))
        )
        for one in folds
    ]
    stored(tmp_path, some)
    done = noise(tmp_path)
    assert done.exit_code == 0, done.output
    assert "Fewer than 5 images of rare were judged" in done.stdout


def test_csv_has_all_images_and_the_terminal_the_first(tmp_path: Path) -> None:
    folds, _ = simulated(6, 1000, 3, 0.05)
    stored(tmp_path, folds)
    rows = list(csv.DictReader(io.StringIO(noise(tmp_path, "-f", "csv", "--most", 3).stdout)))
    assert len(rows) > 30
    text = noise(tmp_path, "--most", 3).stdout
    assert rows[2]["id"] in text
    assert f"and {len(rows) - 3} more" in text
    first = rows[0]
    assert (first["where"], first["predictions"]) == ("busi", "1")
    assert 0 <= float(first["self_confidence"]) < float(first["confidence"]) <= 1


def test_a_template_is_for_a_person_to_fill_in_and_never_overwritten(tmp_path: Path) -> None:
    folds, _ = simulated(7, 600, 3, 0.05)
    stored(tmp_path / "results", folds)
    target = tmp_path / "reviewed.csv"
    done = noise(tmp_path / "results", "--reviewed", target, "--most", 5)
    assert "fill in group or exclude (yes) where you decide, and delete the other lines" in done.stderr
    rows = list(csv.DictReader(io.StringIO(target.read_text(encoding="utf-8"))))
    assert [tuple(row) for row in rows] == [("id", "group", "exclude", "reason")] * 5
    assert {(row["group"], row["exclude"]) for row in rows} == {("", "")}
    assert all(row["reason"].startswith("label noise: given class ") for row in rows)
    target.write_text("decided\n", encoding="utf-8")
    again = noise(tmp_path / "results", "--reviewed", target)
    assert "is there already" in str(again.exception)
    assert target.read_text(encoding="utf-8") == "decided\n"


def test_no_template_is_made_for_images_of_another_data_set(tmp_path: Path) -> None:
    """A reviewed file is of the study's own data set, and those of an external test are another's."""
    folds, _ = simulated(7, 200, 2, 0.05)
    stored(tmp_path / "results", folds, dataset=Ref("busi", {"test_on": "folder"}))
    refused = noise(tmp_path / "results", "--reviewed", tmp_path / "new.csv")
    assert "the images that were tested on are those of folder" in str(refused.exception)
    assert not (tmp_path / "new.csv").exists()


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folds, _ = simulated(8, 60, 2, 0.05)
    stored(tmp_path, folds)
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    done = noise(tmp_path)
    assert 'pip install "medbench[noise]"' in str(done.exception)


def test_without_results_the_folder_is_named(tmp_path: Path) -> None:
    assert "no finished runs" in noise(tmp_path).stderr
    assert "no such folder" in str(noise(tmp_path / "nowhere").exception)


def test_a_page_without_the_images_says_why(tmp_path: Path) -> None:
    folds, _ = simulated(9, 600, 3, 0.05)
    stored(tmp_path / "results", folds)
    target = tmp_path / "page.html"
    data = ("--data", tmp_path / "nothing")
    noise(tmp_path / "results", "-o", target, *data)
    text = target.read_text(encoding="utf-8")
    assert "<img" not in text
    assert "does not say that they may be passed on" in text  # busi
    assert text.count("<tr>") > 20
    asked = noise(tmp_path / "results", "-o", target, "--embed-pictures", *data)
    assert "busi" in str(asked.exception)
    assert target.read_text(encoding="utf-8") == text


# --- a real run --------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_real_run_becomes_a_page_with_pictures(tmp_path: Path) -> None:
    """Two folds of generated images, whose licence lets them be shown."""
    folder = workspace(tmp_path)
    kfold = ("--set", "protocol.split.method=kfold", "--set", "protocol.split.folds=2", "--rounds", "2")
    phantom = ("--dataset", "phantom", "--set", "dataset.phantom.patients=36")
    (folder / "seen.csv").write_text("id,group,exclude\nno_lesion/p0000-0,,yes\n")
    seen = ("--set", "dataset.phantom.groups=seen.csv")
    here = ("--device", "cpu", "--threads", "1")
    run_bench(folder, "run", *phantom, *seen, "-s", "scratch", "-p", "tiny.toml", *kfold, *here)
    done = run_bench(folder, "label-noise", "-o", "page.html", "--most", "6")
    assert "a reviewed file of your own by --set dataset.phantom.groups=FILE" in " ".join(done.stderr.split())
    done = run_bench(folder, "label-noise", "-o", "page.html", "--most", "6", *seen)
    assert "written: page.html" in done.stderr
    [found] = json.loads(run_bench(folder, "label-noise", "-f", "json").stdout)
    assert found["judged"] == found["images"] > 60  # with k folds every image is judged
    assert "in no test part" not in done.stdout
    text = (folder / "page.html").read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") >= 6 + 2
    assert "Pictures may be passed on: bench generates them" in text
    for doubt in found["doubts"][:6]:
        assert doubt["id"] in text
    run_bench(folder, "report", "-o", "report.html", *seen)  # by the same option, for the same reason
    assert "are those of these results" in (folder / "report.html").read_text(encoding="utf-8")
    other = run_bench(
        folder, "label-noise", "-o", "none.html", "--no-pictures", BENCH_DATA=str(folder / "nothing")
    )
    assert "none.html" in other.stderr
    assert "<img" not in (folder / "none.html").read_text(encoding="utf-8")
