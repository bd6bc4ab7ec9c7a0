"""Metrics: against scikit-learn, against hand-computed cases, and what must hold for any predictions."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import predictions
from sklearn import metrics as sk

from bench import ImageWeights, Metric, PluginError, Predictions, average_precision, roc_area
from bench.evidence.areas import won_by_order, won_by_pairs
from bench.evidence.replicates import replicate
from bench.results.score import score
from bench_standard import metrics as m
from bench_standard import register_metrics

METRICS = list(register_metrics())
SYMMETRIC = [metric for metric in METRICS if metric.name != "mcc"]
REPORTED = Path(__file__).parents[1] / "results" / "reported" / "florindo-moura-2026.csv"


def predictions_of(labels: list[int], probabilities: list[list[float]]) -> Predictions:
    p = np.array(probabilities, dtype=np.float64)
    names = tuple(f"class {i}" for i in range(p.shape[1]))
    ids = tuple(map(str, range(len(labels))))
    return Predictions(
        classes=names, ids=ids, groups=ids, labels=np.array(labels, dtype=np.int64), probabilities=p
    )


@st.composite
def any_predictions(draw: st.DrawFn) -> Predictions:
    """Any labels, classes may be missing, ties and zeros included."""
    classes = draw(st.integers(2, 4))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=25))
    rows = st.lists(st.integers(0, 8), min_size=classes, max_size=classes).filter(any)
    weights = draw(st.lists(rows, min_size=len(labels), max_size=len(labels)))
    return predictions_of(labels, [[value / sum(row) for value in row] for row in weights])


def test_the_metrics_cover_what_the_table_needs() -> None:
    defaults = [metric.name for metric in METRICS if metric.default]
    assert defaults == ["accuracy", "precision", "recall", "f1", "f1_pr", "auc"]
    lower = {metric.name for metric in METRICS if not metric.higher_is_better}
    assert lower == {"brier", "ece", "log_loss"}


def test_agreement_with_scikit_learn() -> None:
    case = predictions(n=97)
    y, p = case.labels, case.probabilities
    top = p.argmax(1)
    macro = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": sk.accuracy_score(y, top),
        "balanced_accuracy": sk.balanced_accuracy_score(y, top),
        "precision": sk.precision_score(y, top, **macro),
        "recall": sk.recall_score(y, top, **macro),
        "f1": sk.f1_score(y, top, **macro),
        "auc": sk.roc_auc_score(y, p, multi_class="ovr", average="macro"),
        "auprc": sk.average_precision_score(np.eye(3)[y], p, average="macro"),
        "mcc": sk.matthews_corrcoef(y, top),
        "log_loss": sk.log_loss(y, p),
    }
    scores = score(case, METRICS)
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_a_case_computed_by_hand() -> None:
    case = predictions_of([0, 0, 1, 1], [[0.8, 0.2], [0.4, 0.6], [0.3, 0.7], [0.1, 0.9]])
    expected = {
        "accuracy": 3 / 4,
        "balanced_accuracy": 3 / 4,
        "precision": (1 + 2 / 3) / 2,
        "recall": (1 / 2 + 1) / 2,
        "f1": (2 / 3 + 4 / 5) / 2,
        "f1_pr": 2 * (5 / 6) * (3 / 4) / (5 / 6 + 3 / 4),
        "auc": 1.0,
        "auprc": 1.0,
        "mcc": 1 / math.sqrt(3),
        "brier": 2 * (0.04 + 0.36 + 0.09 + 0.01) / 4,
        "ece": (abs(1 - 0.8) + abs(0 - 0.6) + abs(1 - 0.7) + abs(1 - 0.9)) / 4,
        "log_loss": -(math.log(0.8) + math.log(0.4) + math.log(0.7) + math.log(0.9)) / 4,
    }
    assert score(case, METRICS) == pytest.approx(expected)


def test_calibration_error_pools_within_a_bin() -> None:
    """Four images at 0.75, three of them right: perfectly calibrated, though no single image is."""
    assert m.ece(predictions_of([0, 0, 0, 1], [[0.75, 0.25]] * 4)) == pytest.approx(0)


def test_a_class_without_test_images() -> None:
    """Predicted once: precision, recall and F1 count it as 0; AUC and balanced accuracy leave it out."""
    case = predictions_of([0, 0, 1, 1], [[0.9, 0.1, 0], [0.2, 0.1, 0.7], [0.1, 0.9, 0], [0.2, 0.8, 0]])
    assert m.recall(case) == pytest.approx((0.5 + 1 + 0) / 3)
    assert m.precision(case) == pytest.approx((1 + 1 + 0) / 3)
    assert m.balanced_accuracy(case) == pytest.approx(0.75)
    assert m.auc(case) == pytest.approx((3.5 / 4 + 1) / 2)
    never = replace(case, probabilities=np.array([[0.9, 0.1, 0]] * 2 + [[0.1, 0.9, 0]] * 2))
    assert m.recall(never) == m.precision(never) == m.f1(never) == 1


def test_one_class_alone_has_no_auc() -> None:
    scores = score(predictions_of([1, 1], [[0.4, 0.6], [0.7, 0.3]]), METRICS)
    assert [name for name, value in scores.items() if math.isnan(value)] == ["auc"]


@given(any_predictions())
@settings(max_examples=25, deadline=None)
def test_bounds_and_relations(case: Predictions) -> None:
    scores = score(case, METRICS)
    for name, value in scores.items():
        low, high = {"mcc": (-1, 1), "brier": (0, 2), "log_loss": (0, 40)}.get(name, (0, 1))
        assert math.isnan(value) or low - 1e-9 <= value <= high + 1e-9, name
    assert scores["f1_pr"] >= scores["f1"] - 1e-12
    assert scores["balanced_accuracy"] >= scores["recall"] - 1e-12


def weighted(metric: Metric, case: Predictions, weights: np.ndarray) -> np.ndarray:
    """A metric under weights of images: each is a group of its own."""
    values, problems = replicate([metric], case, ImageWeights(weights, np.arange(len(case.ids))))
    assert not problems
    return values[metric.name]


@given(any_predictions(), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_a_weight_is_a_number_of_images(case: Predictions, random) -> None:
    """Weights that are whole numbers give the score of predictions in which images stand so often."""
    times = np.array([[random.randrange(4) for _ in case.ids] for _ in range(3)])
    times[:, 0] += 1
    for row in times:
        order = np.repeat(np.arange(len(case.ids)), row)
        ids = tuple(map(str, range(len(order))))
        repeated = replace(
            case,
            ids=ids,
            groups=ids,
            labels=case.labels[order],
            probabilities=case.probabilities[order],
        )
        for metric in METRICS:
            (value,) = weighted(metric, case, row[None].astype(float))
            assert value == pytest.approx(metric.score(repeated), nan_ok=True, abs=1e-9), metric.name


def test_areas_by_pairs_and_by_order_are_the_same() -> None:
    case = predictions(n=90)
    rounded = replace(case, probabilities=case.probabilities.round(1))  # with ties
    random = np.random.default_rng(0)
    for each in (case, rounded):
        for group in (np.arange(90), random.integers(12, size=90)):  # in which both kinds of images occur
            weights = ImageWeights(random.integers(4, size=(50, group.max() + 1)).astype(float), group)
            scores = each.probabilities[:, 1]
            for positive in (each.labels == 1, each.labels != 1):  # the fewer, and the more images
                by_pairs = won_by_pairs(positive, scores, weights)
                assert by_pairs == pytest.approx(won_by_order(positive, scores, weights))


@given(any_predictions(), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_images_of_a_group_weigh_alike(case: Predictions, random) -> None:
    """Metrics that add up within groups first give what they give for groups of one image."""
    group = np.array([random.randrange(3) for _ in case.ids])
    of_groups = np.array([[random.choice([0, 0.5, 1, 3]) for _ in range(3)] for _ in range(4)])
    of_groups[:, group[0]] += 1
    for metric in METRICS:
        values, problems = replicate([metric], case, ImageWeights(of_groups, group))
        assert not problems
        expected = weighted(metric, case, of_groups[:, group])
        assert values[metric.name] == pytest.approx(expected, nan_ok=True, abs=1e-9), metric.name


@given(any_predictions(), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_weighted_areas_are_those_of_scikit_learn(case: Predictions, random) -> None:
    rows = np.array([[random.choice([0, 0.5, 1, 1.25, 3]) for _ in case.ids] for _ in range(4)])
    weights = ImageWeights(rows, np.arange(len(case.ids)))
    for c in np.unique(case.labels):
        positive, scores = case.labels == c, case.probabilities[:, c]
        precisions, areas = (f(positive, scores, weights) for f in (average_precision, roc_area))
        for row, ap, area in zip(rows, precisions, areas, strict=True):
            some, rest = row[positive].sum(), row[~positive].sum()
            if some:
                assert ap == pytest.approx(sk.average_precision_score(positive, scores, sample_weight=row))
            if some and rest:
                assert area == pytest.approx(sk.roc_auc_score(positive, scores, sample_weight=row))
            assert (math.isnan(ap), math.isnan(area)) == (some == 0, some * rest == 0)


@given(any_predictions(), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_the_order_of_images_does_not_matter(case: Predictions, random) -> None:
    order = list(range(len(case.ids)))
    random.shuffle(order)
    other = replace(case, labels=case.labels[order], probabilities=case.probabilities[order])
    assert score(other, METRICS) == pytest.approx(score(case, METRICS), nan_ok=True, abs=1e-9)


@given(any_predictions())
@settings(max_examples=15, deadline=None)
def test_perfect_predictions_get_perfect_scores(case: Predictions) -> None:
    perfect = replace(case, probabilities=np.eye(len(case.classes))[case.labels])
    alone = len(np.unique(case.labels)) == 1
    for metric in SYMMETRIC:
        value = metric.score(perfect)
        assert (alone and metric.name == "auc" and math.isnan(value)) or value == pytest.approx(
            1 if metric.higher_is_better else 0, abs=1e-9
        )
    assert m.mcc(perfect) == (0 if alone else pytest.approx(1))


def test_probabilities_of_single_precision_are_fine() -> None:
    case = predictions()
    single = case.probabilities.astype(np.float32).astype(np.float64)
    scores = score(replace(case, probabilities=single), METRICS)
    assert scores == pytest.approx(score(case, METRICS), abs=1e-6)


def test_a_metric_that_fails_is_named() -> None:
    def fails(case: Predictions) -> float:
        raise ZeroDivisionError("oh")

    elsewhere = wraps(partial(fails))(lambda case: fails(case))  # as commands call third parties' functions
    for function in (fails, partial(partial(fails)), elsewhere):
        metric = Metric(name="failing", title="Failing", about="fails", score=function)
        with pytest.raises(PluginError, match=r"'failing' of test_metrics failed on 60 images of 3.*oh"):
            score(predictions(), [metric])


def test_what_the_paper_calls_f1() -> None:
    """Its ensembles' F1 is the harmonic mean of the printed precision and recall; most others' is not."""

    def harmonic(row: dict[str, str]) -> float:
        p, r = float(row["precision"]), float(row["recall"])
        return 2 * p * r / (p + r)

    with REPORTED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    ensembles = [row for row in rows if row["f1_pr"]]
    others = [row for row in rows if row["f1"]]
    assert (len(ensembles), len(others)) == (4, 36)
    assert all(row["model"].startswith("Ensemble") for row in ensembles)
    assert all(abs(float(row["f1_pr"]) - harmonic(row)) < 1.01e-4 for row in ensembles)
    assert sum(abs(float(row["f1"]) - harmonic(row)) > 2e-4 for row in others) > len(others) / 2
