"""Tables of each class against the rest: thresholds by hand and by scikit-learn, and the command."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import CLASSES, failure_of, mean_of, predictions, record_of, run_spec, store_run
from sklearn import metrics as sk
from typer.testing import CliRunner

import bench
from bench import ConfigError, Predictions, Row, Table, UnknownName
from bench.cli import app
from bench.comparison.one_class import MEASURES, against_rest, decided, thresholds_of, youden_threshold
from bench.results import store
from bench.results.record import Asked, Timings
from bench.study.spec import RunSpec

COLUMNS = ["sensitivity", "specificity", "ppv", "npv", "auc", "auprc"]


def measured(case: Predictions, class_: int, threshold: float) -> dict[str, float]:
    """Of one class, by name."""
    views = {m.name: decided(case, class_, threshold) for m in MEASURES if m.of_counts}
    views |= {m.name: against_rest(case, class_) for m in MEASURES if m.of_weights}
    return {m.name: m.score(views[m.name]) for m in MEASURES}


# --- thresholds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "scores", "threshold"),
    [
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.35),  # J is 1/2 at 0.35 and at 0.8
        ([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.8], 0.6),  # perfect: the smallest score that is one of a positive
        (
            [1, 1, 0, 0],
            [0.1, 0.2, 0.6, 0.8],
            0.1,
        ),  # the wrong way round: J is 0 if all are positive, else below
        ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5], 0.5),
        ([0, 1, 1, 1, 0], [0.2, 0.3, 0.3, 0.9, 0.3], 0.3),  # 1 - 1/2 at 0.3, 1/3 at 0.9
    ],
)
def test_thresholds_by_hand(labels: list[int], scores: list[float], threshold: float) -> None:
    assert youden_threshold(np.array(labels, bool), np.array(scores)) == threshold


@pytest.mark.parametrize("positive", [[True, True], [False, False]])
def test_there_is_no_threshold_without_both_kinds(positive: list[bool]) -> None:
    assert math.isnan(youden_threshold(np.array(positive), np.array([0.2, 0.7])))


LABELLED = st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=2, max_size=40)


@given(LABELLED.filter(lambda rows: len({positive for positive, _ in rows}) == 2))
@settings(max_examples=60, deadline=None)
def test_the_threshold_is_the_smallest_of_the_best_of_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    positive, scores = np.array([p for p, _ in rows]), np.array([s / 12 for _, s in rows])
    false, true, thresholds = sk.roc_curve(positive, scores, drop_intermediate=False)
    best = thresholds[np.isclose(true - false, (true - false).max())]
    assert youden_threshold(positive, scores) == best[np.isfinite(best)].min()


# --- what is measured --------------------------------------------------------------------------------


def by_scikit_learn(case: Predictions, class_: int, threshold: float) -> dict[str, float]:
    truth, p = case.labels == class_, case.probabilities[:, class_]
    chosen = p >= threshold
    return {
        "sensitivity": sk.recall_score(truth, chosen, zero_division=np.nan),
        "specificity": sk.recall_score(~truth, ~chosen, zero_division=np.nan),
        "ppv": sk.precision_score(truth, chosen, zero_division=np.nan),
        "npv": sk.precision_score(~truth, ~chosen, zero_division=np.nan),
        "auc": sk.roc_auc_score(truth, p),
        "auprc": sk.average_precision_score(truth, p),
    }


@given(st.integers(0, 1000), st.integers(0, 2), st.sampled_from([0.0, 0.2, 0.4, 1.0]))
@settings(max_examples=40, deadline=None)
def test_agreement_with_scikit_learn(seed: int, class_: int, threshold: float) -> None:
    case = predictions(seed, n=31)
    expected = by_scikit_learn(case, class_, threshold)
    assert measured(case, class_, threshold) == pytest.approx(expected, nan_ok=True)


def test_a_case_by_hand() -> None:
    """Of four images of the class and six others, three and two are at the threshold or above."""
    p = np.array([0.9, 0.8, 0.5, 0.1, 0.7, 0.5, 0.4, 0.3, 0.2, 0.0])
    case = replace(
        predictions(n=10),
        labels=np.array([1] * 4 + [0, 2] * 3),
        probabilities=np.stack([(1 - p) / 2, p, (1 - p) / 2], axis=1),
    )
    pairs = 6 + 6 + 4.5 + 1  # in which the image of the class has the higher probability
    steps = [1 / 1, 2 / 2, 3 / 5, 4 / 9]  # precision where each image of the class is found
    assert measured(case, 1, 0.5) == pytest.approx(
        {
            "sensitivity": 3 / 4,
            "specificity": 4 / 6,
            "ppv": 3 / 5,
            "npv": 4 / 5,
            "auc": pairs / 24,
            "auprc": sum(steps) / 4,
        }
    )


# --- tables ------------------------------------------------------------------------------------------


def store_parts(results: Path, spec: RunSpec, val: Predictions, test: Predictions) -> None:
    store.write(results, record_of(spec), predictions={"val": val, "test": test})


def without_class(case: Predictions, class_: int) -> Predictions:
    return replace(case, labels=np.where(case.labels == class_, (class_ + 1) % 3, case.labels))


def tables_of(results: Path, **options: Any) -> tuple[Table, ...]:
    return bench.tables(bench.load_results(results, "accuracy"), per_class=True, **options)


def row_of(table: Table, method: str) -> Row:
    [row] = [row for row in table.rows if row.method == method]
    return row


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rounds of two methods and their mean; validation images are not the test images."""
    folder = tmp_path_factory.mktemp("results")
    for number in range(3):
        runs = run_spec("egmae", number, epochs=3), run_spec("imagenet", number)
        for seed, spec in enumerate(runs):
            val, test = (predictions(10 * number + seed + more, skill=1.2) for more in (500, 0))
            store_parts(folder, spec, val, test)
        store_run(folder, mean_of(*runs), seed=7, skill=2)
    return folder


