"""`bench check-claims`: numerics against simulation and brute force; the command on the shipped tables."""

from __future__ import annotations

import json
import re
import shlex
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from samples import mean_of, predictions, record_of, run_spec, store_run
from sklearn.metrics import cohen_kappa_score, f1_score, precision_score, recall_score
from typer.testing import CliRunner

from bench.cli import app
from bench.cli.claims_text import probability
from bench.comparison.congruence import measure_congruence
from bench.comparison.published_claims import check_dataset
from bench.comparison.published_table import PublishedTable, read_published
from bench.comparison.reported import load_reported, reported_files
from bench.errors import ConfigError
from bench.evidence.printed import against_harmonic_mean, attainable, nearest_hits, smallest_size
from bench.evidence.published import (
    congruence_of,
    false_claim,
    false_claim_bounds,
    overlap_of,
    pairs_of,
    possible_congruence,
)
from bench.results import store

SHARES = st.floats(0.01, 0.99)


# --- the probability of a false claim ----------------------------------------------------------------


def test_smt_over_sg_former_is_false_with_43_percent() -> None:
    """With the paper's congruence: the share of images that both methods predict right."""
    assert false_claim(0.7877, 0.7819, 156, 0.70) == pytest.approx(0.43, abs=0.005)
    assert overlap_of(0.7877, 0.7819, 0.70) == pytest.approx(0.5, abs=0.01)  # hence our default


@pytest.mark.parametrize(
    ("better", "worse", "images", "congruence"),
    [(0.7877, 0.7819, 156, 0.70), (0.90, 0.80, 50, 0.75), (0.62, 0.55, 30, 0.17), (0.97, 0.95, 400, 0.95)],
)
def test_probability_agrees_with_draws_from_the_dirichlet(
    better: float, worse: float, images: int, congruence: float
) -> None:
    """Of all four cells, so that merging two of them is part of what is checked."""
    cells = [congruence, better - congruence, worse - congruence, 1 - better - worse + congruence]
    draws = np.random.default_rng(0).dirichlet([images * cell + 1 for cell in cells], size=200_000)
    share = (draws[:, 1] <= draws[:, 2]).mean()
    assert false_claim(better, worse, images, congruence) == pytest.approx(share, abs=0.005)


def test_probability_by_hand() -> None:
    """10 images that A alone is right on, none that B alone is: a Beta(11, 1) below 1/2."""
    assert false_claim(0.8, 0.7, 100, 0.7) == pytest.approx(0.5**11)


@given(SHARES, SHARES, st.integers(2, 5000), st.floats(0, 1), st.floats(0, 1))
def test_probability_falls_with_congruence_and_stays_within_its_bounds(
    a: float, b: float, images: int, place: float, further: float
) -> None:
    better, worse = max(a, b), min(a, b)
    low, high = possible_congruence(better, worse)
    near = low + min(place, further) * (high - low)
    far = low + max(place, further) * (high - low)
    bounds = false_claim_bounds(better, worse, images)
    values = [false_claim(better, worse, images, each) for each in (near, far)]
    assert bounds.low - 1e-9 <= values[1] <= values[0] + 1e-9 <= bounds.high + 2e-9
    assert bounds.high <= 0.5 + 1e-9


@given(SHARES, st.integers(2, 5000))
def test_equal_accuracies_are_a_toss(accuracy: float, images: int) -> None:
    assert false_claim_bounds(accuracy, accuracy, images) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(("images", "congruence"), [(0, 0.7), (100, 0.81), (100, 0.49)])
def test_what_is_impossible_is_refused(images: int, congruence: float) -> None:
    with pytest.raises(ValueError, match=r"images|not from"):
        false_claim(0.8, 0.7, images, congruence)


# --- congruence and overlap --------------------------------------------------------------------------


@given(SHARES, SHARES, st.floats(-1, 1))
def test_overlap_and_congruence_are_inverse(a: float, b: float, overlap: float) -> None:
    congruence = congruence_of(a, b, overlap)
    low, high = possible_congruence(a, b)
    assert low - 1e-9 <= congruence <= high + 1e-9
    assume(high - a * b > 1e-4 and a * b - low > 1e-4)
    assert overlap_of(a, b, congruence) == pytest.approx(overlap, abs=1e-4)


