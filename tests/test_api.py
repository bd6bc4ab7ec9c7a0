"""The Python API: what the command line gives, frames that a pandas user expects, and light imports."""

from __future__ import annotations

import ast
import ctypes
import inspect
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from samples import CLASSES, failure_of, mean_of, record_of, run_spec, store_run
from samples import predictions as sample_predictions
from test_cli import bench as command
from test_cli import environment, workspace
from test_cli import predictions as stored_predictions

import bench
from bench.identity import Ref
from bench.results import store
from bench.results.record import TrainingHistory

ARGUMENTS = ["-d", "phantom", "-s", "mae,scratch", "-p", "tiny.toml", "--set", "dataset.phantom.patients=36"]
VALUES = {"dataset.phantom.patients": 36}
FRAMES = ("runs", "rounds", "predictions", "history")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the data nor the results of whoever runs the tests."""
    for name in ("BENCH_DATA", "BENCH_RESULTS", "BENCH_BLOCK"):
        monkeypatch.delenv(name, raising=False)


def tiny(folder: Path, **changes: Any) -> bench.Study:
    """A study that takes seconds, with its protocol in `folder`."""
    protocol = str(workspace(folder) / "tiny.toml")
    return bench.Study.from_names("phantom", "mae,scratch", protocol=protocol, values=VALUES, **changes)


def local(folder: Path, jobs: int | None = None) -> bench.Environment:
    return bench.local_environment(results=folder / "results", device="cpu", threads=1, jobs=jobs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny study was planned and run from Python."""
    folder = tmp_path_factory.mktemp("api")
    plan = bench.plan(tiny(folder), local(folder))
    assert list(plan.frame["state"]) == ["to do"] * 4
    outcomes = bench.run(plan)
    assert [outcome.status for outcome in outcomes] == ["done"] * 4, outcomes
    return folder


# --- the same as the command line --------------------------------------------------------------------


def test_plan_and_run_predict_what_the_command_does_to_the_last_bit(finished: Path, tmp_path: Path) -> None:
    command(workspace(tmp_path), "run", *ARGUMENTS, "--device", "cpu", "--threads", "1")
    ours = stored_predictions(finished)
    assert len(ours) == 3
    assert ours == stored_predictions(tmp_path)
    (encoder,) = (finished / "results" / "pretrain").glob("*/*/encoder.safetensors")
    same = tmp_path / encoder.relative_to(finished)
    assert same.read_bytes() == encoder.read_bytes()
    specs = [
        {
            path.parent.name: json.loads(path.read_text())["asked"]
            for path in folder.glob("results/*/*/*/record.json")
        }
        for folder in (finished, tmp_path)
    ]
    assert specs[0] == specs[1]
    assert all(asked == {"protocol": "tiny", "rounds": 1} for asked in specs[0].values())


def test_the_command_goes_on_where_python_stopped(finished: Path) -> None:
    done = command(finished, "run", *ARGUMENTS, "--device", "cpu", "--threads", "1")
    assert "4 units: 4 done, 0 to do" in done.stderr


@pytest.mark.parametrize("reporter", ["markdown", "html", "csv", "json", "latex"])
def test_tables_are_those_of_the_command(finished: Path, reporter: str) -> None:
    results = bench.load_results(finished / "results")
    text = bench.render(bench.tables(results, "accuracy,auc", datasets="phantom"), reporter)
    assert text == command(finished, "table", "--metrics", "accuracy,auc", "--format", reporter).stdout


def test_published_rows_join_the_tables(tmp_path: Path) -> None:
    store_run(tmp_path, run_spec())
    results = bench.load_results(tmp_path)
    kinds = [
        {row.kind for table in bench.tables(results, ["accuracy"], reported=reported) for row in table.rows}
        for reported in (False, True)
    ]
    assert kinds == [{"run"}, {"run", "reported"}]


