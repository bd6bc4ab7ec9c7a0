"""Intervals and tests: against scipy and published examples, and what must hold for any predictions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from samples import predictions
from scipy import stats

from bench import ImageWeights, Metric, Predictions
from bench.evidence.crosschecks import corrected_t, delong, mcnemar
from bench.evidence.inference import against_margin, detectable, interval, is_equal, p_value
from bench.evidence.ranking import rank_methods
from bench.evidence.replicates import image_weights, replicate
from bench.evidence.variance import Covariances, Variance, covariances, degrees_of_freedom
from bench.evidence.weights import Groups, draw_weights, groups_of, weights_without_one
from bench_standard import register_metrics

METRICS = {metric.name: metric for metric in register_metrics()}
OVERLAP = 2 / 7


def rounds_of(skill: float, count: int = 5, n: int = 60) -> list[Predictions]:
    """One method's rounds; the same images have the same ids and groups whatever the skill."""
    return [predictions(seed, n, skill=skill) for seed in range(count)]


def drawn_of(metric: Metric, case: Predictions, groups: Groups, weights: NDArray[np.float64]) -> Any:
    values, problems = replicate([metric], case, image_weights(case, groups, weights))
    assert not problems
    return values[metric.name]


def resampled(metric: Metric, methods: list[list[Predictions]], total: int = 400) -> Covariances:
    groups = groups_of(methods[0])
    weights = np.concatenate([draw_weights(groups, total), weights_without_one(groups)])
    scores = np.array([[metric.score(p) for p in rounds] for rounds in methods])
    drawn = [[drawn_of(metric, p, groups, weights) for p in rounds] for rounds in methods]
    each = np.array(drawn)
    return covariances(scores, each[:, :, :total], each[:, :, total:], groups.strata, OVERLAP)


def alike(scores: NDArray[np.float64], replicates: NDArray[np.float64], groups: int) -> Covariances:
    """Of one stratum whose groups contribute alike."""
    strata = np.zeros(groups, dtype=np.int64)
    return covariances(scores, replicates, np.empty((*scores.shape, 0)), strata, OVERLAP)


def doubled(case: Predictions) -> Predictions:
    """Every image twice, in its group."""
    return replace(
        case,
        ids=(*case.ids, *(f"copy of {id_}" for id_ in case.ids)),
        groups=case.groups * 2,
        labels=np.tile(case.labels, 2),
        probabilities=np.tile(case.probabilities, (2, 1)),
    )


# --- weights -----------------------------------------------------------------------------------------


def test_a_group_belongs_to_the_rarest_class_of_its_images() -> None:
    case = replace(
        predictions(n=5),
        labels=np.array([0, 0, 0, 1, 1]),
        groups=("a", "a", "b", "b", "c"),
    )
    groups = groups_of([case, case])
    assert groups.names == ("a", "b", "c")
    assert groups.strata.tolist() == [0, 1, 1]
    assert groups.positions(case).tolist() == [0, 0, 1, 1, 2]


def test_weights_keep_the_size_of_every_class_and_know_no_order() -> None:
    strata = np.array([0] * 7 + [1] * 3 + [2])
    groups = Groups(tuple(f"group {i}" for i in range(11)), strata)
    weights = draw_weights(groups, 500)
    for stratum in range(3):
        np.testing.assert_allclose(weights[:, strata == stratum].sum(axis=1), (strata == stratum).sum())
    assert (weights[:, -1] == 1).all()  # nothing could have been drawn instead of it
    np.testing.assert_array_equal(weights, draw_weights(groups, 500))
    other = Groups(tuple(f"patient {i}" for i in range(11)), strata)
    assert (weights != draw_weights(other, 500)).any()


def test_the_variance_over_replicates_is_the_unbiased_one() -> None:
    """Of a stratified mean of few groups, where drawing g of g gives (g - 1) / g of it."""
    values = np.random.default_rng(0).normal(size=12)
    strata = np.repeat([0, 1, 2], 4)
    weights = draw_weights(Groups(tuple(map(str, range(12))), strata), 60_000)
    expected = sum(values[strata == s].var(ddof=1) / 4 for s in range(3)) / 9
    assert (weights @ values / 12).var() == pytest.approx(expected, rel=0.03)


