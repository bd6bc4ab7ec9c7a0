"""The numbers that figures draw, against scikit-learn and against their definitions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_study import fill
from samples import predictions
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from bench import Predictions
from bench.comparison.bands import REPLICATES, class_bands, mean_counts
from bench.comparison.calibrated import calibrated, temperatures_of
from bench.comparison.compare import Question, comparable_tables
from bench.comparison.evidence import read_sample
from bench.evidence.areas import average_precision, roc_area
from bench.evidence.calibration import BINS, fit_temperature, reliability, tempered
from bench.evidence.curves import net_benefits, precision_recall_curves, roc_curves, treat_all
from bench.evidence.ranking import rank_methods, rank_shares
from bench.interfaces.image_weights import ImageWeights
from bench.registry import installed
from bench.results import store
from bench.study.declaration import Declaration

AT = np.linspace(0, 1, 201)


def equal(count: int) -> ImageWeights:
    return ImageWeights.equal(count)


def scored(seed: int, n: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    positive[:2] = True, False
    scores = rng.random(n) * 0.6 + 0.4 * positive * rng.random(n)
    return positive, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 60))
def test_roc_curves_are_those_of_scikit_learn(seed: int, n: int, ties: bool) -> None:
    positive, scores = scored(seed, n, ties)
    false, true, _ = roc_curve(positive, scores, drop_intermediate=False)
    [own] = roc_curves(positive, scores, equal(n), AT)
    for x, y in zip(AT, own, strict=True):
        at_most = false <= x + 1e-9
        if np.isclose(false, x).any():  # a threshold: the upper end where it is vertical
            assert y == pytest.approx(true[at_most].max())
        else:
            assert y == pytest.approx(np.interp(x, false, true))


@pytest.mark.parametrize("ties", [False, True])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 60))
def test_precision_recall_curves_are_those_of_scikit_learn(seed: int, n: int, ties: bool) -> None:
    positive, scores = scored(seed, n, ties)
    precision, recall, _ = precision_recall_curve(positive, scores)
    precision, recall = (
        precision[:-1][::-1],
        recall[:-1][::-1],
    )  # without the made-up last point; rising recall
    [own] = precision_recall_curves(positive, scores, equal(n), AT)
    for x, y in zip(AT, own, strict=True):
        assert y == pytest.approx(precision[np.argmax(recall >= x - 1e-9)])


def test_areas_under_fine_curves_are_the_areas_of_tables() -> None:
    positive, scores = scored(3, 300, False)
    fine = np.linspace(0, 1, 20_001)
    [curve] = roc_curves(positive, scores, equal(300), fine)
    assert np.trapezoid(curve, fine) == pytest.approx(roc_area(positive, scores, equal(300))[0], abs=2e-3)
    [steps] = precision_recall_curves(positive, scores, equal(300), fine)
    assert steps.mean() == pytest.approx(average_precision(positive, scores, equal(300))[0], abs=2e-3)


def test_weights_count_images_as_often_as_they_weigh() -> None:
    """An image of weight 2 is two images, one of weight 0 none."""
    positive, scores = scored(5, 40, True)
    times = np.random.default_rng(0).integers(0, 3, 40)
    times[:2] = 1
    weights = ImageWeights(times[None, :].astype(float), np.arange(40))
    repeated = np.repeat(np.arange(40), times)
    plain = equal(len(repeated))
    for curves, at in ((roc_curves, AT), (precision_recall_curves, AT), (net_benefits, AT[1:-1])):
        [own] = curves(positive, scores, weights, at)
        [same] = curves(positive[repeated], scores[repeated], plain, at)
        assert own == pytest.approx(same)


def test_curves_without_a_positive_image_are_not_defined() -> None:
    nothing = np.zeros(4, dtype=bool)
    scores = np.array([0.1, 0.2, 0.3, 0.4])
    assert np.isnan(roc_curves(nothing, scores, equal(4), AT)).all()
    assert np.isnan(roc_curves(~nothing, scores, equal(4), AT)).all()
    assert np.isnan(precision_recall_curves(nothing, scores, equal(4), AT)).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.floats(0.01, 0.99))
def test_net_benefit_is_its_formula(seed: int, threshold: float) -> None:
    positive, scores = scored(seed, 50, True)
    at = np.array([threshold])
    treated = scores >= threshold
    true, false = (treated & positive).sum(), (treated & ~positive).sum()
    expected = true / 50 - false / 50 * threshold / (1 - threshold)
    assert net_benefits(positive, scores, equal(50), at)[0, 0] == pytest.approx(expected)
    everyone = net_benefits(positive, np.ones(50), equal(50), at)[0, 0]
    assert treat_all(positive.mean(), at)[0] == pytest.approx(everyone)


# --- calibration -------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_reliability_is_that_of_scikit_learn(seed: int) -> None:
    one = predictions(seed, n=200)
    confidence = one.probabilities.max(axis=1)
    right = one.probabilities.argmax(axis=1) == one.labels
    share, mean = calibration_curve(right, confidence, n_bins=BINS)
    own = reliability(one.labels, one.probabilities)
    known = own.images > 0
    assert own.accuracy[known] == pytest.approx(share)
    assert own.confidence[known] == pytest.approx(mean)
    gaps = np.abs(share - mean) * own.images[known] / 200
    assert own.error == pytest.approx(gaps.sum())


@pytest.mark.parametrize("distortion", [0.5, 1.0, 3.0])
def test_the_temperature_is_that_of_a_grid_search(distortion: float) -> None:
    one = predictions(1, n=3000, skill=2.0)
    probabilities = tempered(one.probabilities, distortion)
    grid = np.exp(np.linspace(np.log(0.1), np.log(10), 2001))
    rows = np.arange(3000)
    losses = [-np.log(tempered(probabilities, t)[rows, one.labels]).mean() for t in grid]
    found = fit_temperature(one.labels, probabilities)
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=5e-3)
    again = fit_temperature(one.labels, one.probabilities)
    assert found * distortion == pytest.approx(again, rel=1e-3)


def test_a_temperature_keeps_classes_and_mends_what_was_too_sure() -> None:
    one = predictions(2, n=2000)
    sure = tempered(one.probabilities, 0.3)
    mended = tempered(sure, fit_temperature(one.labels, sure))
    assert (mended.argmax(axis=1) == sure.argmax(axis=1)).all()
    assert mended.sum(axis=1) == pytest.approx(1)
    assert reliability(one.labels, mended).error < reliability(one.labels, sure).error / 3


def test_certain_and_wrong_predictions_have_a_finite_temperature() -> None:
    labels = np.array([0, 1, 0, 1])
    probabilities = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert 0.05 <= fit_temperature(labels, probabilities) <= 20
    assert np.isfinite(tempered(probabilities, 20.0)).all()


def test_test_labels_do_not_enter_the_temperature() -> None:
    tested = {0: predictions(3, n=300), 1: predictions(4, n=300)}
    validated = {0: predictions(5, n=100), 1: predictions(6, n=100)}
    shuffled = {
        n: replace(one, labels=np.random.default_rng(n).permutation(one.labels)) for n, one in tested.items()
    }
    fitted = temperatures_of(validated)
    assert calibrated(tested, validated).temperatures == fitted
    assert calibrated(shuffled, validated).temperatures == fitted
    assert calibrated(shuffled, validated).error_after != calibrated(tested, validated).error_after


def test_without_validation_predictions_nothing_is_scaled() -> None:
    tested = {0: predictions(3), 1: predictions(4)}
    found = calibrated(tested, {0: predictions(5)})
    assert found.after is None
    assert np.isnan(found.error_after)


# --- matrices, ranks, bands --------------------------------------------------------------------------


def test_counts_are_the_mean_of_confusion_matrices() -> None:
    rounds = [predictions(seed, n=90) for seed in range(3)]
    expected = np.mean([confusion_matrix(one.labels, one.probabilities.argmax(1)) for one in rounds], axis=0)
    assert mean_counts(rounds) == pytest.approx(expected)


def test_shares_of_ranks_add_up_and_agree_with_tables() -> None:
    replicates = np.random.default_rng(0).normal(np.array([0.0, 0.5, 1.0])[:, None, None], 1, (3, 4, 500))
    shares = rank_shares(replicates)
    assert shares.sum(axis=1) == pytest.approx(1)
    assert [own.first for own in rank_methods(replicates)] == pytest.approx(list(shares[:, 0]))
    assert rank_shares(-replicates, higher_is_better=False) == pytest.approx(shares)
    assert rank_shares(np.full((2, 1, 5), np.nan)).shape == (0, 0)


def test_bands_hold_the_curve_and_respect_groups(tmp_path: Path) -> None:
    """Images of one group add nothing: with each image there five times in its group, bands stay as wide."""
    registry = installed()
    question = Question(metric=registry.metrics.get("accuracy"), declared=Declaration())
    fill(tmp_path, rounds=2, images=60)
    tables, _ = comparable_tables(store.scan(tmp_path)[0], tmp_path, question, registry)
    sample = read_sample(tables[0].methods, tmp_path)
    rounds = {n: sample.predictions_of(unit) for n, unit in tables[0].methods[0].done.items()}
    each, macro = class_bands(roc_curves, rounds, sample, AT, resampled=True)
    for band in (*each, macro):
        assert band.low is not None
        assert band.high is not None
        assert (band.low <= band.mean + 1e-9).mean() > 0.95
        assert (band.high >= band.mean - 1e-9).mean() > 0.95
    assert macro.mean == pytest.approx(np.mean([band.mean for band in each], axis=0))
    again, _ = class_bands(roc_curves, rounds, sample, AT, resampled=True)
    assert (again[0].low == each[0].low).all()
    copied = replace(sample, images={n: five_times(one) for n, one in sample.images.items()})
    same, _ = class_bands(
        roc_curves, {n: five_times(one) for n, one in rounds.items()}, copied, AT, resampled=True
    )
    assert same[0].low == pytest.approx(each[0].low)
    assert same[0].high == pytest.approx(each[0].high)
    assert REPLICATES >= 200


def five_times(one: Predictions) -> Predictions:
    rows = np.repeat(np.arange(len(one.ids)), 5)
    return replace(
        one,
        ids=tuple(f"{one.ids[i]} {n}" for n, i in enumerate(rows.tolist())),
        groups=tuple(one.groups[i] for i in rows.tolist()),
        labels=one.labels[rows],
        probabilities=one.probabilities[rows],
    )