def test_a_study_from_names_from_a_file_and_from_keywords_is_the_same(tmp_path: Path) -> None:
    base = str(workspace(tmp_path) / "tiny.toml")
    file = tmp_path / "study.toml"
    file.write_text(
        'datasets = ["phantom"]\nstrategies = ["egmae", "imagenet"]\nmodels = ["resnet10t"]\n'
        f'base = "{base}"\n'
        "[protocol]\nrounds = 2\nfinetune.epochs = 3\n[dataset.phantom]\npatients = 36\n"
        "[strategy.egmae]\npatch = 8\n"
    )
    values = {**VALUES, "protocol.finetune.epochs": 3, "strategy.egmae.patch": 8}
    studies = [
        bench.Study.from_names(
            "phantom", "egmae, imagenet", models=["resnet10t"], protocol=base, rounds=2, values=values
        ),
        bench.Study.from_file(file),
        bench.Study.from_file(file, strategies=["egmae", "imagenet"], values={"protocol.rounds": 2}),
        bench.Study.from_keywords(
            datasets="phantom",
            strategies=("egmae", "imagenet"),
            models="resnet10t",
            base=base,
            protocol={"rounds": 2, "finetune": {"epochs": 3}},
            dataset={"phantom": {"patients": 36}},
            strategy={"egmae": {"patch": 8}},
        ),
    ]
    plans = [bench.plan(study, local(tmp_path)) for study in studies]
    labels = [[unit.label for unit in plan.units] for plan in plans]
    assert len(labels[0]) == 2 * 4
    assert all(other == labels[0] for other in labels)
    keys = [[unit.key for unit in plan.units] for plan in plans]
    assert all(other == keys[0] for other in keys)
    different = replace(studies[0], protocol=replace(studies[0].protocol, seed=1))
    assert not set(keys[0]) & {unit.key for unit in bench.plan(different, local(tmp_path)).units}


# --- plans and runs ----------------------------------------------------------------------------------


def test_the_plan_of_a_finished_study(finished: Path) -> None:
    plan = bench.plan(tiny(finished), local(finished))
    frame = plan.frame
    assert list(frame.columns) == ["kind", "dataset", "unit", "round", "state", "reason", "key"]
    assert list(frame["kind"]) == ["pretrain", "run", "run", "ensemble"]
    assert list(frame["state"]) == ["done"] * 4
    assert list(frame["key"]) == [unit.key for unit in plan.units]
    assert repr(plan) == "<Plan of 4 units, 0 to do>"
    assert bench.run(plan) == []


def test_a_plan_says_what_failed_and_what_cannot_exist(tmp_path: Path) -> None:
    study = tiny(tmp_path, models="test_convnext,sgformer")
    plan = bench.plan(study, local(tmp_path))
    store.write_failure(tmp_path / "results", failure_of(plan.units[1], "<i>boom</i>"))  # type: ignore[arg-type]
    frame = plan.frame.set_index("unit")
    failed = frame[(frame["state"] == "failed")]
    assert list(failed["reason"]) == ["<i>boom</i>"]
    impossible = frame[frame["state"] == "n/a"]
    assert list(impossible.index) == ["sgformer.mae", "sgformer.scratch"]
    assert impossible["round"].isna().all()
    assert "multiple of 112" in impossible["reason"].iloc[0]
    ((place, split),) = plan.splits.items()
    noted = replace(plan, splits={place: replace(split, notes=("<i>a note</i>",))})
    html = noted._repr_html_()
    assert "phantom round 0: &lt;i&gt;a note&lt;/i&gt;" in html
    assert "&lt;i&gt;boom&lt;/i&gt;" in html
    assert "<i>" not in html
    assert "Plan of 4 units, 4 to do" in html


def test_a_plan_tells_what_leaks(tmp_path: Path) -> None:
    values = {**VALUES, "protocol.split.groups": "none"}
    study = bench.Study.from_names(
        "phantom", "scratch", models="test_convnext", protocol="quick", rounds=1, values=values
    )
    assert "phantom round 0: LEAK: " in bench.plan(study, local(tmp_path))._repr_html_()
    with pytest.raises(bench.SplitError, match="round 0"):
        bench.plan(study, local(tmp_path), strict=True)


def test_splits_made_elsewhere_are_used(finished: Path, tmp_path: Path) -> None:
    (manifest,) = (finished / "results" / "splits").glob("phantom/*.json")
    study = bench.Study.from_names(
        "phantom",
        "scratch",
        protocol=str(finished / "tiny.toml"),
        values={**VALUES, "protocol.split.test": 0.3},
    )
    (drawn,) = bench.plan(study, local(tmp_path)).splits.values()
    (given,) = bench.plan(study, local(tmp_path), manifests=[manifest]).splits.values()
    assert given.hash == json.loads(manifest.read_text())["hash"] != drawn.hash