# --- replicates --------------------------------------------------------------------------------------


def test_a_plugin_metric_that_fails_under_weights_is_named() -> None:
    case = predictions(n=6)
    drawn = ImageWeights(np.ones((4, 6)), np.arange(6))
    broken = Metric(name="mine", title="Mine", about="", score=lambda p: 0.5, of_counts=lambda counts: 1 / 0)
    wrong = replace(broken, name="other", of_counts=lambda counts: counts)
    values, problems = replicate([broken, wrong, METRICS["accuracy"]], case, drawn)
    assert "metric 'mine' of test_evidence failed on weighted images: ZeroDivisionError" in problems["mine"]
    assert "gave (4, 3, 3), not 4 numbers; repair its of_counts" in problems["other"]
    assert list(values) == ["accuracy"]  # which they do not take down


# --- variance ----------------------------------------------------------------------------------------


def test_the_parts_of_a_variance_are_those_of_the_formula() -> None:
    random = np.random.default_rng(1)
    replicates, scores = random.normal(size=(2, 4, 300)) * 0.3, random.normal(size=(2, 4)) * 3
    parts = alike(scores, replicates, 31)
    drawn, observed = replicates[1] - replicates[0], scores[1] - scores[0]
    images = drawn.mean(axis=0).var(ddof=1)
    within = drawn.var(axis=1, ddof=1).mean()
    excess = observed.var(ddof=1) - within + (4 * images - within) / 3
    training = excess * (1 / 4 + OVERLAP)
    df = (images + training) ** 2 / (images**2 / 30 + training**2 / 3)
    assert excess > 0
    assert parts.of_difference(0, 1) == pytest.approx((images, training, df))
    assert parts.of_difference(1, 0) == pytest.approx((images, training, df))


def test_the_squares_of_influences_are_the_variance_of_the_jackknife() -> None:
    """Which for a stratified mean is the unbiased one, and what replicates give."""
    values, strata = np.random.default_rng(8).normal(size=30), np.repeat([0, 1, 2], [15, 10, 5])
    groups = Groups(tuple(map(str, range(30))), strata)
    weights = np.concatenate([draw_weights(groups, 20_000), weights_without_one(groups)])
    means = (weights @ values / 30)[None, None]
    parts = covariances(
        np.array([[values.mean()]]), means[:, :, :20_000], means[:, :, 20_000:], strata, OVERLAP
    )
    expected = sum(n * values[strata == s].var(ddof=1) for s, n in enumerate([15, 10, 5])) / 30**2
    assert (parts.influences**2).sum() == pytest.approx(expected)
    assert parts.of_score(0).images == pytest.approx(expected, rel=0.03)


def test_degrees_of_freedom_fall_where_few_groups_decide() -> None:
    strata = np.repeat([0, 1], [40, 20])
    signs = np.resize([1.0, -1.0], 60)
    assert degrees_of_freedom(signs, strata) == 58
    assert degrees_of_freedom(np.empty((3, 0)), strata).tolist() == [58] * 3
    few = np.where(np.arange(60) < 4, 10.0, 0.1) * signs
    assert 2 < degrees_of_freedom(few, strata) < 12
    random = np.random.default_rng(9).normal(size=(500, 60))
    assert np.median(degrees_of_freedom(random, strata)) == pytest.approx(60, rel=0.15)


def test_no_excess_where_images_explain_all_that_rounds_differ_by() -> None:
    random = np.random.default_rng(2)
    replicates = random.normal(size=(1, 5, 500))
    parts = alike(np.full((1, 5), 0.7), replicates, 40)
    assert parts.of_score(0).training == 0
    assert parts.of_score(0).df == pytest.approx(39)


def test_one_round_knows_nothing_of_training() -> None:
    parts = resampled(METRICS["accuracy"], [rounds_of(1.5, 1), rounds_of(1.0, 1)])
    variance = parts.of_difference(0, 1)
    assert variance.images > 0
    assert variance.training == 0


