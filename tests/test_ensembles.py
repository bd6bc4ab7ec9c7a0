"""Ensembles: what each rule gives, beside another way to compute it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import predictions

from bench import ConfigError, Ensemble, Fitted, Predictions, testing
from bench_ensembles import register_ensembles

ENSEMBLES = {ensemble.name: ensemble for ensemble in register_ensembles()}
FEW = settings(max_examples=15, deadline=None)
SEEDS = st.lists(st.integers(0, 1000), min_size=2, max_size=5, unique=True)


def rule(name: str, val: list[Predictions], **params: Any) -> Any:
    ensemble = ENSEMBLES[name]
    return ensemble.fit(val, ensemble.params(**params))


def said(rule: Any, names: str) -> str:
    assert isinstance(rule, Fitted)
    return rule.about(names.split())


def members(*skills: float, n: int = 60, classes: tuple[str, ...] = ("a", "b", "c")) -> list[Predictions]:
    """One of each skill; labels and groups are those of every sample."""
    return [predictions(i, n=n, skill=skill, classes=classes) for i, skill in enumerate(skills)]


def arrays(val: list[Predictions]) -> list[np.ndarray]:
    return [member.probabilities for member in val]


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import log_loss

    return float(log_loss(labels, probabilities))


# --- all of them -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ensemble", ENSEMBLES.values(), ids=lambda ensemble: ensemble.name)
def test_they_conform(ensemble: Ensemble) -> None:
    testing.check_ensemble(ensemble)


def test_conformance_notices_a_rule_that_says_nothing() -> None:
    silent: Ensemble = Ensemble(
        name="silent",
        about="first member",
        fit=lambda val, params: Fitted(combine=lambda m: m[0].copy(), about=lambda names: ""),
    )
    with pytest.raises(AssertionError, match="silent: `about` is empty"):
        testing.check_ensemble(silent)


def test_all_cite_a_source_and_explain_their_parameters() -> None:
    for ensemble in ENSEMBLES.values():
        assert ensemble.citation
        assert ensemble.bibtex
        for field in dataclasses.fields(ensemble.params):
            assert f"    {field.name}: " in (ensemble.params.__doc__ or "")
    assert [name for name, ensemble in ENSEMBLES.items() if ensemble.default] == ["mean"]


@pytest.mark.parametrize("name", ["mean", "geometric", "weighted", "greedy"])
@given(seeds=SEEDS, random=st.randoms(use_true_random=False))
@FEW
def test_order_of_members_and_of_classes_changes_nothing(name: str, seeds: list[int], random) -> None:
    val = [predictions(seed, n=30, skill=0.5 + seed % 3) for seed in seeds]
    test = [predictions(seed + 5000, n=9).probabilities for seed in seeds]
    combined = rule(name, val)(test)
    np.testing.assert_allclose(combined.sum(axis=1), 1)
    order = list(range(len(val)))
    random.shuffle(order)
    again = rule(name, [val[i] for i in order])([test[i] for i in order])
    np.testing.assert_allclose(again, combined, atol=1e-9)
    classes = list(range(3))
    random.shuffle(classes)
    moved = [
        dataclasses.replace(
            one,
            classes=tuple(one.classes[k] for k in classes),
            labels=np.array([classes.index(label) for label in one.labels]),
            probabilities=one.probabilities[:, classes],
        )
        for one in val
    ]
    again = rule(name, moved)([one[:, classes] for one in test])
    np.testing.assert_allclose(again, combined[:, classes], atol=1e-9)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_members_are_left_as_they_are(name: str) -> None:
    val = members(1.5, 1.0, 2.0)
    before = [member.copy() for member in arrays(val)]
    rule(name, val)(arrays(val))
    assert all((a == b).all() for a, b in zip(arrays(val), before, strict=True))


# --- mean --------------------------------------------------------------------------------------------


def test_the_mean_of_two() -> None:
    a, b = np.array([[0.2, 0.8], [1.0, 0.0]]), np.array([[0.6, 0.4], [0.5, 0.5]])
    np.testing.assert_allclose(rule("mean", [])([a, b]), [[0.4, 0.6], [0.75, 0.25]])


@given(SEEDS, st.randoms(use_true_random=False))
@FEW
def test_the_mean_is_the_same_to_the_last_bit_in_any_order(seeds: list[int], random) -> None:
    given = [predictions(seed, n=9).probabilities for seed in seeds]
    for name in ("mean", "geometric"):
        combined = rule(name, [])(given)
        shuffled = list(given)
        random.shuffle(shuffled)
        assert rule(name, [])(shuffled).tobytes() == combined.tobytes()


# --- geometric ---------------------------------------------------------------------------------------


@given(SEEDS)
@FEW
def test_the_geometric_mean_is_that_of_scipy_normalised(seeds: list[int]) -> None:
    from scipy.stats import gmean

    given = [predictions(seed, n=9).probabilities for seed in seeds]
    expected = gmean(np.maximum(given, 1e-6), axis=0)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rule("geometric", [])(given), expected, rtol=1e-10)


def test_a_zero_does_not_rule_out_a_class() -> None:
    sure, other = np.array([[1.0, 0.0]]), np.array([[0.001, 0.999]])
    combined = rule("geometric", [], floor=0.01)([sure, other, other])
    odds = (0.01 * 0.999**2 / (1.0 * 0.01**2)) ** (1 / 3)  # of the second class, 0.001 and 0 raised to 0.01
    np.testing.assert_allclose(combined, [[1 / (1 + odds), odds / (1 + odds)]])
    assert (rule("geometric", [])([sure, sure[:, ::-1]]) == 0.5).all()


# --- weighted ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("skills", [(1.0, 2.0), (1.5, 1.5), (0.2, 3.0)])
@pytest.mark.parametrize("prior", [0.0, 10.0])
def test_weights_of_two_are_the_best_of_a_grid(skills: tuple[float, float], prior: float) -> None:
    first, second = val = members(*skills)
    labels, rows = first.labels, np.arange(60)
    grid = np.linspace(0.0005, 0.9995, 1000)
    mixed = [
        np.log(w * first.probabilities[rows, labels] + (1 - w) * second.probabilities[rows, labels]).sum()
        + prior / 2 * math.log(w * (1 - w))
        for w in grid
    ]
    best = grid[int(np.argmax(mixed))]
    combined = rule("weighted", val, prior=prior)(arrays(val))
    expected = best * first.probabilities + (1 - best) * second.probabilities
    np.testing.assert_allclose(combined, expected, atol=0.001)


def test_weights_of_many_are_no_worse_than_those_of_another_optimiser() -> None:
    """SLSQP finds no better ones; the problem has one maximum."""
    from scipy.optimize import minimize

    from bench_ensembles.weighted import fit_weights

    val = members(0.5, 1.0, 1.5, 2.0, 2.0)
    own = np.stack([one.probabilities[np.arange(60), one.labels] for one in val])

    def loss(weights: np.ndarray) -> float:
        return float(-np.log(np.maximum(weights @ own, 1e-12)).mean())

    simplex = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    found = minimize(loss, np.full(5, 0.2), bounds=[(0, 1)] * 5, constraints=simplex, options={"ftol": 1e-12})
    weights = fit_weights(own, prior=0.0)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert loss(weights) <= found.fun + 1e-7
    np.testing.assert_allclose(weights, found.x, atol=0.01)


def test_a_strong_prior_gives_equal_weights_and_none_the_better_member() -> None:
    val = members(0.0, 4.0)
    equal = rule("weighted", val, prior=1e6)(arrays(val))
    np.testing.assert_allclose(equal, np.mean(arrays(val), axis=0), atol=1e-4)
    alone = rule("weighted", val, prior=0.0)(arrays(val))
    np.testing.assert_allclose(alone, val[1].probabilities, atol=0.05)
    assert said(rule("weighted", val, prior=0.0), "poor good").startswith("weights ")
    assert said(rule("weighted", val), "poor good").endswith(" poor (fitted on 60 validation images)")


def test_images_that_every_member_calls_impossible_decide_nothing() -> None:
    from bench_ensembles.weighted import fit_weights

    own = np.stack([one.probabilities[np.arange(60), one.labels] for one in members(1.0, 2.0)])
    impossible = np.hstack([own, np.full((2, 1), 1e-12)])  # what a probability of 0 counts as
    np.testing.assert_allclose(fit_weights(impossible, 0.0), fit_weights(own, 0.0), atol=1e-4)
    val = members(1.0, 2.0)
    for one in val:
        one.probabilities[0] = np.eye(3)[(one.labels[0] + 1) % 3]
    for name in ENSEMBLES:
        assert np.isfinite(rule(name, val)(arrays(val))).all()


# --- stacking ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "c")])
def test_stacking_is_a_logistic_regression_on_log_probabilities(classes: tuple[str, ...]) -> None:
    """scikit-learn's, called plainly by its default solver."""
    from sklearn.linear_model import LogisticRegression

    val, test = members(1.0, 2.0, classes=classes), members(1.0, 2.0, n=21, classes=classes)
    logs = [np.log(np.maximum(np.hstack(arrays(part)), 1e-6)) for part in (val, test)]
    plain = LogisticRegression(C=0.1, tol=1e-8, max_iter=10_000).fit(logs[0], val[0].labels)
    combined = rule("stacking", val, strengths=(0.1,))(arrays(test))
    np.testing.assert_allclose(combined, plain.predict_proba(logs[1]), atol=1e-4)