def test_a_run_is_silent_unless_asked(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = bench.Study.from_names(
        "phantom", "scratch", protocol=str(finished / "tiny.toml"), values=VALUES, rounds=1
    )
    bench.run(bench.plan(study, local(tmp_path)))
    assert capsys.readouterr().out == ""
    other = bench.local_environment(results=tmp_path / "other", device="cpu", threads=1)
    heard: list[bench.Progress] = []

    def tell(news: bench.Progress) -> None:
        heard.append(news)
        bench.print_progress(news)

    plan = bench.plan(study, other, bench.print_progress)
    bench.run(plan, report=tell)
    assert {news.key for news in heard} == {unit.key for unit in plan.units}
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("test_convnext.scratch.r0  fine-tune epoch 1/2  loss ")
    assert lines[-1].startswith("test_convnext.scratch.r0  fine-tune epoch 2/2  loss ")
    assert any(line.startswith("phantom  audit 92/92") for line in lines)


def test_progress_is_at_most_ten_lines_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    for epoch in range(1, 301):
        for step in (1, 2):
            news = bench.Progress(
                unit="u", stage="pretrain", done=step, total=2, epoch=epoch, epochs=300, loss=0.5
            )
            bench.print_progress(news)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"u  pretrain epoch {epoch}/300  loss 0.5000" for epoch in range(30, 301, 30)]
    bench.print_progress(bench.Progress(unit="u", stage="decode", done=3, total=4))
    assert capsys.readouterr().out == ""
    bench.print_progress(bench.Progress(unit="u", stage="decode", done=4, total=4))
    assert capsys.readouterr().out == "u  decode 4/4\n"


def test_an_executor_may_be_a_value_a_name_or_the_default(finished: Path, tmp_path: Path) -> None:
    executed: list[str] = []

    def refuse(execute: Any, units: Any, session: bench.Session, report: bench.Report) -> Any:
        for unit in units:
            executed.append(unit.label)
            yield bench.Outcome(unit=unit, status="failed", reason="refused")

    executor: bench.Executor = bench.Executor(name="refuse", about="test", map=refuse)
    plan = bench.plan(tiny(finished), local(tmp_path))
    outcomes = bench.run(plan, executor=executor)
    assert executed == [unit.label for unit in plan.units]
    assert {outcome.reason for outcome in outcomes} == {"refused"}
    with pytest.raises(bench.UnknownName, match="unknown executor 'pakced'; did you mean packed"):
        bench.run(plan, executor="pakced")


def test_an_interruption_passes_and_the_next_call_goes_on(finished: Path, tmp_path: Path) -> None:
    plan = bench.plan(tiny(finished), local(tmp_path, jobs=1))

    def interrupt(news: bench.Progress) -> None:
        if news.stage == "fine-tune":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.run(plan, report=interrupt)
    assert list(plan.frame["state"]) == ["done", "to do", "to do", "to do"]
    assert [outcome.status for outcome in bench.run(plan)] == ["done"] * 3
    assert stored_predictions(tmp_path) == stored_predictions(finished)


def test_a_plan_can_be_run_elsewhere(finished: Path, tmp_path: Path) -> None:
    """In another results folder, which has the splits."""
    plan = bench.plan(tiny(finished), local(finished))
    shutil.copytree(finished / "results" / "splits", tmp_path / "results" / "splits")
    assert [outcome.status for outcome in bench.run(plan, local(tmp_path))] == ["done"] * 4
    assert stored_predictions(tmp_path) == stored_predictions(finished)