def test_equal_predictions_prove_nothing() -> None:
    """A spread of zero gives no p at all, never 0."""
    parts = resampled(METRICS["f1"], [rounds_of(1.5), rounds_of(1.5)])
    variance = parts.of_difference(0, 1)
    assert variance.total == 0
    assert math.isnan(p_value(0.0, variance))
    assert math.isnan(p_value(0.1, variance))
    assert all(map(math.isnan, interval(0.0, variance)))
    assert math.isnan(detectable(variance))
    assert not is_equal(0.0, variance, 0.01)


@pytest.mark.parametrize("name", ["accuracy", "f1", "auc", "mcc", "brier"])
def test_doubling_every_image_in_its_group_changes_nothing(name: str) -> None:
    methods = [rounds_of(1.5), rounds_of(1.0)]
    once = resampled(METRICS[name], methods)
    twice = resampled(METRICS[name], [[doubled(p) for p in rounds] for rounds in methods])
    assert twice.of_difference(0, 1) == pytest.approx(once.of_difference(0, 1), rel=1e-9)
    assert twice.means == pytest.approx(once.means)


def test_replicates_without_a_score_are_left_out_and_half_of_them_is_too_much() -> None:
    random = np.random.default_rng(3)
    replicates, scores = random.normal(size=(2, 3, 200)), random.normal(size=(2, 3))
    replicates[0, 1, :80] = math.nan
    kept = alike(scores, replicates, 20)
    expected = alike(scores, replicates[:, :, 80:], 20)
    assert kept.of_difference(0, 1) == pytest.approx(expected.of_difference(0, 1))
    replicates[0, 1, :120] = math.nan
    lost = alike(scores, replicates, 20).of_difference(0, 1)
    assert math.isnan(p_value(0.1, lost))
    assert all(map(math.isnan, interval(0.1, lost)))


# --- inference ---------------------------------------------------------------------------------------


def test_intervals_and_p_values_are_those_of_student() -> None:
    variance = Variance(3e-4, 1e-4, 6.3)
    reference = stats.t(6.3, loc=0.03, scale=0.02)
    assert interval(0.03, variance) == pytest.approx(reference.interval(0.95))
    assert interval(0.03, variance, 0.9) == pytest.approx(reference.interval(0.9))
    assert p_value(0.03, variance) == p_value(-0.03, variance) == pytest.approx(2 * reference.cdf(0))
    against = against_margin(0.03, variance, 0.01)
    assert against == pytest.approx(
        (1 - reference.cdf(0.01), reference.cdf(0.01) - reference.cdf(-0.01), reference.cdf(-0.01))
    )
    turned = against_margin(-0.03, variance, 0.01)
    assert turned == pytest.approx(against[::-1])
    expected = (stats.t.ppf(0.975, 6.3) + stats.t.ppf(0.8, 6.3)) * 0.02
    assert detectable(variance) == pytest.approx(expected)


def test_an_interval_stays_between_the_bounds_of_its_metric() -> None:
    variance = Variance(4e-4, 0.0, 30)
    low, high = interval(0.99, variance, bounds=(0, 1))
    assert 0.5 < low < 0.99 < high < 1
    assert interval(0.99, variance)[1] > 1  # without
    low, high = interval(0.5, variance, bounds=(0, 1))
    assert (low, high) == pytest.approx(interval(0.5, variance), abs=1e-3)
    of_two = interval(1.98, Variance(16e-4, 0.0, 30), bounds=(0, 2))
    assert of_two == pytest.approx([2 * end for end in interval(0.99, variance, bounds=(0, 1))])
    assert all(map(math.isnan, interval(1.0, variance, bounds=(0, 1))))