def test_the_strength_is_chosen_by_cross_fitting_that_keeps_groups_whole() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    val = members(1.0, 2.0)
    logs = np.log(np.maximum(np.hstack(arrays(val)), 1e-6))
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    losses = {}
    for strength in (0.001, 0.05, 100.0):
        model = LogisticRegression(C=strength, tol=1e-6, max_iter=10_000, solver="newton-cg")
        predicted = cross_val_predict(
            model, logs, val[0].labels, groups=val[0].groups, cv=folds, method="predict_proba"
        )
        losses[strength] = log_loss(predicted, val[0].labels)
    chosen = min(losses, key=losses.__getitem__)
    text = said(rule("stacking", val, strengths=tuple(losses), folds=3), "one other")
    assert text.startswith(f"C {chosen:g}, coefficients ")
    assert f"cross-fitted log loss {losses[chosen]:.4f} on 60 validation images in 30 groups" in text


def test_stacking_refuses_too_few_groups_and_names_them() -> None:
    """Of 60 images, two to a group, classes have 20 images; with four to a group, b has fewer groups."""
    val = members(1.0, 2.0)
    rare = [label if label != 1 or i < 15 else 0 for i, label in enumerate(val[0].labels.tolist())]
    few = [dataclasses.replace(one, labels=np.array(rare)) for one in val]
    with pytest.raises(ConfigError, match=r"10 groups of every class in the validation part.*: b 5; combine"):
        rule("stacking", few)
    lacking = [dataclasses.replace(one, classes=("a", "b", "c", "rare")) for one in val]
    for one in lacking:
        object.__setattr__(one, "probabilities", np.hstack([one.probabilities, np.zeros((60, 1))]))
    with pytest.raises(ConfigError, match=": rare 0; "):
        rule("stacking", lacking)
    one_group = [dataclasses.replace(one, groups=("same",) * 60) for one in val]
    with pytest.raises(ConfigError, match=r": a 1, b 1, c 1; "):
        rule("stacking", one_group)


