"""What a study can show, said before it is run: against simulated studies, and by `bench plan --detect`."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kept_audits import keep_audits, with_audits
from numpy.typing import NDArray
from samples import data_of, predictions, record_of, run_spec
from scipy import stats
from test_splits import HOLDOUT, audit_of, images_of
from typer.testing import CliRunner

from bench import Predictions, Study, local_environment
from bench import plan as make_plan
from bench.cli import app
from bench.comparison.foreseen import foresee
from bench.comparison.foreseen_text import lines
from bench.comparison.noise import Measured, measure_noise
from bench.comparison.remedies import what_would_do
from bench.data.splits.split import Split, draw_split
from bench.evidence.design import (
    MOST_FOLDS,
    MOST_ROUNDS,
    Design,
    design_of,
    images_needed,
    parts_of,
    power,
    rounds_needed,
    smallest_difference,
)
from bench.evidence.forecast import Noise, assumed, concentration, noise_of, planned, typical
from bench.evidence.inference import detectable, p_value
from bench.evidence.variance import Covariances, covariances
from bench.evidence.weights import Groups, draw_weights, weights_without_one
from bench.parsing import parse
from bench.results import store
from bench.results.store import scan
from bench.study.protocol import Protocol, SplitSettings
from bench.study.spec import RunSpec

OVERLAP = 2 / 7
DESIGN = Design(rounds=5, one_round=0.001, shared=0.0001, excess=0.0002, overlap=OVERLAP, df=200)


# --- one design --------------------------------------------------------------------------------------


def random_covariances(seed: int, rounds: int = 4) -> Covariances:
    random = np.random.default_rng(seed)
    scores = random.normal(size=(2, rounds))
    replicates = random.normal(size=(2, rounds, 200)) + 2 * random.normal(size=(2, 1, 200))
    without_one = random.normal(size=(2, rounds, 30))
    return covariances(scores, replicates, without_one, np.repeat([0, 1, 2], 10), OVERLAP)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("folds", [0, 5])
def test_the_design_of_a_measured_difference_has_its_variance(seed: int, rounds: int, folds: int) -> None:
    measured = random_covariances(seed, rounds)
    expected = measured.of_difference(0, 1)
    assert design_of(measured, 0, 1, folds).variance() == pytest.approx(expected)


def smallest(design: Design) -> float:
    return smallest_difference(lambda _: design)


@pytest.mark.parametrize("rounds", [3, 5, 30])
def test_power_at_the_smallest_difference_is_80_percent(rounds: int) -> None:
    for design in (DESIGN, replace(DESIGN, excess=0.0), replace(DESIGN, folds=5, shared=0.0)):
        found = smallest(design.at(rounds))
        assert power(design.at(rounds), found) == pytest.approx(0.8, abs=0.001)
        assert 0.01 < power(design.at(rounds), 0.001) < 0.1
        assert power(design.at(rounds), 0.9) == pytest.approx(1)


def test_with_nothing_to_estimate_but_images_it_is_the_difference_of_the_formula() -> None:
    """Where all images are alike in all rounds, no round tells of training."""
    design = replace(DESIGN, shared=DESIGN.one_round, excess=0.0, df=30)
    assert smallest(design) == pytest.approx(detectable(design.variance()), rel=0.01)
    t = stats.t.ppf(0.975, 30)
    exact = stats.nct.sf(t, 30, smallest(design) / math.sqrt(design.variance().total))
    assert exact == pytest.approx(0.8, abs=0.01)


def test_with_training_alone_it_is_that_of_the_t_distribution() -> None:
    design = Design(rounds=6, one_round=0, shared=0, excess=0.001, overlap=OVERLAP, df=100)
    for difference in (0.02, 0.05, 0.1):
        noncentral = difference / math.sqrt(design.variance().total)
        exact = stats.nct.sf(stats.t.ppf(0.975, 5), 5, noncentral)
        assert power(design, difference) == pytest.approx(exact, abs=0.005)


def test_more_rounds_and_more_images_find_smaller_differences() -> None:
    of_folds = replace(DESIGN, folds=5, shared=0.0)
    for design in (DESIGN, of_folds, replace(of_folds, folds=8), replace(DESIGN, overlap=0.0)):
        by_rounds = [smallest(design.at(rounds)) for rounds in range(3, 20)]
        assert by_rounds == sorted(by_rounds, reverse=True)
        assert len(set(by_rounds)) > 10
        by_images = [smallest(design.at(5, factor)) for factor in (0.5, 1, 2, 10)]
        assert by_images == sorted(by_images, reverse=True)
        assert len(set(by_images)) == 4


def test_more_folds_leave_the_part_of_the_images_and_train_on_more() -> None:
    folds = replace(DESIGN, folds=5, shared=0.0)
    five, ten = folds.variance(), folds.at(10).variance()
    assert ten.images == pytest.approx(five.images)
    # 5 folds test 0.2 and train on 0.7; so 10 test 0.1 and train on 0.8.
    assert ten.training == pytest.approx(folds.excess * (1 / 10 + 0.1 / 0.8))
    assert folds.at(3).variance().images == pytest.approx(five.images * 5 / 3)  # 3 of the 5 folds


def test_the_rounds_and_images_named_are_the_fewest_that_do() -> None:
    sought = 0.8 * smallest(DESIGN)
    rounds = rounds_needed(DESIGN, sought)
    assert rounds is not None
    assert smallest(DESIGN.at(rounds)) <= sought < smallest(DESIGN.at(rounds - 1))
    factor = images_needed(DESIGN, sought)
    assert factor is not None
    assert smallest(DESIGN.at(5, factor)) == pytest.approx(sought, rel=0.02)
    assert images_needed(DESIGN, 1.0) == 1.0
    assert rounds_needed(DESIGN, 1.0) == 3  # fewer give no verdict


def points(value: float) -> str:
    return f"{100 * value:.1f} points"


@pytest.mark.parametrize(
    ("design", "sought", "said"),
    [
        (DESIGN, 0.05, r"about \d+ rounds would do, or \d+\.\d times as many images$"),
        (DESIGN, 0.5, "$"),
        (replace(DESIGN, shared=0.0009), 0.05, r"no number of rounds would do \(the images set a limit of "),
        (replace(DESIGN, shared=0.0009), 0.05, r"of 8\.\d points\); \d+\.\d times as many images would$"),
        (replace(DESIGN, one_round=1e-5, shared=0), 0.03, "more images alone would not, because"),
        (replace(DESIGN, excess=0.01), 0.02, "trainings on overlapping images set a limit of"),
        (replace(DESIGN, excess=0.01), 0.02, "nor more images: trainings vary too much$"),
        (replace(DESIGN, overlap=0, shared=0.0009, excess=0.001), 0.03, r"alone; \d+ rounds of \d"),
        (replace(DESIGN, folds=5), 0.03, r"no number of folds would do \(20, the most, find"),
        (replace(DESIGN, shared=0, excess=0), 0.005, "no number of rounds would do up to 100;"),
        (replace(DESIGN, one_round=math.nan), 0.01, "$"),
        (replace(DESIGN, one_round=0, shared=0, excess=0), 0.01, "$"),
    ],
)  # fmt: skip
def test_what_would_do_is_said(design: Design, sought: float, said: str) -> None:
    text = what_would_do(design, sought, points)
    assert re.search(said, text) if said != "$" else text == ""


def test_images_are_numbers_where_their_number_is_known() -> None:
    text = what_would_do(DESIGN, 0.05, points, 780, "test images")
    stated = re.search(r"or about ([\d,]+) test images instead of 780$", text)
    assert stated
    count = int(stated[1].replace(",", ""))
    needed = 780 * (images_needed(DESIGN, 0.05) or 0)
    assert needed <= count <= 1.1 * needed


def test_folds_are_at_most_what_a_protocol_allows() -> None:
    SplitSettings(method="kfold", folds=MOST_FOLDS)
    assert Protocol(rounds=MOST_ROUNDS).rounds == MOST_ROUNDS
    with pytest.raises(Exception, match="folds"):
        parse(SplitSettings, {"method": "kfold", "folds": MOST_FOLDS + 1}, "split")


# --- against simulated studies -----------------------------------------------------------------------

IMAGES, ROUNDS, DISAGREEMENT = 300, 5, 0.2


def draw_tests(folds: bool, random: np.random.Generator) -> NDArray[np.bool_]:
    """(R, N) which images each round tests on, a fifth of them."""
    orders = [random.permutation(IMAGES) for _ in range(1 if folds else ROUNDS)] * (ROUNDS if folds else 1)
    tested = np.zeros((ROUNDS, IMAGES), dtype=bool)
    for r, order in enumerate(orders):
        tested[r, np.roll(order, r * IMAGES // ROUNDS * folds)[: IMAGES // ROUNDS]] = True
    return tested


def contributions(
    difference: float, alike: float, random: np.random.Generator, studies: int
) -> NDArray[np.float64]:
    """(studies, R, N) of A right less B right: in each round an image keeps its own value or, with
    probability 1 - `alike`, draws another one."""
    p = [(DISAGREEMENT - difference) / 2, 1 - DISAGREEMENT, (DISAGREEMENT + difference) / 2]
    own = random.choice([-1.0, 0.0, 1.0], size=(studies, 1, IMAGES), p=p)
    new = random.choice([-1.0, 0.0, 1.0], size=(studies, ROUNDS, IMAGES), p=p)
    return np.where(random.random((studies, ROUNDS, IMAGES)) < math.sqrt(alike), own, new)


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("alike", [1.0, 0.3])
def test_the_variance_foreseen_is_that_of_simulated_studies(folds: bool, alike: float) -> None:
    random = np.random.default_rng(0)
    tested = draw_tests(folds, random)
    shares = tested / tested.sum(axis=1, keepdims=True)
    found = (contributions(0.0, alike, random, 4000) * shares).sum(axis=2).mean(axis=1)
    noise = Noise(disagreement=DISAGREEMENT, one_round=DISAGREEMENT, shared=alike * DISAGREEMENT, excess=0)
    design = planned(concentration(shares), noise, ROUNDS, OVERLAP, 1, 5 * folds)
    assert found.var() == pytest.approx(design.variance().total, rel=0.08)
    if alike == 1:
        expected = DISAGREEMENT * (shares.mean(axis=0) ** 2).sum()
        assert design.variance().total == pytest.approx(expected)


def test_the_power_foreseen_is_how_often_our_own_test_finds_the_difference() -> None:
    """By the whole machinery of `bench compare`: resampled groups, two-way variance, t."""
    random = np.random.default_rng(1)
    tested = draw_tests(False, random)
    shares = tested / tested.sum(axis=1, keepdims=True)
    groups = Groups(tuple(map(str, range(IMAGES))), np.zeros(IMAGES, dtype=np.int64))
    weights = np.concatenate([draw_weights(groups, 500), weights_without_one(groups)])
    sums = weights @ tested.T
    noise = Noise(disagreement=DISAGREEMENT, one_round=DISAGREEMENT, shared=0.3 * DISAGREEMENT, excess=0)
    design = planned(concentration(shares), noise, ROUNDS, OVERLAP, 1)
    for difference in (0.06, smallest(design)):
        found = 0
        for each in contributions(difference, 0.3, random, 300):
            drawn = (weights @ (each * tested).T / sums).T
            observed = (each * shares).sum(axis=1)
            both, none = np.stack([observed, 0 * observed]), np.zeros_like(drawn)
            parts = covariances(
                both,
                np.stack([drawn, none])[:, :, :500],
                np.stack([drawn, none])[:, :, 500:],
                groups.strata,
                OVERLAP,
            )
            found += p_value(float(observed.mean()), parts.of_difference(0, 1)) < 0.05
        assert found / 300 == pytest.approx(power(design, difference), abs=0.06)


# --- of splits ---------------------------------------------------------------------------------------

SIZES = [[1, 2, 3] * 20, [2] * 40, [1] * 30]


def foreseen_of(
    settings: SplitSettings = HOLDOUT, rounds: int = 5, difference: float = 0.05, **more: Any
) -> Any:
    images = images_of(SIZES, more.pop("parts", None))
    audit = audit_of(images)
    splits = [draw_split(images, settings, r, 0, audit) for r in range(rounds)]
    return foresee(splits, images, audit, difference, more.pop("found", None), **more)


def test_weights_of_groups_are_those_of_the_frozen_splits() -> None:
    images = images_of(SIZES)
    splits = [draw_split(images, SplitSettings(), r, 0) for r in range(5)]
    c: dict[str, float] = {}
    for split in splits:
        test = split.indices("test")
        for i in test:
            c[split.groups[i]] = c.get(split.groups[i], 0) + 1 / len(test) / 5
    expected = 0.1 * sum(weight**2 for weight in c.values())
    [case, _] = foreseen_of().cases
    assert case.design.variance() == pytest.approx((expected, 0, len(c) - 3))


@pytest.mark.parametrize("rounds", [3, 5, 10])
def test_as_many_folds_are_tighter(rounds: int) -> None:
    foreseen = foreseen_of(rounds=rounds)
    assert foreseen.tighter
    text = "\n".join(lines(foreseen, Path("results")))
    assert f"Recommended: {rounds} folds instead, as many trainings, find " in text
    assert f"--set protocol.split.method=kfold --set protocol.split.folds={rounds}" in text
    assert ("each then trains on" in text) is (rounds == 3)
    own = foreseen_of(SplitSettings(method="kfold", folds=rounds), rounds=rounds)
    for case, folded in zip(foreseen.cases, own.cases, strict=True):
        assert case.folds == pytest.approx(folded.smallest, rel=1e-4)
        assert case.folds < case.smallest
    assert own.folds is None  # which is what it has
    assert "Recommended" not in "\n".join(lines(own, Path("results")))


def test_methods_that_are_new_in_every_round_gain_nothing_from_folds() -> None:
    noise = Noise(disagreement=0.2, one_round=0.2, shared=0.0, excess=0.0)
    foreseen = foreseen_of(found=Measured(noise, 3, 5, ""))
    assert not foreseen.tighter
    text = "\n".join(lines(foreseen, Path("results")))
    assert re.search(r"5 folds instead, as many trainings, find [\d.]+ points with 80 %: no better\.", text)


def test_a_part_that_the_data_set_fixes() -> None:
    total = sum(map(sum, SIZES))
    groups = [g for c, sizes in enumerate(SIZES) for g, n in enumerate(sizes) for _ in range(n)]
    parts = [("train", "train", "train", "val", "test")[g % 5] for g in groups]
    for rounds in (1, 4):
        foreseen = foreseen_of(rounds=rounds, parts=parts)
        tested = foreseen.tested
        assert (tested.fixed, tested.overlap, foreseen.folds) == (True, 0, None)
        assert tested.images == parts.count("test") < total
        few, many = (foreseen.cases[0].design.at(r).variance() for r in (3, 100))
        assert few.images == pytest.approx(many.images)  # the same images, however many rounds
    assert "test images instead of" in "\n".join(lines(foreseen, Path("results")))


def test_fewer_than_three_rounds_give_no_verdict() -> None:
    for rounds in (1, 2):
        foreseen = foreseen_of(rounds=rounds)
        assert foreseen.folds is None
        text = "\n".join(lines(foreseen, Path("results")))
        assert "No: a verdict needs 3 rounds at least." in text
        assert "with 3 rounds it is found with a probability of" in text
        three = foreseen_of(rounds=3)
        for case, other in zip(foreseen.cases, three.cases, strict=True):
            assert case.smallest == pytest.approx(other.smallest, rel=0.25)  # without having its splits


def test_given_splits_are_not_advised_against() -> None:
    assert foreseen_of(redraw=False).folds is None


def test_duplicates_count_as_one_group_however_the_split_was_drawn() -> None:
    images = images_of([[1] * 60, [1] * 40])
    audit = audit_of(images, *((i, i + 1) for i in range(0, 100, 2) if i != 58))
    splits = [draw_split(images, SplitSettings(groups="none"), r, 0, audit) for r in range(5)]
    joined, alone = (foresee(splits, images, known, 0.05, None) for known in (audit, audit_of(images)))
    assert joined.tested.groups.groups < alone.tested.groups.groups
    assert joined.cases[0].smallest > alone.cases[0].smallest


def test_too_few_groups_for_folds_are_no_alternative() -> None:
    images = images_of([[5] * 4, [5] * 4])
    audit = audit_of(images)
    splits = [draw_split(images, SplitSettings(), r, 0, audit) for r in range(8)]
    assert foresee(splits, images, audit, 0.05, None).folds is None


def test_accuracies_cannot_differ_by_more_than_methods_disagree() -> None:
    """30 images: at 10 % disagreement the formula would find differences of 13 points, of which there are
    none; at 13 points methods disagree on 13 % at least."""
    shares = np.full((1, 30), 1 / 30)
    tested = concentration(shares)
    at_10 = planned(tested, assumed(0.1), 3, OVERLAP, 2)
    found = smallest_difference(lambda d: planned(tested, assumed(0.1).at(d), 3, OVERLAP, 2))
    assert found == pytest.approx(smallest(planned(tested, assumed(found), 3, OVERLAP, 2)), rel=1e-3)
    assert found > smallest(at_10) > 0.1
    assert math.isnan(smallest_difference(lambda _: replace(DESIGN, one_round=5.0, shared=5.0)))


# --- from stored results -----------------------------------------------------------------------------


def stored(results: Path, rounds: int = 6, **skills: float) -> None:
    """The same test images in several rounds, each method with noise of its own in each."""
    for strategy, skill in skills.items():
        for r in range(rounds):
            images = predictions(0, 240, skill=1.0)
            own = predictions(100 * ord(strategy[0]) + r, 240, skill=skill)
            keep = np.random.default_rng(r).random(240) < 0.5
            one = replace(
                images,
                ids=tuple(np.array(images.ids)[keep]),
                groups=tuple(np.array(images.groups)[keep]),
                labels=images.labels[keep],
                probabilities=own.probabilities[keep],
            )
            store.write(results, record_of(run_spec(strategy, r)), predictions={"val": one, "test": one})


def a_split(content: str = data_of().content) -> Split:
    return replace(draw_split(images_of(SIZES), SplitSettings(), 0, 0), content=content)


def test_noise_is_measured_on_stored_pairs(tmp_path: Path) -> None:
    stored(tmp_path, a=1.0, b=1.0, c=1.0)
    records, _ = scan(tmp_path)
    found = measure_noise(records, tmp_path, a_split(), run_spec("new"))
    assert found is not None
    assert (found.pairs, found.rounds, found.protocol) == (3, 6, "")
    tests = {r.spec.strategy.name + str(r.spec.round): right(r) for r in records}  # type: ignore[union-attr]
    apart = [
        np.mean([(tests[f"{x}{r}"] != tests[f"{y}{r}"]).mean() for r in range(6)])
        for x, y in ("ab", "ac", "bc")
    ]
    assert found.noise.disagreement == pytest.approx(np.median(apart))
    # Images err independently of their group and round: of kept halves of pairs, 2 of 3 are alone.
    assert found.noise.one_round == pytest.approx(found.noise.disagreement / 1.5, rel=0.15)
    assert found.noise.shared < 0.2 * found.noise.one_round
    assert found.noise.excess < 0.002


def right(record: Any) -> NDArray[np.bool_]:
    one: Predictions = store.read_predictions(record.path, "test", record)
    return one.probabilities.argmax(axis=1) == one.labels


def test_results_that_say_nothing_of_these_images(tmp_path: Path) -> None:
    stored(tmp_path, rounds=2, a=1.0)
    planned_run = run_spec("new")
    assert measure_noise(scan(tmp_path)[0], tmp_path, a_split(), planned_run) is None  # one method
    stored(tmp_path, rounds=2, b=1.0)
    assert measure_noise(scan(tmp_path)[0], tmp_path, a_split(), planned_run) is not None
    assert measure_noise(scan(tmp_path)[0], tmp_path, a_split("other images"), planned_run) is None


def test_another_protocol_is_named_and_few_rounds_are_said(tmp_path: Path) -> None:
    stored(tmp_path, rounds=2, a=1.0, b=1.2)
    found = measure_noise(scan(tmp_path)[0], tmp_path, a_split(), run_spec("new", size=96))
    assert found is not None
    assert "224 px" in found.protocol
    assert found.noise.shared == found.noise.one_round
    text = "\n".join(lines(foreseen_of(found=found), tmp_path))
    assert "under another protocol (224 px" in text
    assert "fewer than 5 rounds cannot tell" in text
    assert "1 pair of methods over 2 rounds" in text


def test_typical_noise_is_never_negative() -> None:
    pairs = [
        Noise(disagreement=0.1, one_round=0.1, shared=s, excess=e) for s, e in ((-1, -2), (-2, 1), (3, 0))
    ]
    assert typical(pairs, 5) == Noise(disagreement=0.1, one_round=0.1, shared=0.0, excess=0.0)
    assert typical(pairs[2:], 5).shared == 0.1
    measured = random_covariances(3)
    disjoint = concentration(np.eye(4))
    assert disjoint.shared == 0
    assert (found := noise_of(parts_of(measured, 0, 1), disjoint, 0.1)).shared == found.one_round


# --- the command -------------------------------------------------------------------------------------

PHANTOM = ["plan", "-d", "phantom", "--set", "dataset.phantom.patients=60", "-s", "egmae,imagenet"]
PHANTOM += ["-p", "quick", "--no-probe", "--device", "cpu"]


def detect(results: Path, wanted: str, *more: str) -> Any:
    arguments = [*PHANTOM, "--results", str(results), "--detect", wanted, *more]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "160"})


@pytest.mark.parametrize("wanted", ["0", "-3", "50.1", "nan", "inf"])
def test_what_is_no_difference_is_refused(tmp_path: Path, wanted: str) -> None:
    result = detect(tmp_path, wanted)
    assert result.exit_code != 0
    assert "give a difference in points of accuracy, above 0 and up to 50" in str(result.exception)
    assert not list(tmp_path.iterdir())  # before any work


def test_plan_says_what_the_study_can_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(with_audits(tmp_path))
    page = (Path(__file__).parent.parent / "docs" / "detectable.md").read_text(encoding="utf-8")
    [(command, shown)] = re.findall(r"^```console\n\$ bench (plan .*)\n((?:.*\n)*?)```$", page, re.MULTILINE)
    words = [*shlex.split(command), "--device", "cpu"]

    def say(*more: str) -> str:
        text = CliRunner().invoke(app, [*words, *more], env={"COLUMNS": "160"}).stdout
        return " ".join(text.partition("\nphantom, ")[2].split())

    assert "phantom, " + say() == " ".join(shown.split())
    keep_audits(tmp_path)
    folds = say("--set", "protocol.split.method=kfold")
    assert folds.startswith("5 folds: can it find")
    assert "Recommended" not in folds

    study = Study.from_names("phantom", "egmae,imagenet", protocol="quick", rounds=5)
    plan = make_plan(study, local_environment(results="results", device="cpu"))
    for unit in plan.units:
        if isinstance(unit, RunSpec):
            store_predictions(Path("results"), unit, plan.splits[unit.dataset, unit.round])
    text = say()
    assert "Measured in results on 1 pair of methods over 5 rounds: two methods disagree on" in text
    assert "another protocol" not in text
    assert "It is found with a probability of" in text
    assert "comes from" in text
    assert "under another protocol" in say("--set", "protocol.size=64")


def test_plan_says_nothing_of_it_unasked(tmp_path: Path) -> None:
    text = CliRunner().invoke(app, [*PHANTOM, "--results", str(tmp_path)], env={"COLUMNS": "160"}).stdout
    assert "To do: " in text
    assert "points" not in text


def store_predictions(results: Path, unit: RunSpec, split: Split) -> None:
    """A finished run of the unit, three in four images right."""
    rows = split.indices("test")
    random = np.random.default_rng([unit.round, len(unit.strategy.name)])
    labels = np.array([split.classes.index(split.labels[i]) for i in rows])
    said = np.where(random.random(len(rows)) < 0.75, labels, (labels + 1) % len(split.classes))
    one = Predictions(
        classes=split.classes,
        ids=tuple(split.ids[i] for i in rows),
        groups=tuple(split.groups[i] for i in rows),
        labels=labels,
        probabilities=np.eye(len(split.classes))[said],
    )
    data = data_of(content=split.content, split=split.hash, counts=split.counts())
    store.write(results, record_of(unit, data=data), predictions={"val": one, "test": one})


def test_a_study_that_was_not_shown_says_what_would_show_it(tmp_path: Path) -> None:
    stored(tmp_path, rounds=5, one=1.0, two=1.0)
    text = CliRunner().invoke(app, ["compare", "one", "two", "--results", str(tmp_path)]).stdout
    assert "Verdict: not shown either way" in text
    assert re.search(
        r"To find a difference (as large as the one observed|of 1\.0 points, the margin,) in four of five "
        r"cases: (about \d+ rounds would do|no number of rounds would do)",
        text,
    )
    stored(tmp_path, rounds=5, good=5.0)
    text = CliRunner().invoke(app, ["compare", "good", "one", "--results", str(tmp_path)]).stdout
    assert "is better than" in text
    assert "To find a difference" not in text  # it was found
