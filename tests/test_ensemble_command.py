"""`bench ensemble`: ensembles of finished runs, formed after the fact, and what fitting may see."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import failure_of, mean_of, predictions, record_of, run_spec
from typer.testing import CliRunner, Result

from bench import EnsembleSpec, Environment, Predictions, RunSpec, Session
from bench.cli import app
from bench.comparison.stored_order import as_stored
from bench.errors import BenchError, UnknownName
from bench.execution.run import combine
from bench.identity import Ref
from bench.results import store
from bench.results.record import record_from_json, record_to_json

STRATEGIES = ("egmae", "mae", "imagenet")


def made(seed: int, skill: float, n: int) -> Predictions:
    """Members of one round have the same images and labels, and errors of their own."""
    return dataclasses.replace(
        predictions(0, n=n), probabilities=predictions(seed, n=n, skill=skill).probabilities
    )


def store_member(results: Path, spec: RunSpec, skill: float, seed: int) -> None:
    parts = {"val": made(seed, skill, 60), "test": made(seed + 500, skill, 90)}
    store.write(results, record_of(spec), predictions=parts)


def fill(results: Path, rounds: int = 2, strategies: tuple[str, ...] = STRATEGIES, **changes: Any) -> Path:
    for i, strategy in enumerate(strategies):
        for number in range(rounds):
            spec = run_spec(strategy, number, **changes)
            store_member(results, spec, 1 + 0.5 * i, 10 * i + number)
    return results


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return fill(tmp_path / "results")


def run(results: Path, *words: str) -> Result:
    arguments = ["ensemble", *words, "--results", str(results)]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def error(results: Path, *words: str) -> str:
    done = run(results, *words)
    assert isinstance(done.exception, BenchError), done.output
    assert "\n" not in str(done.exception)
    return str(done.exception)


def formed(results: Path) -> dict[str, Any]:
    records, warnings = store.scan(results)
    assert not warnings
    return {record.spec.label: record for record in records if record.kind == "ensemble"}


# --- forming -----------------------------------------------------------------------------------------


def test_all_runs_are_combined_in_every_round_and_the_table_shows_it(results: Path) -> None:
    done = run(results, "greedy(*)")
    assert done.exit_code == 0, done.output
    assert "busi: convnext_tiny.greedy(egmae + imagenet + mae)\n" in done.stderr
    assert "  round 1  formed: selected " in done.stderr
    assert done.stdout.count("greedy(egmae +") == 1  # a row
    records = formed(results)
    assert list(records) == [f"convnext_tiny.greedy(egmae+imagenet+mae).r{i}" for i in (0, 1)]
    for label, record in records.items():
        assert record.rule.startswith("selected ")
        assert record.asked == record_of(run_spec()).asked
        assert record.data.title == "busi"
        assert f"round {label[-1]}  formed: {record.rule}" in done.stderr


def test_what_is_there_is_said_and_kept(results: Path) -> None:
    run(results, "weighted(egmae+imagenet)")
    before = {path: path.stat().st_mtime_ns for path in results.glob("runs/*/*/*")}
    again = run(results, "weighted( imagenet + egmae )")
    assert again.exit_code == 0
    assert again.stderr.count("is there already, kept: weights 0.") == 2
    assert {path: path.stat().st_mtime_ns for path in results.glob("runs/*/*/*")} == before


def test_other_parameters_are_another_ensemble(results: Path) -> None:
    run(results, "greedy(*)")
    done = run(results, "greedy(*)", "--set", "ensemble.greedy.rounds=0")
    assert done.stderr.count("formed: ") == 2
    records = store.scan(results)[0]
    params = [record.spec.ensemble.params for record in records if isinstance(record.spec, EnsembleSpec)]
    assert sorted(map(str, params)) == ["{'rounds': 0}"] * 2 + ["{}"] * 2
    assert "rounds=0" in done.stdout


def test_several_at_once_and_each_once(results: Path) -> None:
    done = run(results, "mean(*), geometric(egmae+mae)", "mean", "mean(egmae+mae+imagenet)")
    assert done.exit_code == 0
    names = {label.partition(".r")[0] for label in formed(results)}
    assert names == {"convnext_tiny.mean(egmae+imagenet+mae)", "convnext_tiny.geometric(egmae+mae)"}
    assert done.stderr.count("formed") == 4


def test_members_stand_in_the_order_of_their_study(results: Path) -> None:
    """So the key is that of `bench run`; a stored ensemble of all of them tells the order."""
    for number in (0, 1):
        members = tuple(run_spec(strategy, number) for strategy in STRATEGIES)
        store.write(
            results, record_of(mean_of(*members)), predictions={"val": made(0, 1, 60), "test": made(0, 1, 90)}
        )
    run(results, "greedy(*)", "weighted(imagenet+mae)")
    keys = {record.key for record in formed(results).values()}
    for number in (0, 1):
        runs = {strategy: run_spec(strategy, number) for strategy in STRATEGIES}
        assert EnsembleSpec(Ref("greedy"), tuple(runs.values())).key in keys
        assert EnsembleSpec(Ref("weighted"), (runs["mae"], runs["imagenet"])).key in keys


def test_rows_of_several_models(tmp_path: Path) -> None:
    results = fill(tmp_path / "results")
    fill(results, strategies=("egmae", "mae"), model="swin_tiny")
    run(
        results, "mean", "geometric(egmae+mae)", "weighted(convnext_tiny.imagenet+swin_tiny.mae)", "greedy(*)"
    )
    names = {label.partition(".r")[0] for label in formed(results)}
    assert names == {
        "convnext_tiny.mean(egmae+imagenet+mae)",
        "swin_tiny.mean(egmae+mae)",
        "convnext_tiny.geometric(egmae+mae)",
        "swin_tiny.geometric(egmae+mae)",
        "convnext_tiny+swin_tiny.weighted(convnext_tiny.imagenet+swin_tiny.mae)",
        "convnext_tiny+swin_tiny.greedy(convnext_tiny.egmae+convnext_tiny.imagenet+convnext_tiny.mae"
        "+swin_tiny.egmae+swin_tiny.mae)",
    }
    done = run(results, "mean(imagenet+mae)")
    assert "left out: busi: there is no finished swin_tiny.imagenet" in done.stderr
    assert done.stderr.count("  formed") == 2


def test_rounds_that_a_member_lacks_are_left_out_and_named(results: Path) -> None:
    store_member(results, run_spec("egmae", 2), 1, 3)
    done = run(results, "mean(egmae+mae)")
    assert "  round 2  left out: convnext_tiny.mae did not finish it" in done.stderr
    assert len(formed(results)) == 2


def test_each_data_set_and_protocol_is_combined_for_itself(results: Path) -> None:
    fill(results, rounds=1, dataset=Ref("isic2018"), split="other")
    done = run(results, "mean(*)")
    assert done.exit_code == 0
    assert len(formed(results)) == 2  # of one label in each, the later of which is shown
    specs = [r.spec for r in store.scan(results)[0] if isinstance(r.spec, EnsembleSpec)]
    assert sorted(spec.dataset.name for spec in specs) == ["busi", "busi", "isic2018"]
    assert all(len({member.split for member in spec.members}) == 1 for spec in specs)
    alone = run(results, "geometric(*)", "-d", "isic2018")
    assert alone.stderr.count("formed") == 1


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mean(egmae+imgenet)"], "unknown member 'imgenet'; did you mean imagenet? (in ensemble"),
        (["mean(egmae)"], "one member alone is no ensemble"),
        (["mean(egmae+*)"], "* means all runs, so it stands alone: mean(*)"),
        (["mean(egmae"], "must be NAME or NAME(A+B)"),
        (["maen(*)"], "unknown ensemble 'maen'; did you mean mean?"),
        (["greedy(*)", "--set", "ensemble.greedy.round=5"], "ensemble.greedy.round: no such key; did you"),
        (["greedy(*)", "--set", "ensemble.greedy.rounds=-1"], "ensemble.greedy.rounds = -1: "),
        (["greedy(*)", "--set", "ensemble.weighted.prior=1"], "ensemble.weighted: parameters for a"),
        (["greedy(*)", "--set", "protocol.rounds=1"], "here only ensemble.NAME.PARAMETER=value can be set"),
        (["mean(*)", "-d", "busy"], "unknown dataset 'busy'; did you mean busi?"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_formed(results: Path, words: list[str], message: str) -> None:
    assert message in error(results, *words)
    assert message in error(results, "geometric(*)", *words)
    assert not formed(results)
    assert not (results / "failures").exists()


def test_a_comma_names_nothing(results: Path) -> None:
    assert 'name an ensemble, say "greedy(*)"' in error(results, ",")


def test_a_folder_without_runs_says_so(tmp_path: Path) -> None:
    assert "no such folder" in error(tmp_path / "results", "mean(*)")
    store.write_failure(tmp_path / "results", failure_of(run_spec("egmae")))
    assert "no finished runs that could be combined" in error(tmp_path / "results", "mean(*)")


@pytest.mark.parametrize("asked", ["mean(egmae+mae)", "mean(*)", "mean"])
def test_ensembles_without_their_runs_cannot_be_combined(tmp_path: Path, asked: str) -> None:
    results = tmp_path / "results"
    parts = {"val": made(0, 1, 60), "test": made(0, 1, 90)}
    store.write(results, record_of(mean_of(run_spec("egmae"), run_spec("mae"))), predictions=parts)
    assert "hold ensembles alone, without the runs" in error(results, asked)


def test_runs_that_share_no_table_or_round_cannot_be_combined(tmp_path: Path) -> None:
    results = fill(tmp_path / "results", rounds=1, strategies=("egmae",))
    store_member(results, run_spec("imagenet", 1), 1, 1)
    assert "busi: no round is finished by all of convnext_tiny.egmae, convnext_tiny.imagenet" in error(
        results, "mean(egmae+imagenet)"
    )
    fill(results, rounds=1, strategies=("mae",), split="another")
    message = error(results, "mean(egmae+mae)")
    assert "only runs of the same images, splits and protocol can be" in message
    assert not formed(results)


def test_members_whose_files_were_altered_are_refused(results: Path) -> None:
    path = store.path_of(results, run_spec("mae", 1)) / "predictions.parquet"
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    assert "is damaged (`bench verify` says how), so nothing was combined" in error(results, "mean(*)")
    assert not formed(results)


def test_members_of_other_images_are_a_failure_that_names_them(results: Path) -> None:
    """As after results of two machines were put into one folder, whose manifests have one hash."""
    spec = run_spec("noise", 0)
    other = dataclasses.replace(made(1, 1, 60), ids=tuple(f"other {i}" for i in range(60)))
    store.write(results, record_of(spec), predictions={"val": other, "test": made(501, 1, 90)})
    done = run(results, "mean(egmae+noise)")
    assert done.exit_code == 1
    assert "noise.r0" in done.stderr
    assert "are not of the images and classes that" in done.stderr


def test_a_refusal_is_a_failed_row_with_its_cause_and_the_rest_goes_on(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for i, strategy in enumerate(STRATEGIES):
        few = made(i, 1 + i, 24)  # 12 groups of two images: fewer than 10 of each class
        store.write(results, record_of(run_spec(strategy)), predictions={"val": few, "test": made(i, 1, 90)})
    done = run(results, "stacking(*)", "mean(*)")
    assert done.exit_code == 1
    assert "round 0  failed: stacking needs 10 groups of every class in the validation part" in done.stderr
    assert "here are: benign 8, malignant 8, normal 8; combine by another" in done.stderr
    states = {label: record.status for label, record in formed(results).items()}
    assert states == {
        "convnext_tiny.mean(egmae+imagenet+mae).r0": "done",
        "convnext_tiny.stacking(egmae+imagenet+mae).r0": "failed",
    }
    assert "stacking(egmae + imagenet + mae): round 0 failed: stacking needs 10 groups" in " ".join(
        done.stdout.split()
    )


# --- what fitting may see ----------------------------------------------------------------------------


def combined(results: Path, name: str, relabel: str = "") -> tuple[str, np.ndarray]:
    """What the real `combine` stores in a new folder, of members with shuffled labels in one part."""
    runs = []
    for i, strategy in enumerate(STRATEGIES):
        spec = run_spec(strategy)
        parts = {"val": made(i, 1 + i, 60), "test": made(500 + i, 1 + i, 90)}
        if relabel:
            shuffled = np.random.default_rng(7).permutation(parts[relabel].labels)
            parts[relabel] = dataclasses.replace(parts[relabel], labels=shuffled)
        store.write(results, record_of(spec), predictions=parts)
        runs.append(spec)
    spec = EnsembleSpec(Ref(name), tuple(runs))
    environment = Environment(data=results, results=results, device="cpu", threads=1, jobs=1)
    combine(spec, Session(environment))
    record = store.read(results, spec)
    return record.rule, store.read_predictions(store.path_of(results, spec), "test", record).probabilities


@pytest.mark.parametrize("name", ["weighted", "stacking", "greedy"])
def test_test_labels_change_nothing_and_validation_labels_do(tmp_path: Path, name: str) -> None:
    rule, given = combined(tmp_path / "plain", name)
    same_rule, same = combined(tmp_path / "test", name, "test")
    assert rule
    assert same_rule == rule
    assert same.tobytes() == given.tobytes()
    other_rule, other = combined(tmp_path / "val", name, "val")
    assert other_rule != rule
    assert not np.allclose(other, given, atol=0.01)


# --- what was fitted is kept -------------------------------------------------------------------------


def test_why_says_what_was_fitted(results: Path) -> None:
    run(results, "weighted(*)")
    words = ["table", "--why", "busi/weighted(egmae+imagenet+mae)/accuracy", "--results", str(results)]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    records = formed(results)
    assert len(records) == 2
    for record in records.values():
        assert f"\n               {record.rule}\n" in done.stdout


def test_records_without_a_rule_are_as_they_were() -> None:
    record = record_of(mean_of(run_spec("egmae"), run_spec("mae")))
    assert "rule" not in record_to_json(record)
    fitted = dataclasses.replace(record, rule="weights 1.00 egmae")
    stored = json.loads(json.dumps({**record_to_json(fitted), "artefacts": {}}))
    assert record_from_json(stored, Path("x")).rule == fitted.rule


# --- beside `bench run` ------------------------------------------------------------------------------


def test_a_stored_ensemble_is_found_in_any_order_of_members(results: Path) -> None:
    runs = {(s, i): run_spec(s, i) for s in STRATEGIES for i in range(3)}
    stored = EnsembleSpec(Ref("mean"), (runs["mae", 0], runs["egmae", 0]))
    store.write(results, record_of(stored), predictions={"val": made(0, 1, 60), "test": made(0, 1, 90)})
    asked = [EnsembleSpec(Ref("mean"), (runs["egmae", i], runs["mae", i])) for i in range(3)]
    found = as_stored(results, [*runs.values(), *asked])
    assert found[: len(runs)] == list(runs.values())
    assert found[len(runs)].key == stored.key
    for unit in found[len(runs) :]:  # other rounds follow, so that they are one row of a table
        assert isinstance(unit, EnsembleSpec)
        assert [member.strategy.name for member in unit.members] == ["mae", "egmae"]
    others = [
        EnsembleSpec(Ref("mean", {"x": 1}), asked[0].members),
        EnsembleSpec(Ref("mean"), (runs["egmae", 0], runs["imagenet", 0])),
    ]
    assert as_stored(results, others) == others
    store.write(results, record_of(asked[1]), predictions={"val": made(0, 1, 60), "test": made(0, 1, 90)})
    assert as_stored(results, asked) == asked


def test_all_runs_of_a_study_are_one_ensemble_over_its_models() -> None:
    from test_members import expanded, labels, study_of

    plan = expanded(study_of("geometric(*)", "mean", models="smt,spa"))
    across = [label for label in labels(plan) if "geometric" in label]
    assert len(across) == 1
    assert across[0].startswith("smt+spa.geometric(smt.egmae+smt.scratch+smt.mae+spa.egmae+")
    assert len(labels(plan)) == 3
    alone = expanded(study_of("mean(*)", "mean"))
    assert labels(alone) == ["smt.mean(egmae+scratch+mae).r0"]
    assert alone.notes == ["mean(*) and mean combine the same runs of smt, as one unit"]
    lacking = expanded(study_of("mean(*)", models="smt,sgformer"))  # which cannot be built at 96 pixels
    assert labels(lacking) == ["smt.mean(egmae+scratch+mae).r0"]
    with pytest.raises(UnknownName):
        study_of("maen(*)")