def test_every_class_has_a_table_of_the_same_rows(results: Path) -> None:
    tables = tables_of(results)
    assert [table.title for table in tables] == [f"busi: {name} against the rest" for name in CLASSES]
    for table in tables:
        assert [column.name for column in table.columns] == COLUMNS
        assert [row.method for row in table.rows] == ["egmae", "imagenet", "mean(egmae + imagenet)"]


def test_every_round_is_what_scikit_learn_says_at_the_threshold_of_its_validation_images(
    results: Path,
) -> None:
    for class_, table in enumerate(tables_of(results)):
        for seed, method in enumerate(("egmae", "imagenet")):
            values = row_of(table, method).values
            for number in range(3):
                val, test = (predictions(10 * number + seed + more, skill=1.2) for more in (500, 0))
                expected = by_scikit_learn(test, class_, thresholds_of(val)[class_])
                found = {name: value.rounds[number] for name, value in values.items()}
                assert found == pytest.approx(expected)


def test_means_have_intervals_and_are_compared(results: Path) -> None:
    table = tables_of(results, ranks=True)[1]
    for row in table.rows:
        for value in row.values.values():
            assert value.low is not None
            assert value.high is not None
            assert 0 <= value.low < value.mean < value.high <= 1
            assert value.rank is not None
            assert value.best is not None
    assert table.footer[0].startswith(
        "Sensitivity, Specificity, PPV and NPV: an image counts as malignant if its probability of malignant "
    )


def test_one_class_is_not_what_a_study_declared(tmp_path: Path) -> None:
    for declared in ("", "auc"):
        asked = Asked(protocol="quick", rounds=1, metric=declared, margin=0.01)
        record = replace(record_of(run_spec("egmae")), asked=asked)
        folder = tmp_path / f"declared {declared}"
        store.write(folder, record, predictions={"val": predictions(), "test": predictions()})
        for table in tables_of(folder):
            said = [
                line for line in table.footer if line.startswith("Exploratory: declared was auc over all")
            ]
            assert len(said) == bool(declared)
            assert not any("Primary metric" in line for line in table.footer)


def rounds_in(row: Row) -> dict[str, Sequence[int]]:
    return {name: sorted(value.rounds) for name, value in row.values.items()}


def test_a_round_that_does_not_test_a_class_counts_for_nothing(tmp_path: Path) -> None:
    for number in range(3):
        case = predictions(number)
        tested = without_class(case, 2) if number == 1 else case
        store_parts(tmp_path, run_spec("egmae", number), case, tested)
        store_parts(tmp_path, run_spec("imagenet", number), case, tested)
    table = tables_of(tmp_path)[2]
    assert rounds_in(table.rows[0]) == {name: [0, 2] for name in COLUMNS}
    assert "No test image of normal in round 1: nothing here is of that." in table.footer
    assert all(row.note == "" for row in table.rows)


def test_a_round_without_a_threshold_has_areas_alone(tmp_path: Path) -> None:
    for number in range(4):
        case = predictions(number)
        store_parts(
            tmp_path, run_spec("egmae", number), without_class(case, 0) if number == 2 else case, case
        )
    table = tables_of(tmp_path)[0]
    lacking = rounds_in(table.rows[0])
    assert lacking["auc"] == lacking["auprc"] == [0, 1, 2, 3]
    assert lacking["sensitivity"] == lacking["npv"] == [0, 1, 3]
    assert table.rows[0].values["sensitivity"].low is not None
    assert (
        "No threshold in round 2, where no validation image is of benign, or all are: "
        "Sensitivity, Specificity, PPV and NPV are of the other rounds."
    ) in table.footer