def test_the_local_environment_has_the_commands_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    env = bench.local_environment()
    assert (env.data, env.results, env.jobs) == (tmp_path / "data", Path("results"), 1)
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "kept"))
    assert bench.local_environment().results == tmp_path / "kept"
    assert bench.local_environment(results="mine", data="here", threads=3).threads == 3
    assert bench.load_results().folder == tmp_path / "kept"
    monkeypatch.setattr("bench.execution.provenance.usable_cores", lambda: 8)
    assert [bench.local_environment(jobs=jobs).threads for jobs in (1, 3, 9)] == [8, 2, 1]
    for policy in ("PASSIVE", "active"):
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
        bench.local_environment()
        assert os.environ["OMP_WAIT_POLICY"] == policy
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    bench.local_environment()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"]) == ("PASSIVE", "3000")
    given = [bench.local_environment(jobs=jobs).jobs_given for jobs in (None, 1, 2)]
    assert given == [False, True, True]
    for wrong in ({"jobs": 0}, {"threads": -1}):
        with pytest.raises(bench.ConfigError, match="must be 1 to"):
            bench.local_environment(**wrong)  # type: ignore[arg-type]
    with pytest.raises(bench.ConfigError, match="not a device"):
        bench.local_environment(device="gpu")


def test_several_gpus_have_a_unit_each_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setattr("bench.execution.provenance.usable_cores", lambda: 12)
    env = bench.local_environment(device="cuda:all")
    assert (env.device, env.devices) == ("cuda:0", ("cuda:0", "cuda:1", "cuda:2"))
    assert (env.jobs, env.threads) == (3, 4)
    assert bench.local_environment(device="cuda:1,cuda:0", jobs=6).jobs == 6
    assert bench.local_environment(device="cuda:1,cuda:0", jobs=1).jobs == 1
    alone = bench.local_environment(device="cuda:1")
    assert (alone.device, alone.devices, alone.jobs) == ("cuda:1", (), 1)


# --- frames ------------------------------------------------------------------------------------------


def test_the_frames_of_a_study(finished: Path) -> None:
    results = bench.load_results(finished / "results", metrics=["accuracy", "auc"])
    assert repr(results) == f"<Results in {finished / 'results'}: 4 records>"
    runs, rounds = results.runs.set_index("key"), results.rounds.set_index("key")
    assert sorted(runs["kind"]) == ["ensemble", "pretrain", "run", "run"]
    assert set(rounds["method"]) == {"mae", "scratch", "mean(mae + scratch)"}
    assert rounds["accuracy"].between(0, 1).all()
    own = runs.loc[rounds.index]
    for column in ("kind", "dataset", "images", "model", "method", "settings", "round", "split"):
        assert (own[column] == rounds[column]).all()
    trained = runs[runs["kind"] != "ensemble"]
    assert (trained["seconds"] > 0).all()
    assert (trained["steps"] > 0).all()
    assert runs[runs["kind"] == "ensemble"]["steps"].isna().all()
    assert runs.loc[runs["kind"] == "run", "macs"].nunique() == 1
    assert set(runs["device"]) == {"cpu"}
    assert all(Path(path).is_dir() for path in runs["path"])
    predicted = results.predictions
    assert list(predicted.columns[:5]) == ["key", "part", "id", "group", "label"]
    assert list(predicted.columns[5:]) == ["p:no_lesion", "p:smooth", "p:irregular"]
    assert set(predicted["part"]) == {"val", "test"}
    assert set(predicted["key"]) == set(rounds.index)
    assert predicted.filter(like="p:").sum(axis=1).to_numpy() == pytest.approx(1)
    history = results.history.merge(results.runs, on="key")
    assert list(history.groupby("method")["epoch"].agg(list)) == [[1, 2, 1, 2], [1, 2]]  # mae: two trainings
    assert (history["loss"] > 0).all()


def test_rounds_have_the_scores_that_the_predictions_have(finished: Path) -> None:
    results = bench.load_results(finished / "results", "accuracy")
    test = results.predictions.query("part == 'test'")
    answer = test.filter(like="p:").idxmax(axis="columns").str.removeprefix("p:")
    by_hand = (answer == test["label"]).groupby(test["key"]).mean()
    assert results.rounds.set_index("key")["accuracy"].sort_index().to_dict() == pytest.approx(
        by_hand.to_dict()
    )


TYPES = {
    "round": "int64",
    "epoch": "int64",
    "steps": "Int64",
    "images_per_second": "float64",
    "peak_memory": "Int64",
    "latency": "float64",
    "energy": "float64",
    "macs": "Int64",
    "params": "Int64",
    "seconds": "float64",
    "loss": "float64",
    "validation_accuracy": "float64",
    "accuracy": "float64",
}


