"""`bench compare`, and what tables say of differences, on stored predictions."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import data_of, predictions, record_of, run_spec
from typer.testing import CliRunner

from bench import Metric, Predictions
from bench.cli import app
from bench.comparison.compare import Question, comparable_tables, compare_all, compare_pair
from bench.comparison.difference import Difference, Verdict
from bench.comparison.evidence import read_sample
from bench.comparison.tables import tables_of
from bench.data.audit.audit import Audit, Duplicate
from bench.data.audit.verdict import Verdict as AuditVerdict
from bench.registry import installed
from bench.results import store
from bench.results.record import Asked
from bench.study.declaration import Declaration
from bench.study.protocol import AuditSettings

ACCURACY = installed().metrics.get("accuracy")


def skilled(round_: int, skill: float, noise: int = 0, n: int = 150) -> Predictions:
    """Of the images of one round; methods of one round see the same images, each with noise of its own."""
    images = predictions(1000 + round_, n, skill=skill)
    own = predictions(7 * round_ + noise, n, skill=skill)
    mixed = np.sqrt(images.probabilities * own.probabilities)
    ids = tuple(
        f"{round_} {id_}" if int("".join(filter(str.isdigit, id_))) % 3 else id_ for id_ in images.ids
    )
    groups = tuple(
        f"{round_} {g}" if id_.startswith(f"{round_} ") else g
        for id_, g in zip(ids, images.groups, strict=True)
    )
    return replace(images, ids=ids, groups=groups, probabilities=mixed / mixed.sum(1, keepdims=True))


def store_study(results: Path, rounds: int = 5, asked: Asked | None = None, **skills: float) -> None:
    """One run a strategy and round, its predictions as good as its skill says."""
    for noise, (strategy, skill) in enumerate(skills.items()):
        for round_ in range(rounds):
            record = record_of(run_spec(strategy, round_))
            if asked:
                record = replace(record, asked=asked)
            one = skilled(round_, skill, noise)
            store.write(results, record, predictions={"val": one, "test": one})


def question(**changes: Any) -> Question:
    return Question(metric=ACCURACY, declared=Declaration(), **changes)


def pair(results: Path, first: str, second: str, asked: Question | None = None) -> Difference:
    asked = asked or question()
    tables, _ = comparable_tables(store.scan(results)[0], results, asked, installed())
    [compared] = compare_pair(tables, results, first, second, asked, installed())
    [one] = compared.differences
    return one


def bench(results: Path, *arguments: str) -> Any:
    command, *rest = arguments
    return CliRunner().invoke(app, [command, *rest, "--results", str(results)], env={"COLUMNS": "240"})


# --- two methods -------------------------------------------------------------------------------------


def test_a_clear_difference_is_found_and_swapping_flips_its_sign_alone(tmp_path: Path) -> None:
    store_study(tmp_path, good=2.5, bad=0.5)
    one, turned = pair(tmp_path, "good", "bad"), pair(tmp_path, "bad", "good")
    assert (one.verdict, turned.verdict) == (Verdict.BETTER, Verdict.WORSE)
    assert one.value == -turned.value > 0.1
    assert one.p == turned.p < 0.001
    assert (one.ends.low, one.ends.high) == pytest.approx((-turned.ends.high, -turned.ends.low))
    assert one.against == pytest.approx(turned.against[::-1])
    assert one.scores == turned.scores[::-1]
    text = bench(tmp_path, "compare", "good", "bad").stdout
    assert "convnext_tiny.good (0." in text
    assert "is better than convnext_tiny.bad (0." in text
    assert "p < 0.001" in text
    assert "5 rounds of 150 test images" in text
    assert "Exploratory" in text


def test_methods_that_are_alike_are_not_told_apart(tmp_path: Path) -> None:
    store_study(tmp_path, one=1.5, other=1.5)
    found = pair(tmp_path, "one", "other")
    assert found.verdict is Verdict.OPEN
    assert found.ends.low < 0 < found.ends.high
    assert found.detectable > 0.01
    text = bench(tmp_path, "compare", "one", "other").stdout
    assert "Verdict: not shown either way" in text
    assert "in four of five cases" in text


@pytest.mark.parametrize(
    ("rounds", "verdict", "said"),
    [
        (1, Verdict.ONE_ROUND, "No verdict: one round tells of these two trained models"),
        (2, Verdict.TWO_ROUNDS, "No verdict: two rounds are too few"),
        (3, Verdict.BETTER, "(3 rounds are few)"),
        (4, Verdict.BETTER, "(4 rounds are few)"),
    ],
)
def test_few_rounds_are_said(tmp_path: Path, rounds: int, verdict: Verdict, said: str) -> None:
    store_study(tmp_path, rounds, good=2.5, bad=0.2)
    found = pair(tmp_path, "good", "bad")
    assert found.verdict is verdict
    assert found.ends.low > 0  # an interval there is in any case
    text = bench(tmp_path, "compare", "good", "bad").stdout
    assert said in text
    assert (" p <" in text) is (rounds > 2)


def test_the_same_predictions_prove_nothing(tmp_path: Path) -> None:
    for strategy in ("one", "twin"):
        for round_ in range(5):
            same = skilled(round_, 1.5)
            store.write(
                tmp_path, record_of(run_spec(strategy, round_)), predictions={"val": same, "test": same}
            )
    found = pair(tmp_path, "one", "twin")
    assert found.verdict is Verdict.NO_SPREAD
    assert math.isnan(found.p)
    assert "no spread that could be tested" in bench(tmp_path, "compare", "one", "twin").stdout


def test_unequal_rounds_are_compared_where_both_have_them(tmp_path: Path) -> None:
    store_study(tmp_path, 5, good=2.5)
    store_study(tmp_path, 3, bad=0.5)
    found = pair(tmp_path, "good", "bad")
    assert found.rounds == (0, 1, 2)
    assert found.left_out == (3, 4)
    assert "only one of them has it: round 3, 4" in bench(tmp_path, "compare", "good", "bad").stdout


def test_predictions_of_other_images_are_refused(tmp_path: Path) -> None:
    store_study(tmp_path, 3, good=2.5, bad=0.5)
    other = skilled(1, 1.0)
    other = replace(other, ids=("an image of elsewhere", *other.ids[1:]))
    store.write(tmp_path, record_of(run_spec("third", 1)), predictions={"val": other, "test": other})
    result = bench(tmp_path, "compare", "good", "third")
    assert result.exit_code != 0
    assert "2 test images differ from those of other units of round 1" in str(result.exception)


def test_a_metric_that_cannot_be_weighted_gets_the_corrected_t(tmp_path: Path) -> None:
    store_study(tmp_path, good=2.5, bad=0.5)
    plain = Metric(name="accuracy", title="Plain", about="", score=ACCURACY.score)
    asked = Question(metric=plain, declared=Declaration())
    found = pair(tmp_path, "good", "bad", asked)
    assert not found.resampled
    assert found.variance.images == 0
    text = bench(tmp_path, "compare", "good", "bad", "--test", "nb").stdout
    stated = float(
        text.partition("corrected resampled t")[2].partition(": p ")[2].split(".")[0].strip("=< ") or 0
    )
    assert stated == 0  # "= 0.0..." or "< 0.001"
    assert found.p == pytest.approx(_corrected_t(tmp_path), rel=1e-6)


def _corrected_t(results: Path) -> float:
    from scipy import stats

    tables, _ = comparable_tables(store.scan(results)[0], results, question(), installed())
    by_name = {method.name: method for method in tables[0].methods}
    differences = [
        by_name["convnext_tiny.good"].done[r].scores["accuracy"]
        - by_name["convnext_tiny.bad"].done[r].scores["accuracy"]
        for r in range(5)
    ]
    plain = stats.ttest_1samp(differences, 0)
    overlap = (87 + 42 + 27) / (300 + 150 + 90)  # of the counts in the sample records
    return float(2 * stats.t.sf(plain.statistic / math.sqrt(1 + 5 * overlap), 4))


def test_a_table_says_which_metrics_are_not_resampled(tmp_path: Path) -> None:
    store_study(tmp_path, good=2.5, bad=0.5)
    known = installed()
    plain = replace(ACCURACY, of_counts=None)
    entries = {**known.metrics.entries, "accuracy": replace(known.metrics.entry("accuracy"), component=plain)}
    registry = replace(known, metrics=replace(known.metrics, entries=entries))
    records = store.scan(tmp_path)[0]
    said = {}
    for name, one in (("plain", registry), ("ours", known)):
        [table] = tables_of(records, tmp_path, ["accuracy"], registry=one).tables
        said[name] = "Accuracy: intervals and tests are the corrected resampled t" in " ".join(table.footer)
        assert all(row.values["accuracy"].low is not None for row in table.rows)
    assert said == {"plain": True, "ours": False}


def test_a_metric_that_no_round_defines_is_said(tmp_path: Path) -> None:
    for strategy in ("a", "b"):
        for round_ in range(3):
            one = skilled(round_, 1.0, len(strategy))
            one = replace(one, labels=np.zeros_like(one.labels))
            store.write(
                tmp_path, record_of(run_spec(strategy, round_)), predictions={"val": one, "test": one}
            )
    for arguments in (("a", "b"), ("--all",)):
        text = bench(tmp_path, "compare", *arguments, "--metric", "auc").stdout
        assert "busi: AUC is not defined in any round that two rows share" in text
    store_study(tmp_path / "apart", 1, a=1.0)
    other = skilled(1, 1.0)
    store.write(tmp_path / "apart", record_of(run_spec("b", 1)), predictions={"val": other, "test": other})
    text = bench(tmp_path / "apart", "compare", "a", "b").stdout
    assert "no two rows share a round; run them with the same --rounds" in text


def test_what_a_pair_rests_on_is_its_own_rounds(tmp_path: Path) -> None:
    """Not those of other rows that were declared with it, or of rounds that it does not share."""
    asked = Asked(protocol="quick", rounds=5, metric="accuracy", baseline="base", margin=0.01)
    store_study(tmp_path, 5, asked=asked, base=0.5, other=1.5)
    store_study(tmp_path, 3, asked=asked, good=2.5)
    text = bench(tmp_path, "compare", "good", "base").stdout
    assert "after Holm over 2 comparisons" in text
    groups = {group for round_ in range(3) for group in skilled(round_, 1.0).groups}
    assert f"It rests on 3 rounds of 150 test images in {len(groups)} groups" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compare", "good"), "give two rows to compare"),
        (("compare", "--all", "good", "bad"), "give two rows to compare"),
        (("compare", "good", "goood"), "unknown method 'goood'; did you mean"),
        (("compare", "good", "good"), "are the same row"),
        (("compare", "good", "bad", "--metric", "acc"), "unknown metric 'acc'"),
        (("compare", "good", "bad", "--test", "t"), "unknown --test 't'"),
        (("compare", "good", "bad", "--test", "delong"), "is for one round"),
        (("compare", "good", "bad", "--round", "9"), "has no results of this round"),
        (("compare", "good", "bad", "-d", "isic"), "unknown dataset 'isic'"),
        (("compare", "--all", "--baseline", "goood"), "unknown method 'goood'"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    store_study(tmp_path, 3, good=2.5, bad=0.5)
    result = bench(tmp_path, *arguments)
    assert result.exit_code != 0
    assert said in str(result.exception)


def test_tests_of_one_round(tmp_path: Path) -> None:
    store_study(tmp_path, 3, good=2.5, bad=0.5)
    for test in ("mcnemar", "delong"):
        text = bench(tmp_path, "compare", "good", "bad", "--round", "1", "--test", test).stdout
        assert "images taken for independent: p < 0.001" in text


# --- many --------------------------------------------------------------------------------------------


def test_all_pairs_are_adjusted_for_each_other(tmp_path: Path) -> None:
    store_study(tmp_path, a=2.0, b=1.5, c=1.4, d=0.4)
    tables, _ = comparable_tables(store.scan(tmp_path)[0], tmp_path, question(), installed())
    [compared] = compare_all(tables, tmp_path, question(), installed())
    assert len(compared.differences) == 6
    assert {one.comparisons for one in compared.differences} == {6}
    in_order = sorted(compared.differences, key=lambda one: one.p)
    assert in_order[0].adjusted == pytest.approx(6 * in_order[0].p)
    assert all(one.adjusted >= one.p for one in in_order)
    lines = bench(tmp_path, "compare", "--all").stdout.splitlines()
    assert "Holm's method over 6 comparisons" in " ".join(lines)
    first = next(line for line in lines if line.startswith("1 convnext_tiny.a"))
    last = next(line for line in lines if line.startswith("4 convnext_tiny.d"))
    assert first.split()[-1] == last.split()[2].replace("\N{MINUS SIGN}", "+")  # the matrix is antisymmetric


def test_a_declared_baseline_has_fewer_comparisons_and_is_said(tmp_path: Path) -> None:
    asked = Asked(protocol="quick", rounds=5, metric="accuracy", baseline="d", margin=0.02)
    store_study(tmp_path, asked=asked, a=2.0, b=1.5, c=1.4, d=0.4)
    text = bench(tmp_path, "compare", "--all").stdout
    assert "declared before the study was run" in text
    assert "against convnext_tiny.d:" in text
    assert "Holm's method over 3 comparisons" in text
    assert "within 2.0 points" in text
    text = bench(tmp_path, "compare", "a", "d").stdout
    assert "after Holm over 3 comparisons" in text
    assert "declared before the study was run" in text
    text = bench(tmp_path, "compare", "a", "b").stdout  # not one of them
    assert "Exploratory" in text
    text = bench(tmp_path, "compare", "a", "d", "--metric", "auc").stdout
    assert "Exploratory" in text
    text = bench(tmp_path, "compare", "--all", "--round", "1").stdout  # declared were all rounds
    assert "(exploratory: not declared)" in text
    assert "declared before" not in bench(tmp_path, "compare", "a", "d", "--round", "1").stdout


def test_studies_that_declared_different_things(tmp_path: Path) -> None:
    store_study(tmp_path, asked=Asked(protocol="quick", rounds=5, metric="auc", margin=0.01), a=2.0)
    store_study(tmp_path, asked=Asked(protocol="quick", rounds=5, metric="f1", margin=0.01), b=1.0)
    result = bench(tmp_path, "compare", "a", "b")
    assert "declared different things" in result.stderr
    assert "Accuracy" in result.stdout
    study = tmp_path / "study.toml"
    study.write_text('[evidence]\nmetric = "f1"\nmargin = 0.03\n', encoding="utf-8")
    result = bench(tmp_path, "compare", "a", "b", "--study", str(study))
    assert not result.stderr
    assert "F1" in result.stdout
    assert "declared before" in result.stdout


def test_json_has_every_number(tmp_path: Path) -> None:
    store_study(tmp_path, good=2.5, bad=0.5)
    [table] = json.loads(bench(tmp_path, "compare", "good", "bad", "-f", "json").stdout)
    [one] = table["differences"]
    assert one["verdict"] == "better"
    assert one["low"] < one["difference"] < one["high"]
    assert one["better"] + one["equal"] + one["worse"] == pytest.approx(1)
    assert one["variance_images"] + one["variance_training"] > 0


# --- tables ------------------------------------------------------------------------------------------


def test_tables_have_intervals_and_mark_what_is_tied_with_the_best(tmp_path: Path) -> None:
    store_study(tmp_path, a=2.0, b=1.99, d=0.3)
    [table] = tables_of(store.scan(tmp_path)[0], tmp_path).tables
    values = {row.method: row.values["accuracy"] for row in table.rows}
    assert [values[name].best for name in ("a", "b", "d")] == [True, True, False]
    for value in values.values():
        assert value.low is not None
        assert value.low < value.mean < value.high
        assert list(value.rounds) == [0, 1, 2, 3, 4]
        assert np.mean(list(value.rounds.values())) == pytest.approx(value.mean)
    assert values["d"].rank is not None
    assert (values["d"].rank.first, values["d"].rank.low) == (0.0, 3)
    text = bench(tmp_path, "table", "--metrics", "accuracy", "--ranks").stdout
    assert text.count("*") == 3  # two values and the legend
    assert "Rank by Accuracy" in text
    assert "3 (0 % first)" in text
    assert "[0." in text
    assert "±" in bench(tmp_path, "table", "--uncertainty", "sd").stdout
    assert "[0." not in bench(tmp_path, "table", "--uncertainty", "none").stdout
    assert "unknown uncertainty 'se'" in str(bench(tmp_path, "table", "--uncertainty", "se").exception)


def test_what_was_judged_is_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_study(tmp_path, 3, a=2.0, b=0.5)
    monkeypatch.setattr("bench.results.score_cache.WORTHWHILE", 0.0)
    monkeypatch.setattr("bench.results.score_cache.ScoreCache.save.__defaults__", (0.0,), raising=False)
    records = store.scan(tmp_path)[0]
    first = tables_of(records, tmp_path).tables
    read: list[Path] = []
    original = store.read_predictions
    monkeypatch.setattr(
        "bench.comparison.evidence.read_predictions",
        lambda path, *rest: read.append(path) or original(path, *rest),
    )
    assert tables_of(records, tmp_path).tables == first
    assert not read
    store_study(tmp_path, 3, c=1.0)  # the table has another row, so all are compared anew
    assert len(tables_of(store.scan(tmp_path)[0], tmp_path).tables[0].rows) == 3
    assert len(read) > 0


def test_the_declared_metric_is_the_primary_one_of_tables(tmp_path: Path) -> None:
    asked = Asked(protocol="quick", rounds=3, metric="auc", margin=0.01)
    store_study(tmp_path, 3, asked=asked, a=2.0, b=0.5)
    [table] = tables_of(store.scan(tmp_path)[0], tmp_path).tables
    assert any("Primary metric, as declared: AUC" in line for line in table.footer)


@pytest.mark.parametrize("fixed", [True, False])
def test_a_table_of_fixed_parts_holds_for_their_training_set(tmp_path: Path, fixed: bool) -> None:
    for strategy, skill in {"a": 2.0, "b": 0.5}.items():
        for round_ in range(3):
            record = record_of(run_spec(strategy, round_), data=data_of(fixed=fixed))
            one = skilled(0, skill, round_)
            store.write(tmp_path, record, predictions={"val": one, "test": one})
    [table] = tables_of(store.scan(tmp_path)[0], tmp_path).tables
    assert any("hold for this training set" in line for line in table.footer) == fixed


# --- groups ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "joined"),
    [
        ({"settings": {}}, 0),  # the split kept duplicates together, so its groups have them
        ({"settings": {"groups": "none"}}, 2),
        ({"settings": {"groups": "given"}}, 2),
        ({"settings": {}, "fixed": True}, 2),  # official parts are taken as they are
    ],
)
def test_duplicates_are_one_group_however_the_split_was_drawn(
    tmp_path: Path, data: dict[str, Any], joined: int
) -> None:
    """Two of three images are tested; the third links them to a fourth all the same."""
    one = skilled(0, 1.5)
    first, second, third = one.ids[0], one.ids[10], one.ids[20]
    pairs = [(first, second), (second, "an image that is not tested"), ("an image that is not tested", third)]
    audit = Audit(
        dataset="busi",
        content="c0ffee",
        settings=AuditSettings(),
        images=780,
        candidates=3,
        duplicates=tuple(Duplicate(a, b, 0, 1.0, True) for a, b in pairs),
    )
    folder = tmp_path / "audits" / "busi"
    folder.mkdir(parents=True)
    text = {**asdict(audit), "hash": audit.hash, "duplicates": [list(astuple(d)) for d in audit.duplicates]}
    (folder / f"request.{audit.hash}.json").write_text(json.dumps(text), encoding="utf-8")
    counts = {"leaking_clusters": 0, "leaking_groups": 0, "leaked": 0, "label_conflicts": 0, "kept_out": 0}
    verdict = AuditVerdict(audit=audit.hash, settings=AuditSettings(), **counts)
    for strategy in ("a", "b"):
        record = record_of(run_spec(strategy), data=data_of(audit=verdict, **data))
        store.write(tmp_path, record, predictions={"val": one, "test": one})
    tables, _ = comparable_tables(store.scan(tmp_path)[0], tmp_path, question(), installed())
    sample = read_sample(tables[0].methods, tmp_path)
    assert len(sample.groups.names) == len(set(one.groups)) - joined