def test_a_class_that_is_never_tested_or_never_validated(tmp_path: Path) -> None:
    case = predictions()
    store_parts(tmp_path, run_spec(), without_class(case, 0), without_class(case, 1))
    first, last = tables_of(tmp_path)
    assert (first.title, last.title) == ("busi: benign against the rest", "busi: normal against the rest")
    assert sorted(first.rows[0].values) == ["auc", "auprc"]
    assert sorted(last.rows[0].values) == sorted(COLUMNS)


def test_a_value_that_nothing_was_chosen_for_is_not_defined(tmp_path: Path) -> None:
    """No test image reaches the threshold of the validation images: there is no PPV."""
    val = predictions(skill=4)
    even = np.tile([0.2, 0.1, 0.7], (60, 1))
    store_parts(tmp_path, run_spec(), val, replace(val, probabilities=even))
    [row] = tables_of(tmp_path)[0].rows
    assert math.isnan(row.values["ppv"].mean)
    assert (row.values["sensitivity"].mean, row.values["specificity"].mean) == (0, 1)
    assert row.note == "PPV is not defined in 1 of 1 rounds"


def test_what_cannot_be_read_is_a_missing_round(tmp_path: Path) -> None:
    for number in range(2):
        store_run(tmp_path, run_spec("egmae", number))
    (store.path_of(tmp_path, run_spec("egmae", 1)) / "predictions.parquet").write_bytes(b"no")
    shown = command("--results", str(tmp_path), "--format", "json")
    assert "predictions.parquet" in shown.stderr
    [row] = json.loads(shown.stdout)[0]["rows"]
    assert (row["rounds_done"], list(row["values"]["auc"]["rounds"])) == (1, ["0"])
    assert "round 1 damaged" in row["note"]


def test_rows_and_costs_are_those_of_the_ordinary_table(tmp_path: Path) -> None:
    """Pretrainings and failed units too."""
    timings = Timings(seconds=100, steps=10)
    for number in range(2):
        spec, other = (run_spec(name, number, epochs=3) for name in ("egmae", "mae"))
        assert spec.start
        assert other.start
        store.write(tmp_path, record_of(spec.start, timings=timings))
        store.write_failure(tmp_path, failure_of(other.start))
        case = predictions(number)
        record = record_of(spec, timings=timings)
        store.write(tmp_path, record, predictions={"val": case, "test": case})
    store.write_failure(tmp_path, failure_of(run_spec("scratch")))
    ordinary, *per_class = (
        [replace(row, values={}) for row in table.rows]
        for tables in (
            bench.tables(bench.load_results(tmp_path), costs=True),
            tables_of(tmp_path, costs=True),
        )
        for table in tables
    )
    assert len(ordinary) == 3
    assert [row.costs["train_seconds"] for row in ordinary] == [200, None, None]
    assert per_class == [ordinary] * 3


def test_failures_alone_have_no_classes(tmp_path: Path) -> None:
    store.write_failure(tmp_path, failure_of(run_spec()))
    shown = command("--results", str(tmp_path))
    assert shown.stdout == ""
    assert "busi: no finished unit, so no table of its classes" in shown.stderr


# --- commands ----------------------------------------------------------------------------------------


def command(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["table", "--per-class", *arguments])


def test_the_command_shows_all_classes(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = command("--results", str(results))
    assert shown.exit_code == 0, shown.output
    for text in ("malignant against the rest", "Sensitivity", "PPV", "AUPRC", "Youden's J", "mean(egmae"):
        assert text in shown.stdout


def test_columns_can_be_chosen(results: Path) -> None:
    shown = command("--results", str(results), "--metrics", "auc,sensitivity", "--format", "json")
    tables = json.loads(shown.stdout)
    assert [[column["name"] for column in table["columns"]] for table in tables] == [
        ["auc", "sensitivity"]
    ] * 3
    assert tables[0]["footer"][0].startswith("Sensitivity: an image counts as benign if")


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["--metrics", "sensitivty"], UnknownName, "did you mean sensitivity"),
        (
            ["--metrics", "accuracy"],
            UnknownName,
            "unknown column 'accuracy'; did you mean auprc or auc? (tables per class have sens",
        ),
        (["--reported"], ConfigError, "leave out --reported or --per-class"),
        (["--why", "busi/egmae/auc"], ConfigError, "leave out --why or --per-class"),
    ],
)
def test_what_tables_per_class_do_not_have(
    results: Path, arguments: list[str], error: type[Exception], said: str
) -> None:
    shown = command("--results", str(results), *arguments)
    assert isinstance(shown.exception, error)
    assert said in str(shown.exception)


def test_nothing_is_published_per_class(results: Path) -> None:
    with pytest.raises(ConfigError, match="leave out reported=True or per_class=True"):
        tables_of(results, reported=True)