def test_an_empty_folder_gives_the_same_columns_and_types(finished: Path, tmp_path: Path) -> None:
    """So that code which groups, merges and concatenates needs no special case."""
    full, empty = (
        bench.load_results(path, "accuracy") for path in (finished / "results", tmp_path / "absent")
    )
    text = pd.Series([""]).astype(str).dtype
    for name in FRAMES:
        some, none = getattr(full, name), getattr(empty, name)
        assert len(some)
        assert not len(none)
        columns = [column for column in some.columns if not column.startswith("p:")]
        assert list(none.columns) == columns
        for frame in (some, none):
            assert {c: frame[c].dtype for c in columns} == {c: TYPES.get(c, text) for c in columns}, name
    assert not list(bench.tables(empty))
    assert "0 records" in empty._repr_html_()


def test_data_sets_of_other_classes_have_columns_of_their_own(tmp_path: Path) -> None:
    store_run(tmp_path, run_spec())
    other = run_spec(dataset=Ref("isic"))
    two = sample_predictions(classes=("naevus", "benign"))
    store.write(tmp_path, record_of(other), predictions={"val": two, "test": two})
    frame = bench.load_results(tmp_path, "accuracy").predictions
    assert set(frame.columns[5:]) == {f"p:{name}" for name in (*CLASSES, "naevus")}
    lacking = frame[frame["key"] == other.key][["p:malignant", "p:normal"]]
    assert lacking.isna().all(axis=None)
    assert frame["p:benign"].notna().all()


def test_what_may_not_be_averaged_differs_in_its_settings(tmp_path: Path) -> None:
    """Two patch sizes, two protocols and two contents of one data set are told apart; rounds are not."""
    specs = [
        run_spec("egmae", round_, epochs=epochs, params=params)
        for round_ in (0, 1)
        for epochs, params in ((30, {}), (30, {"patch": 32}), (100, {}))
    ]
    specs += [run_spec("scratch", size=64), run_spec("scratch", precision="fp32"), run_spec("scratch")]
    for spec in specs:
        store_run(tmp_path, spec)
    store_run(tmp_path, mean_of(specs[0], specs[-1]))
    rounds = bench.load_results(tmp_path, "accuracy").rounds
    method = ["dataset", "images", "model", "method", "settings"]
    counts = rounds.groupby(method)["round"].nunique()
    assert sorted(counts) == [1, 1, 1, 1, 2, 2, 2]
    settings = set(rounds["settings"])
    assert {"pretrain.epochs=30", "strategy.patch=32, pretrain.epochs=30", "pretrain.epochs=100"} <= settings
    assert {"size=64", "precision=fp32", ""} <= settings
    (ensemble,) = rounds[rounds["kind"] == "ensemble"].to_dict("records")
    assert ensemble["method"] == "mean(egmae + scratch)"
    assert ensemble["settings"] == "egmae.pretrain.epochs=30"
    assert set(rounds["images"]) == {"c0ffeec0"}


def test_an_ensembles_settings_are_its_own_its_members_common_ones_and_theirs(tmp_path: Path) -> None:
    members = [run_spec("egmae", epochs=30, size=64), run_spec("scratch", size=64, params={"x": 1})]
    store_run(tmp_path, replace(mean_of(*members), ensemble=Ref("mean", {"power": 2}, revision=3)))
    (row,) = bench.load_results(tmp_path, "accuracy").rounds.to_dict("records")
    expected = (
        "ensemble.power=2, ensemble.revision=3, size=64, egmae.pretrain.epochs=30, scratch.strategy.x=1"
    )
    assert row["settings"] == expected


