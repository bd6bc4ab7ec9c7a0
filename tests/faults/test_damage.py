"""Damaged results: each is seen by `bench verify`, most by `bench table`, and redone by the same command.

The damages are those of `python -m benchmarks.attacks.damage`, which asks real processes; here most commands
run in this one, on copies of one small study.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from samples import predictions, record_of, run_spec
from spies import Notes, registry_with, tagged, watch, with_one
from test_cli import bench as command
from typer.testing import CliRunner

from bench import Ensemble, Session, silent
from bench.cli import app
from bench.errors import StoreError
from bench.execution.run import execute
from bench.results import store
from bench.results.record import VERSION
from benchmarks.attacks import damage as attacks

OLD = Path(__file__).parents[1] / "data"
SEEN_BY_VERIFY = [name for name in attacks.DAMAGES if "must be silent" not in name]
UNSEEN_BY_TABLE = {
    # No table reads these.
    "encoder scaled",
    "encoder scaled, and its run to do",
    "member of an ensemble removed",
    "split manifest edited",
    "audit edited",
    "stored pixels altered",
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    attacks.make_study(folder)
    return folder


@pytest.fixture
def copy(study: Path, tmp_path: Path) -> Path:
    """A copy of the study, to damage."""
    shutil.copytree(study, tmp_path / "copy")
    return tmp_path / "copy"


def here(*arguments: str) -> Result:
    """A command in this process; it may end, but not break."""
    done: Any = CliRunner().invoke(app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def verify(folder: Path, *arguments: str) -> Result:
    return here("verify", str(folder / "results"), *arguments)


def table(folder: Path, *arguments: str) -> Result:
    return here("table", "--results", str(folder / "results"), *arguments)


# --- seen --------------------------------------------------------------------------------------------


def test_a_whole_study_passes_every_check(study: Path) -> None:
    done = verify(study, "--recompute")
    assert done.exit_code == 0, done.output
    assert "8 records, 8 artefacts" in done.stdout
    assert "2 ensembles" in done.stdout
    assert "no problem" in done.stdout
    assert "damaged" not in table(study).output


@pytest.mark.parametrize("name", SEEN_BY_VERIFY)
def test_each_damage_is_seen(copy: Path, name: str) -> None:
    attacks.DAMAGES[name](copy / "results")
    checked = verify(copy)
    assert checked.exit_code == 1, checked.output
    *problems, summary = checked.stdout.splitlines()
    assert problems
    assert "problem" in summary
    for problem in problems:
        assert str(copy / "results") in problem
        assert "; " in problem, "no remedy"
    shown = table(copy)
    assert shown.exit_code == 0, shown.output
    assert "AUC" in shown.stdout, "one damage took the table down"
    if name not in UNSEEN_BY_TABLE:
        assert "warning:" in shown.stderr


def test_a_missing_folder_is_a_usage_error(tmp_path: Path) -> None:
    done = command(tmp_path, "verify", "nowhere", code=2)
    assert "nowhere: no such folder" in done.stderr


def test_an_older_folder_is_read_and_checked_without_checksums() -> None:
    done = here("verify", str(OLD / "results_v1"), "--recompute")
    assert "8 older records without checksums" in done.stdout
    assert "2 problems" in done.stdout  # the encoders, which were left out of the sample
    assert "its encoder is missing" in done.stdout


@pytest.mark.parametrize("version", [1, 2])
def test_samples_of_every_version_are_read(version: int) -> None:
    """`results_v2` is what `spies.watch` stored of "spied" and "scratch" in November 2026, and a failure."""
    folder = OLD / f"results_v{version}"
    records, warnings = store.scan(folder)
    assert warnings == []
    assert {record.version for record in records} == {version}
    assert {record.kind for record in records} == {"pretrain", "run", "ensemble"}
    assert {record.status for record in records} == {"done", "failed"}
    for record in records:
        if record.status == "done" and record.kind != "pretrain":
            assert record.path is not None
            assert store.read_predictions(record.path, "test", record).ids
    assert version <= VERSION


@pytest.mark.parametrize(
    "nonsense",
    [
        {"cost": {"macs": "many", "params": []}},
        {"timings": {"seconds": "long", "steps": None}},
        {"asked": {"rounds": "two"}},
        {"data": {"title": 7, "content": None, "settings": {"method": "by hand"}}},
        {"data": {"title": ["a"], "counts": {"test": {"smooth": [1]}}}},
        {"provenance": {"hardware": "fast", "plugins": 3}},
        {"notes": 5},
        {"history": {"loss": "low"}},
        {"data": 3, "cost": 4, "timings": 5},
        {"usage": {"peak_memory": "much", "energy": [], "colour": "green"}},
        {"usage": 5},
    ],
)
def test_an_older_record_with_nonsense_takes_nothing_else_down(
    tmp_path: Path, nonsense: dict[str, Any]
) -> None:
    """Older records have no checksum of their own, so that they may hold anything."""
    from bench import load_results

    shutil.copytree(OLD / "results_v1", tmp_path / "results")
    file = next((tmp_path / "results" / "runs" / "phantom").glob("*scratch.r0*")) / "record.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | nonsense))
    shown = table(tmp_path, "--format", "json")
    assert shown.exit_code == 0, shown.output
    rows = [row for each in json.loads(shown.stdout) for row in each["rows"]]
    assert {"egmae", "scratch"} <= {row["method"] for row in rows if row["rounds_done"]}
    results = load_results(tmp_path / "results", metrics="accuracy")
    for frame in (results.runs, results.rounds, results.history, results.predictions):
        assert len(frame)
    assert verify(tmp_path).exit_code == 1


def test_predictions_of_an_older_record_must_fit_its_counts(tmp_path: Path) -> None:
    shutil.copytree(OLD / "results_v1", tmp_path / "results")
    runs = sorted((tmp_path / "results" / "runs" / "phantom").glob("*scratch.r0*"))
    attacks.pq.write_table(
        attacks.pq.read_table(runs[-1] / "predictions.parquet").slice(0, 20), runs[-1] / "predictions.parquet"
    )
    shown = table(tmp_path)
    assert shown.exit_code == 0
    assert "the record counts" in shown.output


# --- redone ------------------------------------------------------------------------------------------


def test_what_is_damaged_is_moved_aside_and_redone_by_the_same_command(copy: Path) -> None:
    """Predictions, a record, an encoder that a run to do needs, and the stored pixels, all at once."""
    results = copy / "results"
    sound = attacks.predictions(results)
    attacks.DAMAGES["rows doubled"](results)
    attacks.remove("runs/egmae.r1", "record.json")(results)
    attacks.encoder_scaled_and_needed(results)
    attacks.pixels_altered(results)
    done = command(copy, "run", *attacks.STUDY)
    assert "8 units: 4 done, 4 to do" in done.stderr  # the encoder is looked at when it is used
    assert done.stderr.count("is damaged; it was moved to") == 3
    assert "stored pixels were altered; the images are decoded again" in done.stderr
    assert attacks.predictions(results) == sound
    moved = {str(path.relative_to(results / ".damaged")) for path in (results / ".damaged").glob("*/*/*")}
    assert len(moved) == 3
    assert all(name.endswith("-1") for name in moved)
    assert verify(copy).exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n for n in SEEN_BY_VERIFY if n not in ("audit edited", "split manifest edited")]
)
def test_the_same_command_makes_each_damage_good(copy: Path, name: str) -> None:
    sound = attacks.predictions(copy / "results")
    attacks.DAMAGES[name](copy / "results")
    answer = attacks.ask_run(copy, sound)
    unused = name in ("encoder scaled", "record of a newer version")
    assert answer in (("silent", "seen") if unused else ("mended",))


def test_a_record_of_a_newer_version_is_left_where_it_is(tmp_path: Path) -> None:
    path = store.write(tmp_path, record_of(run_spec()), predictions={"test": predictions()})
    file = path / "record.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": VERSION + 1}))
    assert store.exists(tmp_path, run_spec()), "a newer version's results are not made again"
    before = file.read_bytes()
    store.write(tmp_path, record_of(run_spec()), predictions={"test": predictions(1)})
    assert file.read_bytes() == before
    assert not (tmp_path / ".damaged").exists()


# --- never stored ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda p: p * np.nan, "not finite"),
        (lambda p: p * 0.9, "sum to 0.9, not 1"),
        (lambda p: -p, "not from 0 to 1"),
        (lambda p: p[:, :2], r"shape \(60, 2\)"),
    ],
)
def test_predictions_that_are_no_distribution_are_not_stored(tmp_path: Path, change: Any, cause: str) -> None:
    given = predictions()
    wrong = replace(given, probabilities=change(given.probabilities))
    with pytest.raises(StoreError, match=cause):
        store.write(tmp_path, record_of(run_spec()), predictions={"test": wrong})
    assert not store.exists(tmp_path, run_spec())


@pytest.mark.parametrize(
    ("rule", "cause"),
    [
        (lambda members: np.full_like(members[0], np.nan), "not finite"),
        (lambda members: sum(members), "not from 0 to 1"),
        (lambda members: members[0][:, :1], "shape"),
        (lambda members: "what?", "no array of numbers"),
    ],
)
def test_an_ensemble_that_gives_no_distribution_is_a_failure(tmp_path: Path, rule: Any, cause: str) -> None:
    watched = watch(tmp_path, "spied", "scratch")
    bad: Ensemble = Ensemble(name="spy_ensemble", about="test", fit=lambda val, params: rule)
    registry = registry_with(Notes(), tagged())
    registry = replace(registry, ensembles=with_one(registry.ensembles, bad))
    spec = watched.unit("ensemble")
    shutil.rmtree(store.path_of(watched.results, spec))
    outcome = execute(spec, Session(watched.session.environment, registry), silent)
    assert outcome.status == "failed"
    assert "ensemble 'spy_ensemble' of plugin" in outcome.reason
    assert cause in outcome.reason
    assert not store.exists(watched.results, spec)
    assert store.read_failure(watched.results, spec)


# --- one cell ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "cause"),
    [
        (lambda predictions: 1 / 0, "ZeroDivisionError"),
        (lambda predictions: exit(3), "SystemExit: 3"),
        (lambda predictions: "0.5", "gave a str, not a float"),
        (lambda predictions: None, "gave a NoneType, not a float"),
        (lambda predictions: np.array([0.5]), "gave a ndarray, not a float"),
    ],
)
def test_a_metric_that_fails_leaves_its_own_cells_empty(
    study: Path, monkeypatch: pytest.MonkeyPatch, score: Any, cause: str
) -> None:
    from bench import load_results
    from bench.registry import installed

    real = installed()
    broken = replace(real.metrics.get("ece"), name="broken", title="Broken", score=score, default=True)
    registry = replace(real, metrics=with_one(real.metrics, broken))
    for module in ("bench.registry", "bench.results.results", "bench.results.score"):
        monkeypatch.setattr(f"{module}.installed", lambda: registry)
    shown = table(study, "--format", "json")
    assert shown.exit_code == 0
    assert cause in shown.stderr
    rows = json.loads(shown.stdout)[0]["rows"]
    for row in rows:
        assert "accuracy" in row["values"]
        assert "broken" not in row["values"]
        assert "Broken could not be computed in" in row["note"]
    rounds = load_results(study / "results", metrics=("broken", "accuracy")).rounds
    assert rounds["broken"].isna().all()
    assert rounds["accuracy"].notna().all()


def test_a_wrong_score_in_the_cache_is_found(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.results import score_cache

    monkeypatch.setattr(score_cache, "WORTHWHILE", 0.0)
    monkeypatch.setattr(score_cache.ScoreCache.save, "__defaults__", (0.0,))
    table(copy)
    file = copy / "results" / score_cache.FILE
    assert verify(copy, "--recompute").exit_code == 0
    with closing(sqlite3.connect(file)) as base, base:
        query = "SELECT sha256, metric, identity, value FROM scores WHERE metric = 'accuracy' LIMIT 1"
        [(*at, identity, value)] = base.execute(query).fetchall()
        wrong = score_cache.Known(identity, value + 0.25)
        seal = score_cache._row((at[0], at[1]), wrong)[-1]
        base.execute(
            "UPDATE scores SET value = ?, seal = ? WHERE sha256 = ? AND metric = ?", (wrong.value, seal, *at)
        )
    done = verify(copy, "--recompute")
    assert done.exit_code == 1
    assert "delete scores.sqlite" in done.stdout