def test_ten_groups_are_enough() -> None:
    val = members(1.0, 2.0, n=30)
    single = [dataclasses.replace(one, groups=one.ids) for one in val]
    assert "in 30 groups" in said(rule("stacking", single), "one other")


# --- greedy ------------------------------------------------------------------------------------------


def test_each_selection_is_the_best_of_all_that_could_be_made() -> None:
    from bench_ensembles.greedy import add_one

    val = members(0.5, 1.0, 1.2, 1.5)
    labels = val[0].labels
    stacked = np.stack(arrays(val))
    total, size = stacked[0] + stacked[2], 2
    tried = [log_loss((total + member) / 3, labels) for member in stacked]
    assert add_one(total, stacked, labels, size) == int(np.argmin(tried))


def test_selection_follows_the_path_and_ends_with_its_best_mean() -> None:
    """Beside the whole path, walked in plain Python."""
    val = members(0.8, 1.0, 1.2, 1.5)
    labels, given = val[0].labels, arrays(val)
    ranked = sorted(range(4), key=lambda i: log_loss(given[i], labels))
    starts = [ranked[:size] for size in range(1, 5)]
    path = [min(starts, key=lambda chosen: log_loss(np.mean([given[i] for i in chosen], axis=0), labels))]
    for _ in range(12):
        longer = [[*path[-1], i] for i in range(4)]
        path.append(min(longer, key=lambda c: log_loss(np.mean([given[i] for i in c], axis=0), labels)))
    best = min(path, key=lambda c: log_loss(np.mean([given[i] for i in c], axis=0), labels))
    combined = rule("greedy", val, rounds=12)(given)
    np.testing.assert_allclose(combined, np.mean([given[i] for i in best], axis=0))
    fitted = log_loss(combined, labels)
    assert fitted <= min(log_loss(member, labels) for member in given)
    assert f"(log loss {fitted:.4f} on 60 validation images; " in said(
        rule("greedy", val, rounds=12), "a b c d"
    )


@pytest.mark.parametrize("seed", range(10))
def test_of_equal_members_the_first_is_selected_once(seed: int) -> None:
    """Also where rounding makes the mean of several of them better in its last digit."""
    val = [predictions(seed, n=61, skill=1.5)] * 7
    assert said(rule("greedy", val), "first b c d e f g").startswith("selected 1 first (")
    np.testing.assert_allclose(rule("greedy", val)(arrays(val)), val[0].probabilities)


def test_without_selections_the_best_members_stay() -> None:
    val = members(0.0, 3.0)
    assert said(rule("greedy", val, rounds=0), "poor good").startswith("selected 1 good (")


def test_bags_are_the_same_every_time_and_leave_members_out() -> None:
    val = members(1.0, 1.2, 1.4, 1.6)
    bagged = rule("greedy", val, bags=7)
    assert (bagged(arrays(val)) == rule("greedy", val, bags=7)(arrays(val))).all()
    assert not np.allclose(bagged(arrays(val)), rule("greedy", val)(arrays(val)))
    text = said(bagged, "a b c d")
    shares = text.partition(" in 7 bags, weights ")[2].partition(" (log loss ")[0].split(", ")
    weights = {name: float(share) for share, name in map(str.split, shares)}
    mixed = sum(weights[name] * one for name, one in zip("abcd", arrays(val), strict=True) if name in weights)
    np.testing.assert_allclose(bagged(arrays(val)), mixed, atol=0.02)
    np.testing.assert_allclose(bagged(arrays(val)).sum(axis=1), 1)