def test_failed_units_are_among_the_runs_and_damaged_ones_have_no_scores(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = run_spec()
    store.write_failure(tmp_path, failure_of(spec, "out of luck"))
    damaged = store_run(tmp_path, run_spec("egmae"))
    (damaged / "predictions.parquet").write_bytes(b"nothing")
    results = bench.load_results(tmp_path, "accuracy")
    runs = results.runs.set_index("key")
    assert runs.loc[spec.key, ["status", "reason", "images"]].tolist() == ["failed", "out of luck", ""]
    assert list(results.rounds["method"]) == ["egmae"]
    assert math.isnan(results.rounds["accuracy"][0])
    assert results.predictions.empty
    assert "predictions.parquet: " in caplog.text
    assert "(left out)" in caplog.text


def test_a_history_with_validation_and_a_diverged_loss(tmp_path: Path) -> None:
    history = TrainingHistory(loss=(0.5, None), validation_accuracy=(0.25,))
    each = sample_predictions()
    record = record_of(run_spec(), history=history)
    store.write(tmp_path, record, predictions={"val": each, "test": each})
    frame = bench.load_results(tmp_path, "accuracy").history
    assert frame["loss"].tolist() == pytest.approx([0.5, math.nan], nan_ok=True)
    assert frame["validation_accuracy"].tolist() == pytest.approx([0.25, math.nan], nan_ok=True)


def test_records_that_cannot_be_read_are_told_in_a_notebook(tmp_path: Path) -> None:
    folder = tmp_path / "<i>results"
    (store_run(folder, run_spec()) / "record.json").write_text("broken")
    results = bench.load_results(folder, "accuracy")
    (warning,) = results.warnings
    assert "left out" in warning
    html = results._repr_html_()
    assert "left out" in html
    assert "&lt;i&gt;results: 0 records" in html
    assert "<i>" not in html


def test_metrics_and_data_sets_are_named_one_by_one_or_with_commas(finished: Path) -> None:
    folder = finished / "results"
    for names in ("accuracy,auc", ["accuracy", "auc"], ("accuracy, auc",), "accuracy,auc,accuracy"):
        results = bench.load_results(folder, names)
        assert list(results.rounds.columns[-3:]) == ["split", "accuracy", "auc"]
        (table,) = bench.tables(results, names, datasets="phantom")
        assert [column.name for column in table.columns] == ["accuracy", "auc"]
    with pytest.raises(bench.UnknownName, match="unknown metric 'acuracy'"):
        bench.load_results(folder, "acuracy")
    with pytest.raises(bench.UnknownName, match="unknown dataset 'busi'"):
        bench.tables(results, datasets=["busi"])


# --- in a notebook -----------------------------------------------------------------------------------


def test_tables_are_shown_as_html_with_everything_escaped() -> None:
    text = "<b>&\"'"
    column = bench.Column(name="accuracy", title=text)
    rows = [
        bench.Row(
            kind="run",
            model=text,
            method=text,
            rounds_done=2,
            rounds_asked=2,
            gmacs=4.5,
            mparams=28.0,
            values={"accuracy": bench.Estimate(mean=mean, spread=0.125, low=0.6, high=0.85)},
            note=text,
        )
        for mean in (0.25, 0.75)
    ]
    reported = bench.Row(kind="reported", model="PerViT", method="reported")
    undefined = replace(rows[0], values={"accuracy": bench.Estimate(mean=math.nan)})
    table = bench.Table(
        title=text, protocol=text, columns=(column,), rows=(*rows, undefined, reported), footer=(text,)
    )
    html = bench.Tables([table])._repr_html_()
    escaped = "&lt;b&gt;&amp;&quot;&#x27;"
    assert html.count(text) == 0
    # Title, protocol, column, footer; model and method of three rows; and their notes, under both names.
    assert html.count(escaped) == 4 + 3 * 2 + 3 * 3
    assert html.count("<b>") == 2  # the title, and the one best value
    assert "<b>0.7500</b> [0.600, 0.850]" in html
    assert "n/a" in html
    assert html.count("border-top") == 1  # above the reported row
    assert repr(bench.Tables([table])) == f"<Tables: {text} (4 rows)>"
    assert repr(bench.Tables()) == "<Tables: none>"


def test_errors_and_outcomes_are_one_line_in_a_notebook() -> None:
    from IPython.lib.pretty import pretty

    with pytest.raises(bench.UnknownName) as caught:
        bench.Study.from_names("phantom", "egame")
    line = "UnknownName: unknown strategy 'egame'; did you mean egmae or mae?"
    assert caught.value._render_traceback_() == [line]
    outcomes = [
        bench.Outcome(unit=run_spec(), status="done", seconds=2.25),
        bench.Outcome(unit=run_spec(), status="failed", reason="out of luck"),
    ]
    assert pretty(outcomes) == (
        "[done run convnext_tiny.imagenet.r0 (2.2 s),\n"
        " failed run convnext_tiny.imagenet.r0 (0.0 s): out of luck]"
    )


# --- what is public ----------------------------------------------------------------------------------

STUB = Path(bench.__file__).with_suffix(".pyi")


def test_every_public_name_can_be_imported_and_is_documented() -> None:
    assert bench.__all__ == sorted(set(bench.__all__))
    assert set(bench.__all__) <= set(dir(bench))
    for name in bench.__all__:
        value = getattr(bench, name)
        if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
            text = inspect.getdoc(value) or ""
            assert text and not text.startswith(f"{name}("), f"bench.{name} has no docstring"  # noqa: PT018


def test_the_stub_names_what_there_is() -> None:
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    (listed,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"  # type: ignore[attr-defined]
    )
    assert sorted(imported) == sorted(listed) == sorted(bench.__all__)
    with pytest.raises(AttributeError):
        _ = bench.no_such_name  # type: ignore[attr-defined]


def test_importing_bench_loads_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "pandas", "timm", "PIL", "pyarrow", "pydantic", "typer", "rich", "sklearn")
    code = (
        "import sys, bench, bench.testing; bench.Study; bench.plan; bench.run; bench.load_results\n"
        f"print(sorted({{name.partition('.')[0] for name in sys.modules}} & set({heavy!r})))"
    )
    light = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert light.stdout == "[]\n"