def test_overlap_is_kappa_over_its_maximum() -> None:
    random = np.random.default_rng(1)
    truth = random.random(500)
    right = np.stack([truth + random.normal(0, 0.3, 500) > 0.3, truth + random.normal(0, 0.3, 500) > 0.4])
    [overlap], [both] = pairs_of(right).overlap, pairs_of(right).congruence
    a, b = right.mean(axis=1)
    chance = a * b + (1 - a) * (1 - b)
    greatest = (1 - abs(a - b) - chance) / (1 - chance)
    assert overlap == pytest.approx(cohen_kappa_score(*right) / greatest)
    assert both == pytest.approx((right[0] & right[1]).mean())


def test_pairs_by_hand() -> None:
    right = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 1, 1]], dtype=bool)
    pairs = pairs_of(right)
    assert pairs.congruence.tolist() == [0.5, 0, 0.5, 0.25, 0.75, 0.5]
    assert pairs.overlap[:2].tolist() == [1, -1]
    assert np.isnan(pairs.overlap[[2, 4, 5]]).all()  # whatever is right on all images says nothing


def test_congruence_is_measured_on_runs_of_the_same_test_images(tmp_path: Path) -> None:
    runs = [run_spec(name, r) for name in ("egmae", "mae", "scratch") for r in range(2)]
    for seed, spec in enumerate(runs):
        store_run(tmp_path, spec, seed=seed)
    store_run(tmp_path, mean_of(runs[0], runs[2]))  # an ensemble contains its members
    store_run(tmp_path, run_spec("alone", 7))
    records, _ = store.scan(tmp_path)
    measured, warnings = measure_congruence(records, {"busi"})
    assert warnings == []
    found = measured["busi"]
    assert (found.pairs, found.runs, found.rounds) == (6, 6, 2)
    right = {}
    for seed, spec in enumerate(runs):
        each = predictions(seed + 100 * spec.round)
        right[spec] = each.probabilities.argmax(axis=1) == each.labels
    both = sorted(
        float((right[a] & right[b]).mean())
        for i, a in enumerate(runs)
        for b in runs[:i]
        if a.round == b.round
    )
    assert found.congruence == pytest.approx((both[0], both[-1]))
    assert found.median_congruence == pytest.approx(np.median(both))
    assert found.overlap.low <= found.median_overlap <= found.overlap.high
    assert measure_congruence(records, {"covid"}) == ({}, [])


def test_the_order_of_stored_images_does_not_matter(tmp_path: Path) -> None:
    each = predictions(3)
    turned = type(each)(
        classes=each.classes,
        ids=each.ids[::-1],
        groups=each.groups[::-1],
        labels=each.labels[::-1].copy(),
        probabilities=each.probabilities[::-1].copy(),
    )
    for name, stored in (("mae", each), ("egmae", turned)):
        store.write(tmp_path, record_of(run_spec(name)), predictions={"val": stored, "test": stored})
    found = measure_congruence(store.scan(tmp_path)[0], {"busi"})[0]["busi"]
    assert found.median_overlap == 1
    assert found.median_congruence == (each.probabilities.argmax(axis=1) == each.labels).mean()


# --- attainable accuracies ---------------------------------------------------------------------------


@given(st.integers(1, 400), st.integers(0, 4), st.integers(0, 10_000))
def test_attainable_is_what_brute_force_finds(images: int, digits: int, tick: int) -> None:
    value = Decimal(min(tick, 10**digits)).scaleb(-digits)
    half = Fraction(1, 2 * 10**digits)
    hits = [k for k in range(images + 1) if abs(Fraction(k, images) - Fraction(value)) <= half]
    assert attainable(value, images) == bool(hits)
    nearest = min(range(images + 1), key=lambda k: abs(Fraction(k, images) - Fraction(value)))
    found = nearest_hits(value, images)
    assert abs(Fraction(found, images) - Fraction(value)) == abs(Fraction(nearest, images) - Fraction(value))


@given(st.integers(1, 2000), st.data())
def test_a_true_accuracy_is_attainable(images: int, data: Any) -> None:
    hits = data.draw(st.integers(0, images))
    for digits in (2, 3, 4):
        assert attainable(Decimal(f"{hits / images:.{digits}f}"), images)


def test_digits_count() -> None:
    """0.78 may be 0.7756 = 121/156; 0.7800 may not."""
    assert attainable(Decimal("0.78"), 156)
    assert not attainable(Decimal("0.7800"), 156)


@pytest.mark.parametrize("rounds", [1, 5])
def test_smallest_size_is_what_brute_force_finds(rounds: int) -> None:
    values = [Decimal("0.786"), Decimal("0.571"), Decimal("0.929")]  # 11/14, 8/14, 13/14
    sizes = [n for n in range(2, 100) if all(attainable(value, n * rounds) for value in values)]
    assert smallest_size(values, rounds) == sizes[0]
    assert rounds == 5 or sizes[0] == 14
    assert smallest_size([Decimal("0.123456789")]) is None


