"""`bench diversity`, and the section of the report: how differently methods err, and the oracle."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import predictions, record_of, run_spec
from typer.testing import CliRunner, Result

from bench import EnsembleSpec, Predictions, RunSpec
from bench.cli import app
from bench.comparison.compare import Question, titled_tables
from bench.comparison.scored import score_records
from bench.errors import BenchError
from bench.evidence.agreement import MEASURES, Counts
from bench.identity import Ref
from bench.registry import installed
from bench.report.diversity_section import diversity_sections
from bench.report.gathered import Gathered
from bench.results import store
from bench.study.declaration import NOTHING


def measures(n11: float, n10: float, n01: float, n00: float) -> dict[str, float]:
    counts = Counts(*(np.array([n], dtype=float) for n in (n11, n10, n01, n00)))
    return {name: float(measure.of(counts)[0]) for name, measure in MEASURES.items()}


# --- measures of a pair ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # Three classifiers of accuracy 0.6 on ten images (Kuncheva, Whitaker, Shipp and Duin 2003): the
        # pattern of success, in which two are right on nine images, and that of failure, in which all are
        # right on four and one alone on the others.
        ((3, 3, 3, 1), {"q": -0.5, "disagreement": 0.6, "double_fault": 0.1, "correlation": -0.25}),
        ((4, 2, 2, 2), {"q": 1 / 3, "disagreement": 0.4, "double_fault": 0.2, "correlation": 1 / 6}),
        ((36, 24, 24, 16), {"q": 0.0, "disagreement": 0.48, "double_fault": 0.16, "correlation": 0.0}),
        ((6, 0, 0, 4), {"q": 1.0, "disagreement": 0.0, "double_fault": 0.4, "correlation": 1.0}),
        ((0, 5, 5, 0), {"q": -1.0, "disagreement": 1.0, "double_fault": 0.0, "correlation": -1.0}),
        ((10, 0, 0, 0), {"q": math.nan, "disagreement": 0.0, "double_fault": 0.0, "correlation": math.nan}),
        ((7, 3, 0, 0), {"q": math.nan, "disagreement": 0.3, "double_fault": 0.0, "correlation": math.nan}),
        ((0, 0, 0, 10), {"q": math.nan, "disagreement": 0.0, "double_fault": 1.0, "correlation": math.nan}),
    ],
)
def test_measures_of_tables_made_by_hand(counts: tuple[int, ...], expected: dict[str, float]) -> None:
    assert measures(*counts) == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
@settings(max_examples=50, deadline=None)
def test_error_correlation_is_that_of_numpy_and_measures_are_symmetric(hits: list[tuple[bool, bool]]) -> None:
    a, b = np.array(hits).T
    found = measures((a & b).sum(), (a & ~b).sum(), (~a & b).sum(), (~a & ~b).sum())
    turned = measures((a & b).sum(), (~a & b).sum(), (a & ~b).sum(), (~a & ~b).sum())
    assert found == pytest.approx(turned, nan_ok=True)
    if a.std() and b.std():
        assert found["correlation"] == pytest.approx(np.corrcoef(a, b)[0, 1])
    else:
        assert math.isnan(found["correlation"])
    for name, measure in MEASURES.items():
        low, high = measure.bounds
        assert math.isnan(found[name]) or low - 1e-12 <= found[name] <= high + 1e-12


# --- of stored results -------------------------------------------------------------------------------


def answering(right: str) -> Predictions:
    """One image a character, of classes in turn: "1" is predicted right, "0" wrong."""
    base = predictions(0, n=len(right))
    hits = np.array([int(one) for one in right])
    answers = (base.labels + (1 - hits)) % 3
    sure = np.full((len(right), 3), 0.1)
    sure[np.arange(len(right)), answers] = 0.8
    return dataclasses.replace(base, probabilities=sure)


PATTERNS = {"egmae": "1110" * 15, "mae": "1101" * 15, "imagenet": "1010" * 15}


def fill(results: Path, patterns: dict[str, str] = PATTERNS, rounds: int = 2) -> Path:
    for number in range(rounds):
        for strategy, right in patterns.items():
            parts = {"val": answering(right), "test": answering(right)}
            store.write(results, record_of(run_spec(strategy, number)), predictions=parts)
    return results


def add_ensemble(results: Path, name: str, right: str, *members: RunSpec) -> None:
    parts = {"val": answering(right), "test": answering(right)}
    store.write(results, record_of(EnsembleSpec(Ref(name), members)), predictions=parts)


def run(results: Path, *words: str) -> Result:
    arguments = ["diversity", *words, "--results", str(results)]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "160"})


def measured(results: Path, *words: str) -> dict[str, Any]:
    [found] = json.loads(run(results, *words, "-f", "json").stdout)
    assert isinstance(found, dict)
    return found


def error(results: Path, *words: str) -> str:
    done = run(results, *words)
    assert isinstance(done.exception, BenchError), done.output
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_all_pairs_of_runs_and_the_oracle_beside_them(tmp_path: Path) -> None:
    results = fill(tmp_path / "results")
    for number in (0, 1):
        add_ensemble(results, "mean", "1110" * 15, run_spec("egmae", number), run_spec("mae", number))
    found = measured(results)
    assert found["methods"] == ["egmae", "imagenet", "mae"]
    assert (found["rounds"], found["images"], found["groups"]) == ([0, 1], 60, 30)
    pairs = {(pair["first"], pair["second"]): pair for pair in found["pairs"]}
    assert list(pairs) == [("egmae", "imagenet"), ("egmae", "mae"), ("imagenet", "mae")]
    assert pairs["egmae", "mae"]["disagreement"]["value"] == pytest.approx(0.5)
    assert pairs["egmae", "mae"]["double_fault"]["value"] == 0
    assert pairs["egmae", "mae"]["q"]["value"] == pytest.approx(-1)  # never wrong together
    assert pairs["egmae", "imagenet"]["double_fault"]["value"] == pytest.approx(0.25)
    shares = [pair["disagreement"]["value"] for pair in found["pairs"]]
    assert found["mean"]["disagreement"]["value"] == pytest.approx(np.mean(shares))
    assert found["oracle"]["value"] == 1
    assert found["accuracy"]["imagenet"]["value"] == pytest.approx(0.5)
    assert found["best"] == "egmae"
    [ensemble] = found["ensembles"]
    assert ensemble["name"] == "mean(egmae + mae)"
    assert ensemble["members"] == ["egmae", "mae"]
    assert ensemble["oracle"]["value"] == 1
    assert ensemble["accuracy"]["value"] == pytest.approx(0.75)


def test_an_ensemble_of_others_is_no_ensemble_of_these(tmp_path: Path) -> None:
    results = fill(tmp_path / "results", rounds=1)
    add_ensemble(results, "mean", "1110" * 15, run_spec("egmae"), run_spec("mae"))
    add_ensemble(results, "greedy", "1110" * 15, run_spec("egmae"), run_spec("imagenet"))
    assert [one["name"] for one in measured(results, "egmae", "mae")["ensembles"]] == ["mean(egmae + mae)"]
    assert len(measured(results)["ensembles"]) == 2
    assert measured(results, "egmae", "mean(egmae+mae)")["methods"] == ["egmae", "mean(egmae + mae)"]


def test_identical_methods_err_alike(tmp_path: Path) -> None:
    results = fill(tmp_path / "results", {"egmae": "1101" * 15, "mae": "1101" * 15})
    [pair] = measured(results)["pairs"]
    assert pair["disagreement"]["value"] == 0
    assert pair["q"]["value"] == pair["correlation"]["value"] == 1
    assert pair["double_fault"]["value"] == pytest.approx(0.25)
    assert measured(results)["oracle"]["value"] == pytest.approx(0.75)


def test_what_is_not_defined_is_said_to_be(tmp_path: Path) -> None:
    """Q and the correlation of a method that is always right."""
    results = fill(tmp_path / "results", {"egmae": "1" * 60, "mae": "1101" * 15})
    [pair] = measured(results)["pairs"]
    assert pair["q"] == {"value": None, "low": None, "high": None, "rounds": 0}
    text = run(results).stdout
    [line] = [line for line in text.splitlines() if line.startswith(" egmae, mae")]
    assert line.count("undefined") == 2
    assert "nan" not in text
    assert "Q is not defined everywhere, because cells are empty (egmae, mae: 0 of 2 rounds)." in text
    rows = list(csv.DictReader(io.StringIO(run(results, "-f", "csv").stdout)))
    [row] = [row for row in rows if row["kind"] == "pair" and row["measure"] == "q"]
    assert (row["value"], row["low"], row["high"], row["rounds"]) == ("", "", "", "0")


def test_a_mean_is_over_the_rounds_in_which_it_is_defined(tmp_path: Path) -> None:
    results = fill(tmp_path / "results", {"egmae": "1110" * 15, "mae": "1100" * 15}, rounds=1)
    for strategy, right in (("egmae", "1" * 60), ("mae", "1100" * 15)):
        parts = {"val": answering(right), "test": answering(right)}
        store.write(results, record_of(run_spec(strategy, 1)), predictions=parts)
    [pair] = measured(results)["pairs"]
    assert (pair["q"]["value"], pair["q"]["rounds"]) == (1, 1)
    assert (pair["disagreement"]["value"], pair["disagreement"]["rounds"]) == (pytest.approx(0.375), 2)


def test_intervals_hold_the_true_value_of_many_simulated_studies(tmp_path: Path) -> None:
    """Two independent methods that are right on 70 % of the images disagree on 42 % of them. Of 40 studies of
    one round of 300 images, two are expected whose 95 % interval does not hold that."""
    from bench.comparison.diversity import measure_diversity
    from bench.comparison.methods import methods_of
    from bench.comparison.scored import ScoredUnit

    missed = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        units = []
        for strategy in ("egmae", "mae"):
            right = "".join(random.choice(["0", "1"], p=[0.3, 0.7], size=300))
            one = dataclasses.replace(answering(right), groups=tuple(map(str, range(300))))
            record = dataclasses.replace(record_of(run_spec(strategy)), path=tmp_path)
            units.append(ScoredUnit(record=record, test=one))
        found = measure_diversity("x", methods_of(units), tmp_path, replicates=400)
        low, high = found.pairs[0].measures["disagreement"].interval
        missed += not low <= 0.42 <= high
    assert missed <= 6


def test_the_text_says_what_was_measured(tmp_path: Path) -> None:
    results = fill(tmp_path / "results", rounds=2)
    parts = {"val": answering("1110" * 15), "test": answering("1110" * 15)}
    store.write(results, record_of(run_spec("egmae", 2)), predictions=parts)
    add_ensemble(results, "mean", "1111" * 15, run_spec("egmae", 1), run_spec("mae", 1))
    done = run(results)
    assert done.exit_code == 0
    assert "busi: 3 methods, 2 rounds of 60 test images, 30 groups in all" in done.stdout
    assert "Round 2 is left out: imagenet, mae did not finish it." in done.stdout
    assert "mean(egmae + mae) is there in 1 of 2 rounds, and judged by these." in done.stdout
    text = " ".join(done.stdout.split())
    assert (
        "At least one of the 3 methods is right on 100.0 % of the test images (the oracle); the best" in text
    )
    assert "the most accurate ensemble" not in text  # it has not all rounds


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    results = fill(tmp_path / "results", rounds=1)
    assert "unknown method 'egmea'; did you mean egmae" in error(results, "egmea", "mae")
    assert "busi: convnext_tiny.egmae is one row; diversity is that of two or more" in error(results, "egmae")
    assert "is one row" in error(results, "egmae", "convnext_tiny.egmae")
    assert "unknown dataset 'busy'" in error(results, "-d", "busy")
    assert "no such folder" in error(tmp_path / "nothing")
    parts = {"val": answering("1110" * 15), "test": answering("1110" * 15)}
    store.write(results, record_of(run_spec("noise", 1)), predictions=parts)
    assert "no finished round in common (egmae 0; noise 1)" in error(results, "egmae", "noise")
    (tmp_path / "empty").mkdir()
    empty = run(tmp_path / "empty", "-f", "json")
    assert json.loads(empty.stdout) == []
    assert "no finished runs in" in empty.stderr


# --- the report --------------------------------------------------------------------------------------


def sections(results: Path) -> list[Any]:
    registry = installed()
    records, _ = store.scan(results)
    units, _ = score_records(records, [], registry, results)
    gathered = Gathered(
        results=results,
        registry=registry,
        question=Question(metric=registry.metrics.get("accuracy"), declared=NOTHING),
        tables=titled_tables(units),
        records=records,
    )
    return list(diversity_sections(gathered))


def test_the_section_has_a_shaded_table_that_is_read_without_colour(tmp_path: Path) -> None:
    results = fill(tmp_path / "results", {"egmae": "1" * 60, "mae": "1101" * 15, "noise": "1011" * 15})
    [section] = sections(results)
    assert section.anchor == "diversity"
    assert section.html.count("<table>") == 3
    assert section.html.count("color-mix") == 6  # of disagreement, both ways
    assert ">0.500<" in section.html
    assert section.html.count(">undefined<") == 4
    assert "nan" not in section.html
    assert "<h4>Disagreement</h4>" in section.html


def test_names_are_escaped_in_the_section(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for model in ("<script>alert(1)</script>", 'b"\u202e&'):
        for strategy, right in PATTERNS.items():
            parts = {"val": answering(right), "test": answering(right)}
            store.write(results, record_of(run_spec(strategy, model=model)), predictions=parts)
    [section] = sections(results)
    assert "<script" not in section.html
    assert "&lt;script&gt;" in section.html
    assert "\u202e" not in section.html


def test_one_run_alone_has_no_section(tmp_path: Path) -> None:
    assert not sections(fill(tmp_path / "results", {"egmae": "1101" * 15}))