SCRIPT = '''
"""What a user may write, with every type spelt out."""

from pathlib import Path

import bench
from bench import testing


def report(news: bench.Progress) -> None:
    print(news.unit, news.stage, news.done)


study: bench.Study = bench.Study.from_names("phantom", ["egmae"], rounds=1, values={"protocol.size": 32})
env: bench.Environment = bench.local_environment(results=Path("results"), jobs=2)
plan: bench.Plan = bench.plan(study, env, report)
units: list[str] = [unit.label for unit in plan.to_do]
outcomes: list[bench.Outcome] = bench.run(plan, report=bench.print_progress)
reasons: dict[str, str] = {outcome.unit.label: outcome.reason for outcome in outcomes}
results: bench.Results = bench.load_results("results", metrics="accuracy")
tables: bench.Tables = bench.tables(results, ["accuracy"])
text: str = bench.render(tables, "latex")
means: list[float] = [row.values["accuracy"].mean for table in tables for row in table.rows]
rounds: int = len(results.rounds)


def score(predictions: bench.Predictions) -> float:
    return float(predictions.probabilities.max())


metric: bench.Metric = bench.Metric(name="most", about="the highest probability", title="Most", score=score)
testing.check_metric(metric)
reveal_type(bench.plan(study).units[0].key)
bench.run(study)
bench.Study.from_names(1, "egmae")
bench.nothing
'''


def test_py_typed_and_the_stub_let_mypy_check_a_users_script(tmp_path: Path) -> None:
    """The script has four lines that mypy must remark on, at its end, and nothing else."""
    pytest.importorskip("mypy")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", "cache", "script.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    first = SCRIPT[: SCRIPT.index("reveal_type")].count("\n") + 1
    remarks = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    lines = [int(line.split(":")[1]) for line in done.stdout.splitlines()]
    assert lines == [first, first + 1, first + 2, first + 3], done.stdout + done.stderr
    assert remarks[0] == 'note: Revealed type is "str"'
    assert 'has incompatible type "Study"; expected "Plan"' in remarks[1]
    assert 'has incompatible type "int"' in remarks[2]
    assert 'Module has no attribute "nothing"' in remarks[3]


@pytest.mark.parametrize(
    ("driver", "device"), [(True, "cuda"), (False, "cpu")], ids=["a driver: as torch says", "none: the CPU"]
)
def test_the_default_device(
    driver: bool, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> object:
        if name == "libcuda.so.1" and driver:
            return object()
        raise OSError(name)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert bench.local_environment(results=tmp_path).device == device