def test_of_the_accuracies_on_busi_one_is_of_156_images_and_two_are_of_780() -> None:
    values = {row.model: row.values["accuracy"] for row in shipped().rows if row.dataset == "busi"}
    assert [name for name, value in values.items() if attainable(value, 156)] == ["Ensemble 1000/15"]
    assert nearest_hits(values["Ensemble 1000/15"], 156) == 152
    assert sum(attainable(value, 780) for value in values.values()) == 2
    smallest = smallest_size(list(values.values()))
    assert smallest is not None
    assert all(attainable(value, smallest) for value in values.values())


# --- F1 ----------------------------------------------------------------------------------------------


def shipped() -> PublishedTable:
    [path] = reported_files()
    return read_published(path)


def test_f1_of_the_ensembles_is_the_harmonic_mean() -> None:
    rows = shipped().rows
    assert len(rows) == 40
    ensembles = [row for row in rows if "f1_pr" in row.values]
    assert len(ensembles) == 4
    for row in rows:
        name = "f1_pr" if row in ensembles else "f1"
        values = [row.values[column] for column in (name, "precision", "recall")]
        f1, precision, recall = map(float, values)
        exact = 2 * precision * recall / (precision + recall)
        relation = against_harmonic_mean(*values)
        if row in ensembles:
            assert relation == "equal"
        if abs(f1 - exact) > 0.00011:  # half a digit of F1 and of the mean of two
            assert relation == ("above" if f1 > exact else "below")
        if abs(f1 - exact) < 0.00005:
            assert relation == "equal"


@given(
    st.lists(st.integers(0, 3), min_size=8, max_size=60), st.data(), st.sampled_from(["macro", "weighted"])
)
def test_a_mean_of_f1_is_never_above_the_harmonic_mean(truth: list[int], data: Any, average: Any) -> None:
    """The theorem that "above" rests on, on scikit-learn's scores, as they would be printed."""
    said = data.draw(st.lists(st.integers(0, 3), min_size=len(truth), max_size=len(truth)))
    scores = [
        score(truth, said, average=average, labels=range(4), zero_division=0)
        for score in (f1_score, precision_score, recall_score)
    ]
    assert against_harmonic_mean(*(Decimal(f"{score:.4f}") for score in scores)) != "above"


def test_rounding_explains_what_it_can() -> None:
    assert against_harmonic_mean(Decimal("0.67"), Decimal("0.67"), Decimal("0.67")) == "equal"
    assert against_harmonic_mean(Decimal("0.68"), Decimal("0.67"), Decimal("0.67")) == "equal"  # 0.675 each
    assert against_harmonic_mean(Decimal("0.690"), Decimal("0.670"), Decimal("0.670")) == "above"
    assert against_harmonic_mean(Decimal("0.8"), Decimal("0.80"), Decimal("0.8400")) == "equal"  # 0.81951
    assert against_harmonic_mean(Decimal("0.800"), Decimal("0.80"), Decimal("0.8400")) == "below"
    assert against_harmonic_mean(Decimal(0), Decimal(0), Decimal(0)) == "equal"


# --- the checks of one data set ----------------------------------------------------------------------


def test_the_best_row_against_each_other(tmp_path: Path) -> None:
    path = written(tmp_path, "dataset,model,accuracy\na,low,0.70\na,best,0.90\na,none,\na,mid,0.88\n")
    checked = check_dataset(read_published(path).rows, images=100)
    assert [row.row.model for row in checked.rows] == ["best", "mid", "low", "none"]
    claims = [row.claim for row in checked.rows]
    assert claims[0] is claims[3] is None
    for claim, accuracy in zip(claims[1:3], (0.88, 0.70), strict=True):
        assert claim is not None
        assert claim.points == pytest.approx(100 * (0.9 - accuracy))
        assert claim.false == false_claim(0.9, accuracy, 100, claim.congruence)
        assert claim.congruence == pytest.approx(congruence_of(0.9, accuracy, 0.5))


def test_rounds_are_counted_as_more_images(tmp_path: Path) -> None:
    rows = read_published(written(tmp_path, "dataset,model,accuracy\na,x,0.7872\na,y,0.7\n")).rows
    one, five = (check_dataset(rows, images=156, rounds=rounds).rows for rounds in (1, 5))
    assert one[0].granularity is not None
    assert five[0].granularity is not None
    assert (one[0].granularity.attainable, five[0].granularity.attainable) == (False, True)
    assert five[0].granularity.images == 780
    assert one[1].claim is not None
    assert five[1].claim is not None
    assert five[1].claim.false < one[1].claim.false


