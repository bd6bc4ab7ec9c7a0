"""`bench hard-images`: images that all methods get wrong, confidently, or disagree on."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import data_of, mean_of, record_of, run_spec
from typer.testing import CliRunner

from bench import Predictions
from bench.cli import app
from bench.comparison.hard_images import HardImages, hard_images
from bench.results import store
from bench.study.spec import EnsembleSpec, RunSpec

CLASSES = ("benign", "malignant", "normal")
METHODS = ("egmae", "imagenet", "scratch")


def command(results: Path, *arguments: object, columns: int = 200) -> Any:
    words = ["hard-images", *map(str, arguments), "--results", str(results)]
    return CliRunner().invoke(app, words, env={"COLUMNS": str(columns)})


def lists(results: Path) -> Any:
    [found] = json.loads(command(results, "-f", "json").stdout)
    return found


def of(rows: Mapping[str, tuple[int, tuple[float, ...]]]) -> Predictions:
    """Predictions by id: the label and the probability of each class."""
    return Predictions(
        classes=CLASSES,
        ids=tuple(rows),
        groups=tuple(f"group of {id_}" for id_ in rows),
        labels=np.array([label for label, _ in rows.values()], dtype=np.int64),
        probabilities=np.array([row for _, row in rows.values()], dtype=np.float64),
    )


def put(results: Path, spec: RunSpec | EnsembleSpec, one: Predictions) -> Path:
    return store.write(results, record_of(spec, data=data_of()), predictions={"val": one, "test": one})


RIGHT, WRONG, UNSURE = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.34, 0.33, 0.33)


# --- against a plain implementation ------------------------------------------------------------------


@st.composite
def studies(draw: st.DrawFn) -> tuple[dict[int, dict[str, Predictions]], list[str]]:
    """Rounds of other images and methods each; few values of probabilities, so that many are equal."""
    classes = draw(st.integers(2, 4))
    names = tuple(f"class {k}" for k in range(classes))
    methods = [f"m{i}" for i in range(draw(st.integers(1, 5)))]
    images = draw(st.integers(1, 8))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=images, max_size=images))
    rounds: dict[int, dict[str, Predictions]] = {}
    for number in range(draw(st.integers(1, 3))):
        tested = draw(st.lists(st.integers(0, images - 1), min_size=1, unique=True))
        present = draw(st.lists(st.sampled_from(methods), min_size=1, unique=True))
        ids = tuple(f"image {i}" for i in tested)
        for method in present:
            parts = draw(
                st.lists(
                    st.lists(st.integers(1, 4), min_size=classes, max_size=classes),
                    min_size=len(ids),
                    max_size=len(ids),
                )
            )
            values = np.array(parts, dtype=np.float64)
            rounds.setdefault(number, {})[method] = Predictions(
                classes=names,
                ids=ids,
                groups=ids,
                labels=np.array([labels[i] for i in tested], dtype=np.int64),
                probabilities=values / values.sum(axis=1, keepdims=True),
            )
    return rounds, methods


def plainly(rounds: Mapping[int, Mapping[str, Predictions]], voting: list[str]) -> dict[str, dict[str, Any]]:
    """Image by image, prediction by prediction."""
    found: dict[str, dict[str, Any]] = {}
    for own in rounds.values():
        here: dict[str, list[list[float]]] = {}
        for method in voting:
            if method not in own:
                continue
            one = own[method]
            for id_, label, row in zip(one.ids, one.labels.tolist(), one.probabilities.tolist(), strict=True):
                image = found.setdefault(
                    id_, {"label": label, "rows": [], "rounds": 0, "pairs": [], "methods": set()}
                )
                image["rows"].append(row)
                image["methods"].add(method)
                here.setdefault(id_, []).append(row)
        for id_, rows in here.items():
            found[id_]["rounds"] += 1
            found[id_]["pairs"] += [
                (np.argmax(a) != np.argmax(b), sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
                for a, b in combinations(rows, 2)
            ]
    return found


@settings(max_examples=80, deadline=None)
@given(studies())
def test_everything_is_as_one_would_count_it_by_hand(
    study: tuple[dict[int, dict[str, Predictions]], list[str]],
) -> None:
    rounds, methods = study
    ensembles = methods[1:2]
    voting = [name for name in methods if name not in ensembles] if len(methods) > 1 else methods
    plain = plainly(rounds, voting)
    found = hard_images("x", rounds, methods, ensembles)
    assert [one.id for one in found.tested] == sorted(plain)
    for one in found.tested:
        image, label = plain[one.id], found_class(rounds, plain[one.id]["label"])
        predicted = [int(np.argmax(row)) for row in image["rows"]]
        means = [statistics.fmean(column) for column in zip(*image["rows"], strict=True)]
        own, others = means[image["label"]], [m for k, m in enumerate(means) if k != image["label"]]
        assert (one.given, one.rounds, one.predictions) == (label, image["rounds"], len(predicted))
        assert set(one.methods) == image["methods"]
        assert one.right == predicted.count(image["label"])
        assert dict(one.votes) == {
            found_class(rounds, k): predicted.count(k) for k in dict.fromkeys(predicted)
        }
        assert [count for _, count in one.votes] == sorted((count for _, count in one.votes), reverse=True)
        assert one.confidence == pytest.approx(max(others))
        assert one.self_confidence == pytest.approx(own)
        pairs = image["pairs"] or [(False, 0.0)]
        assert one.disagreement == pytest.approx(statistics.fmean(differ for differ, _ in pairs))
        assert one.distance == pytest.approx(statistics.fmean(far for _, far in pairs), abs=1e-11)
    check_lists(found)


def found_class(rounds: Mapping[int, Mapping[str, Predictions]], label: int) -> str:
    return next(iter(next(iter(rounds.values())).values())).classes[label]


def check_lists(found: HardImages) -> None:
    never = found.never_right
    assert {one.id for one in never} == {one.id for one in found.tested if one.right == 0}
    ranks = [(-len(one.methods), -one.rounds, -one.confidence, one.id) for one in never]
    assert ranks == sorted(ranks)
    errors = {one.id for one in found.tested if one.confidence > one.self_confidence}
    assert {one.id for one in found.confident_errors} == errors
    assert [-one.confidence for one in found.confident_errors] == sorted(
        -one.confidence for one in found.confident_errors
    )
    assert {one.id for one in found.disagreed} == {one.id for one in found.tested if one.disagreement > 0}
    assert [-one.disagreement for one in found.disagreed] == sorted(
        -one.disagreement for one in found.disagreed
    )


@settings(max_examples=30, deadline=None)
@given(studies(), st.randoms(use_true_random=False))
def test_the_order_of_rounds_methods_and_images_does_not_matter(
    study: tuple[dict[int, dict[str, Predictions]], list[str]], random: Any
) -> None:
    rounds, methods = study
    shuffled: dict[int, dict[str, Predictions]] = {}
    for number in random.sample(list(rounds), len(rounds)):
        own = rounds[number]
        count = len(next(iter(own.values())).ids)
        order = random.sample(range(count), count)
        for name in random.sample(list(own), len(own)):
            one = own[name]
            shuffled.setdefault(number, {})[name] = replace(
                one,
                ids=tuple(one.ids[i] for i in order),
                groups=tuple(one.groups[i] for i in order),
                labels=one.labels[order],
                probabilities=one.probabilities[order],
            )
    first, second = hard_images("x", rounds, methods), hard_images("x", shuffled, methods)
    assert first.tested == second.tested
    assert first.by_method == second.by_method
    for name in ("never_right", "confident_errors", "disagreed"):
        assert getattr(first, name) == getattr(second, name)


# --- from stored results -----------------------------------------------------------------------------


def test_one_changed_prediction_changes_the_lists(tmp_path: Path) -> None:
    for results, last in ((tmp_path / "wrong", WRONG), (tmp_path / "right", RIGHT)):
        for place, method in enumerate(METHODS):
            put(
                results,
                run_spec(method),
                of({"a": (0, last if place == 2 else WRONG), "b": (0, RIGHT), "c": (1, WRONG)}),
            )
    wrong, right = lists(tmp_path / "wrong"), lists(tmp_path / "right")
    assert (wrong["never_right"], wrong["disagreed"]) == (["a"], [])
    assert (right["never_right"], right["disagreed"]) == ([], ["a"])
    assert wrong["confident_errors"] == right["confident_errors"] == ["a"]
    [image] = [one for one in right["tested"] if one["id"] == "a"]
    assert image["disagreement"] == pytest.approx(2 / 3)
    assert image["votes"] == [["malignant", 2], ["benign", 1]]
    scratch = [of["errors"] for of in right["by_method"] if of["method"] == "scratch"]
    assert scratch == [[]]


def test_images_tested_most_come_first_among_those_never_right(tmp_path: Path) -> None:
    surely = (0.01, 0.98, 0.01)
    for method in METHODS:
        put(tmp_path, run_spec(method, 0), of({"once": (0, surely), "twice": (0, WRONG)}))
        put(tmp_path, run_spec(method, 1), of({"twice": (0, WRONG), "right": (0, RIGHT)}))
    put(tmp_path, run_spec("egmae", 2), of({"by one": (0, surely), "right": (0, RIGHT)}))
    found = lists(tmp_path)
    assert found["never_right"] == ["twice", "once", "by one"]
    assert found["confident_errors"] == ["by one", "once", "twice"]  # by id where as sure
    text = command(tmp_path).stdout
    assert "Never right: 3 of 4 images tested at least once" in text
    assert "1 round by 1 of 3 methods" in text
    assert "770 of 774 images are in no test part, so nothing is known of them." in text


def test_an_ensemble_has_no_vote_and_is_listed(tmp_path: Path) -> None:
    members = [run_spec("egmae"), run_spec("imagenet")]
    for member in members:
        put(tmp_path, member, of({"a": (0, WRONG), "b": (0, RIGHT)}))
    put(tmp_path, mean_of(*members), of({"a": (0, RIGHT), "b": (0, WRONG)}))
    found = lists(tmp_path)
    assert found["methods"] == ["egmae", "imagenet"]
    assert found["ensembles"] == ["mean(egmae + imagenet)"]
    assert (found["never_right"], found["disagreed"]) == (["a"], [])
    [image] = [one for one in found["tested"] if one["id"] == "a"]
    assert (image["predictions"], image["right_ensembles"]) == (2, ["mean(egmae + imagenet)"])
    [errors] = [of["errors"] for of in found["by_method"] if of["is_ensemble"]]
    assert [error["id"] for error in errors] == ["b"]
    text = command(tmp_path).stdout
    assert "mean(egmae + imagenet) has no vote, because an ensemble says what its members say" in text


def test_where_there_are_ensembles_alone_they_vote(tmp_path: Path) -> None:
    put(tmp_path, mean_of(run_spec("egmae"), run_spec("imagenet")), of({"a": (0, WRONG)}))
    found = lists(tmp_path)
    assert (found["never_right"], found["ensembles"]) == (["a"], [])


def test_one_method_disagrees_with_nobody(tmp_path: Path) -> None:
    put(tmp_path, run_spec("egmae", 0), of({"a": (0, WRONG), "b": (0, UNSURE)}))
    put(tmp_path, run_spec("egmae", 1), of({"a": (0, RIGHT)}))  # another round is no other method
    assert lists(tmp_path)["disagreed"] == []
    assert "There is one method, so nothing to disagree with." in command(tmp_path).stdout


def test_csv_has_every_tested_image_and_says_on_which_lists_it_is(tmp_path: Path) -> None:
    put(tmp_path, run_spec("egmae"), of({"a": (0, WRONG), "b": (0, WRONG), "c": (0, RIGHT)}))
    put(tmp_path, run_spec("imagenet"), of({"a": (0, WRONG), "b": (0, RIGHT), "c": (0, RIGHT)}))
    rows = list(csv.DictReader(io.StringIO(command(tmp_path, "-f", "csv", "--most", 1).stdout)))
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    assert [row["lists"] for row in rows] == ["never right; confident error", "disagreed", ""]
    assert [row["wrong_methods"] for row in rows] == ["egmae; imagenet", "egmae", ""]
    assert [row["votes"] for row in rows] == ["malignant 2", "benign 1; malignant 1", "benign 2"]
    assert rows[0]["group"] == "group of a"


def test_models_are_named_where_two_have_one_strategy(tmp_path: Path) -> None:
    put(tmp_path, run_spec("egmae"), of({"a": (0, WRONG)}))
    put(tmp_path, run_spec("egmae", model="resnet50"), of({"a": (0, WRONG)}))
    assert lists(tmp_path)["methods"] == ["convnext_tiny.egmae", "resnet50.egmae"]


def test_the_terminal_shows_the_first_and_says_how_many_there_are(tmp_path: Path) -> None:
    rows = {f"image {i:02}": (0, WRONG) for i in range(20)}
    put(tmp_path, run_spec("egmae"), of(rows))
    text = command(tmp_path, "--most", 3).stdout
    assert "image 02" in text
    assert "image 03" not in text
    assert "and 17 more (--most, or --format csv)" in text


# --- what is wrong with results ----------------------------------------------------------------------


def test_damaged_predictions_are_a_missing_round(tmp_path: Path) -> None:
    path = put(tmp_path, run_spec("egmae", 0), of({"a": (0, WRONG)}))
    put(tmp_path, run_spec("egmae", 1), of({"b": (0, WRONG)}))
    (path / "predictions.parquet").write_bytes(b"not parquet")
    done = command(tmp_path, "-f", "json")
    assert json.loads(done.stdout)[0]["never_right"] == ["b"]
    assert "warning" in done.stderr


def test_predictions_of_other_images_are_refused(tmp_path: Path) -> None:
    put(tmp_path, run_spec("egmae"), of({"a": (0, WRONG)}))
    put(tmp_path, run_spec("imagenet"), of({"b": (0, WRONG)}))
    done = command(tmp_path)
    assert "2 test images differ from those of other units of round 0" in str(done.exception)


def test_predictions_of_other_classes_are_refused(tmp_path: Path) -> None:
    put(tmp_path, run_spec("egmae"), of({"a": (0, WRONG)}))
    put(tmp_path, run_spec("imagenet"), replace(of({"a": (0, WRONG)}), classes=("x", "y", "z")))
    assert "its classes differ from those of other units of round 0" in str(command(tmp_path).exception)


def test_without_results_the_folder_is_named(tmp_path: Path) -> None:
    assert "no finished runs" in command(tmp_path).stderr
    assert "no such folder" in str(command(tmp_path / "nowhere").exception)


def test_names_cannot_forge_the_terminal(tmp_path: Path) -> None:
    names = {"\x1b[2J\u202eevil\n\nline": (0, WRONG), "[red]markup[/red]": (0, WRONG), "x" * 4000: (0, WRONG)}
    put(tmp_path, run_spec("egmae"), of(names))
    text = command(tmp_path).stdout
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]markup[/red]" in text
    assert "x" * 100 not in text
    assert sorted(lists(tmp_path)["never_right"]) == sorted(names)  # whole for programs