@pytest.mark.parametrize(
    ("difference", "equal"), [(0.0, True), (0.004, True), (0.007, False), (-0.007, False)]
)
def test_equal_is_what_two_one_sided_tests_say(difference: float, equal: bool) -> None:
    variance, margin = Variance(1e-5, 0.0, 40), 0.01
    scale = math.sqrt(variance.total)
    both = max(stats.t.sf((difference + margin) / scale, 40), stats.t.sf((margin - difference) / scale, 40))
    assert is_equal(difference, variance, margin) is bool(both < 0.05) is equal


# --- ranking -----------------------------------------------------------------------------------------


def test_a_method_that_is_always_better_is_first_and_the_rest_share_ranks() -> None:
    random = np.random.default_rng(4)
    replicates = random.normal(size=(3, 5, 1000)) * 0.01
    replicates[1] += 1
    first, second, third = rank_methods(replicates[[1, 0, 2]])
    assert first == (1.0, 1, 1)
    assert (second.first, second.low, second.high) == (0.0, 2, 3)
    assert third.low == 2
    lower = rank_methods(-replicates, higher_is_better=False)
    assert lower[1] == first


def test_replicates_without_a_score_do_not_count_in_ranks() -> None:
    replicates = np.random.default_rng(4).normal(size=(2, 5, 1000)) * 0.01
    replicates[1] += 1
    replicates[0, 2, ::3] = math.nan
    assert rank_methods(replicates) == [(0.0, 2, 2), (1.0, 1, 1)]


def test_equal_methods_share_the_best_rank() -> None:
    same = np.tile(np.random.default_rng(5).normal(size=(1, 3, 50)), (2, 1, 1))
    assert rank_methods(same) == [(1.0, 1, 1)] * 2


# --- cross-checks ------------------------------------------------------------------------------------


def test_the_corrected_t_is_nadeau_and_bengios() -> None:
    differences = [0.02, -0.01, 0.03, 0.04, 0.01]
    plain = stats.ttest_1samp(differences, 0)
    assert corrected_t(differences, 0.0) == pytest.approx(plain.pvalue)
    shrunk = plain.statistic / math.sqrt(1 + 5 * OVERLAP)
    assert corrected_t(differences, OVERLAP) == pytest.approx(2 * stats.t.sf(shrunk, 4))
    assert math.isnan(corrected_t([0.02] * 5, OVERLAP))
    assert math.isnan(corrected_t([0.02], OVERLAP))


def test_mcnemar_is_the_exact_test_of_the_images_that_one_method_alone_has_right() -> None:
    labels = np.zeros(30, dtype=np.int64)
    rows = np.eye(2)
    a = Predictions(
        classes=("x", "y"),
        ids=tuple(map(str, range(30))),
        groups=("",) * 30,
        labels=labels,
        probabilities=rows[[0] * 12 + [1] * 2 + [0] * 16],
    )
    b = replace(a, probabilities=rows[[1] * 12 + [0] * 2 + [0] * 16])
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(stats.binomtest(2, 14).pvalue)
    assert mcnemar(a, a) == 1


def test_delong_on_its_two_worked_curves() -> None:
    """Sun and Xu 2014 give the covariance of areas as that of placement values; by hand for two classes."""
    random = np.random.default_rng(6)
    labels = np.repeat([0, 1], [40, 25])
    scores = random.normal(size=(2, 65)) + labels * np.array([[1.5], [0.8]])
    a, b = (
        Predictions(
            classes=("x", "y"),
            ids=tuple(map(str, range(65))),
            groups=("",) * 65,
            labels=labels,
            probabilities=np.stack([1 - p, p], axis=1),
        )
        for p in 1 / (1 + np.exp(-scores))
    )
    above = (scores[:, labels == 1][:, :, None] > scores[:, labels == 0][:, None]).astype(float)
    areas = above.mean(axis=(1, 2))
    of_cases, of_controls = above.mean(axis=2), above.mean(axis=1)
    covariance = np.cov(of_cases) / 25 + np.cov(of_controls) / 40
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    z = (areas[0] - areas[1]) / math.sqrt(variance)
    assert delong(a, b) == delong(b, a) == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert math.isnan(delong(a, a))
    assert math.isnan(delong(replace(a, labels=np.ones(65, dtype=np.int64)), b))