# --- the command -------------------------------------------------------------------------------------


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def check(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["check-claims", *arguments], env={"COLUMNS": "200"})
    if code == 0:
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())
    assert isinstance(result.exception, ConfigError), result.output  # which `main` prints, with exit code 2
    message = str(result.exception)
    assert "\n" not in message
    return message


@pytest.fixture(autouse=True)
def _no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_RESULTS", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_shipped_tables(tmp_path: Path) -> None:
    text = check("reported", "--n-test", "busi=156,covid=4233")
    for said in (
        "busi: 10 rows, 156 test images; Ensemble 1000/15 against the others",
        "Ensemble 1000/15 over the runner-up CPVT: 15.49 points; probability that this is false, by image "
        "sampling alone: <0.01 %.",
        "Attainable with 156 test images: 1 of 10 accuracies.",
        "no (123: 0.7885)",
        "F1 is the harmonic mean of precision and recall, as far as the digits go: Ensemble 1000/15.",
        "kvasir: 10 rows",
        "No --n-test for this data set: only F1 is checked.",
        "covid: 10 rows, 4233 test images",
        "assumed, halfway between independent errors",
        "arXiv 2505.04720",
    ):
        assert said in text, said


def test_the_figure_of_one_pair_on_the_command_line() -> None:
    text = check("reported", "-d", "busi", "--n-test", "156", "--method", "SMT", "--congruence", "0.70")
    assert "SG-Former 0.7819 0.58 0.7000 43 % 27 to 46 % no (122: 0.7821) above" in text
    assert "0.6925*" in text  # SWIN is right on no more than these
    assert "Both right: 0.7 by --congruence; * not possible for these two accuracies" in text


def test_the_page_shows_what_the_command_prints() -> None:
    page = (Path(__file__).parent.parent / "docs" / "published-claims.md").read_text(encoding="utf-8")
    shown = re.findall(
        r"^```console\n\$ bench check-claims ([^\n]*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
    assert len(shown) == 2
    for command, output in shown:
        assert check(*shlex.split(command)).replace("─", "") == " ".join(output.split()).replace("─", "")


def test_json_has_everything() -> None:
    text = check("reported", "-d", "busi", "--n-test", "156", "--method", "SMT", "-f", "json")
    [found] = json.loads(text)
    assert (found["images"], found["compared"], found["measured"]) == (156, "SMT", None)
    rows = {row["model"]: row for row in found["rows"]}
    assert rows["SMT"]["claim"] is None
    assert rows["SMT"]["granularity"] == {"attainable": False, "hits": 123, "images": 156}
    assert rows["SG-Former"]["claim"]["false"] == pytest.approx(0.43, abs=0.005)
    assert rows["CPVT"]["claim"]["points"] == pytest.approx(-3.18)
    assert [row["accuracy"] for row in found["rows"]] == sorted(
        (row.values["accuracy"] for row in load_reported() if row.dataset == "busi"), reverse=True
    )


def test_own_runs_give_the_congruence(tmp_path: Path) -> None:
    for seed, name in enumerate(("egmae", "mae", "scratch")):
        store_run(tmp_path / "results", run_spec(name), seed=seed)
    text = check("reported", "--n-test", "busi=156,covid=4233")
    assert "from 3 pairs of 3 runs of 1 round in results" in text
    assert text.count("assumed, halfway") == 1  # covid
    [found] = json.loads(check("reported", "-d", "busi", "--n-test", "156", "-f", "json"))
    worse = found["rows"][1]
    expected = congruence_of(0.9744, worse["accuracy"], found["measured"]["median_overlap"])
    assert worse["claim"]["congruence"] == pytest.approx(expected)


def test_damaged_predictions_are_left_out_with_a_warning(tmp_path: Path) -> None:
    for seed, name in enumerate(("egmae", "mae", "scratch")):
        path = store_run(tmp_path / "results", run_spec(name), seed=seed)
    file = path / "predictions.parquet"
    file.write_bytes(bytes(len(file.read_bytes())))
    text = check("reported", "-d", "busi", "--n-test", "156")
    assert "warning:" in text
    assert "from 1 pair of 2 runs" in text


def test_percentages_are_read_as_such(tmp_path: Path) -> None:
    path = written(tmp_path, "dataset,model,accuracy,note\nbusi,A,78.77,x\nbusi,B,78.19,\n")
    text = check(str(path), "--n-test", "156")
    assert "all were read as percentages" in text
    assert "B 0.7819 0.58 " in text


def test_one_row_and_empty_fields(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeffdataset,model,accuracy,f1\r\nbusi,A,0.5,\r\n\r\nbusi,B,,0.4\r\n")
    text = check(str(path), "--n-test", "156")
    assert "No two rows with an accuracy: nothing is compared." in text
    assert "Attainable with 156 test images: 1 of 1 accuracies." in text


def test_names_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    path = written(tmp_path, "dataset,model,accuracy\nbu\x1b[31msi,[red]A,0.5\nbu\x1b[31msi,B\x1b[2J,0.4\n")
    text = check(str(path), "--n-test", "156")
    assert "\x1b[2J" not in text
    assert "[red]A over the runner-up B\\x1b[2J" in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("dataset,model,accuracy\n", "has no rows"),
        ("dataset,model,auc\nbusi,A,0.9\n", "has no column accuracy (its first line: dataset, model, auc)"),
        ("dataset;model;accuracy\nbusi;A;0.9\n", "has no column dataset, model, accuracy"),
        ("dataset,model,accuracy,accuracy\nbusi,A,0.9,0.9\n", "has the column accuracy twice"),
        ("dataset,model,accuracy\nbusi,A,0.9\nbusi,B\n", "line 3: has 2 fields, the first line 3"),
        ("dataset,model,accuracy\nbusi,A,high\n", "line 2: accuracy 'high': must be a number from 0 to 1"),
        ("dataset,model,accuracy\nbusi,A,-0.1\n", "line 2: accuracy '-0.1'"),
        ("dataset,model,accuracy\nbusi,A,nan\n", "line 2: accuracy 'nan'"),
        ("dataset,model,accuracy\nbusi,A,1e9\n", "line 2: accuracy '1e9'"),
        ("dataset,model,accuracy\nbusi,A,\u0661\n", "line 2: accuracy"),
        ("dataset,model,accuracy\nbusi,A,101\n", "line 2: accuracy 101: must be at most 1, or 100"),
        ("dataset,model,accuracy\nbusi,A,78.8\nbusi,B,0.79\n", "line 3: accuracy 0.79, but line 2 has"),
        ("dataset,model,accuracy\n,A,0.8\n", "line 2: names no dataset"),
        ("dataset,model,accuracy\nbusi,,0.8\n", "line 2: names no model"),
        (b"dataset,model,accuracy\nbusi,\xff,0.8\n", "is not UTF-8"),
        ('dataset,model,accuracy\nbusi,"A,0.8\n', "is no CSV file"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path: Path, content: str | bytes, said: str) -> None:
    message = check(str(written(tmp_path, content)), "--n-test", "156", code=2)
    assert said in message
    assert "table.csv" in message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--n-test", "156"], "--n-test 156: for which of the data sets busi, isic2018, kvasir, covid?"),
        (["-d", "busi", "--n-test", "1"], "--n-test '1': must be a number of images from 2 to"),
        (["-d", "busi", "--n-test", "99999999999"], "must be a number of images from 2 to"),
        (["-d", "busi", "--n-test", "many"], "--n-test 'many'"),
        (["--n-test", "busi=-5"], "--n-test 'busi=-5'"),
        (["--n-test", "bussi=156"], "unknown data set of the table 'bussi'; did you mean busi?"),
        (["--n-test", "busi=156,busi=157"], "given twice"),
        (["--n-test", ","], "names nothing"),
        (["-d", "bus"], "unknown data set of the table 'bus'; did you mean busi?"),
        (["--method", "SMTT"], "unknown method of the table 'SMTT'; did you mean SMT"),
        (["--metric", "auc"], "--metric 'auc': only accuracy can be checked"),
        (["--results", "nowhere"], "--results nowhere: no such folder"),
    ],
)
def test_options_that_mean_nothing(options: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "check-claims", "reported", *options])
    assert said in check("reported", *options, code=2)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be read (No such file" in check("none.csv", "--n-test", "156", code=2)
    assert "cannot be read (Is a directory)" in check(str(tmp_path), "--n-test", "156", code=2)


def test_two_rows_of_the_asked_name(tmp_path: Path) -> None:
    path = written(tmp_path, "dataset,model,accuracy\nbusi,A,0.5\nbusi,A,0.6\n")
    assert "lines 3 and 2 have that name" in check(str(path), "--method", "A", code=2)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4324, "43 %"), (0.05, "5 %"), (0.00123, "0.12 %"), (1e-9, "<0.01 %"), (0, "<0.01 %")],
)
def test_probabilities_as_text(value: float, text: str) -> None:
    assert probability(value) == text
