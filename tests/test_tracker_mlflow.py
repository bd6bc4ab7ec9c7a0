"""The tracker `mlflow`, beside a real MLflow server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow.server", reason="the server is in mlflow, not in the client mlflow-skinny")

from mlflow import MlflowClient
from test_cli import PHANTOM, bench, workspace
from tracked_samples import STUDY, UNIT, begun, done, ended, epochs

from bench import ConfigError, UnitDone, UnitFailed, testing
from bench_trackers.mlflow import MLFLOW, MlflowParams


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def serving(folder: Path, port: int) -> Iterator[str]:
    """A server of its own, whose runs lie in a folder."""
    uri = f"http://127.0.0.1:{port}"
    arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    arguments += ["--backend-store-uri", f"sqlite:///{folder}/runs.db"]
    arguments += ["--artifacts-destination", str(folder / "artefacts")]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # a dozen processes fewer
        )
    try:
        deadline = time.monotonic() + 180
        while True:
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{uri}/health", timeout=2):
                break
            time.sleep(0.2)
        yield uri
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("mlflow"), free_port()) as found:
        yield found


def runs(uri: str, experiment: str) -> dict[str, Any]:
    """By name, without those of other tests."""
    client = MlflowClient(uri)
    known = client.get_experiment_by_name(experiment)
    assert known
    found = client.search_runs([known.experiment_id])
    names = [run.info.run_name for run in found]
    assert len(set(names)) == len(names), names  # none is made twice
    return {run.info.run_name: run for run in found}


def follow(uri: str, experiment: str, study: Any, *events: Any) -> None:
    with MLFLOW.open(study, MlflowParams(uri=uri, experiment=experiment)) as tell:
        for event in events:
            tell(event)


def stored(folder: Path) -> Any:
    """A study and its unit, whose record is there."""
    (folder / "record.json").write_text('{"version": 2}')
    unit = replace(UNIT, record=folder)
    return replace(STUDY, units=(unit,)), unit


def test_it_conforms(uri: str) -> None:
    testing.check_tracker(MLFLOW, MlflowParams(uri=uri, experiment="conforms"))


def test_a_study_is_a_run_and_so_is_each_unit_in_it(uri: str, tmp_path: Path) -> None:
    study, unit = stored(tmp_path)
    follow(uri, "one", study, begun(unit), *epochs(3, unit), done(unit, auc=0.75), ended())
    found = runs(uri, "one")
    parent, run = found[STUDY.title], found[f"{UNIT.name} (run)"]
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (parent.info.status, run.info.status) == ("FINISHED", "FINISHED")
    assert parent.data.params["protocol"] == "quick"
    assert run.data.params["finetune.epochs"] == "3"
    assert run.data.params["method"] == UNIT.method
    assert run.data.metrics["test/auc"] == 0.75
    history = MlflowClient(uri).get_metric_history(run.info.run_id, "fine-tune/loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5), (3, 0.25)]
    copied = MlflowClient(uri).download_artifacts(run.info.run_id, "record.json", str(tmp_path))
    assert Path(copied).read_text() == '{"version": 2}'


def test_a_study_that_goes_on_finds_its_runs_again(uri: str, tmp_path: Path) -> None:
    study, unit = stored(tmp_path)
    follow(uri, "on", study, begun(unit), *epochs(1, unit), ended("interrupted"))
    assert {run.info.status for run in runs(uri, "on").values()} == {"KILLED", "RUNNING"}
    follow(uri, "on", study, begun(unit), *epochs(2, unit, first=2), done(unit, auc=0.5), ended())
    found = runs(uri, "on")
    assert len(found) == 2
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    history = MlflowClient(uri).get_metric_history(found[f"{UNIT.name} (run)"].info.run_id, "fine-tune/loss")
    assert [point.step for point in history] == [1, 2, 3]


def test_what_the_server_has_missed_is_sent_once(uri: str, tmp_path: Path) -> None:
    study, unit = stored(tmp_path)
    calls = []

    def replay(missed: Any) -> Any:
        calls.append(missed.key)
        return [begun(missed), *epochs(3, missed), UnitDone(time=9.0, unit=missed, seconds=1.0)]

    later = replace(study, units=(replace(unit, done=True),), replay=replay)
    follow(uri, "late", later, ended())
    follow(uri, "late", later, ended())
    assert calls == [unit.key]
    assert runs(uri, "late")[f"{UNIT.name} (run)"].data.metrics["fine-tune/loss"] == 0.25


def test_a_failure_has_its_reason(uri: str, tmp_path: Path) -> None:
    study, unit = stored(tmp_path)
    failed = UnitFailed(time=1.0, unit=unit, status="failed", reason="out of luck")
    follow(uri, "failed", study, begun(unit), failed, ended("failed"))
    run = runs(uri, "failed")[f"{UNIT.name} (run)"]
    assert run.info.status == "FAILED"
    assert run.data.tags["bench.reason"] == "out of luck"


def test_without_a_server_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert MLFLOW.check
    with pytest.raises(ConfigError, match=r"no server is named; --set tracker\.mlflow\.uri="):
        MLFLOW.check(MlflowParams())


def test_a_study_beside_a_server_that_is_away_and_then_back(tmp_path: Path) -> None:
    """The study goes on with a warning; the same command again sends what was missed."""
    folder, port = workspace(tmp_path), free_port()
    arguments = ["run", *PHANTOM, "-s", "scratch", "--ensembles", "none", "-p", "tiny.toml", "--in-process"]
    arguments += ["--track", "mlflow", "--set", f"tracker.mlflow.uri=http://127.0.0.1:{port}"]
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0"}
    done = bench(folder, *arguments, **quick)
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: tracker mlflow")]
    assert len(warnings) == 1
    assert "1 unit: 0 done, 1 to do" in done.stderr
    assert "scratch" in done.stdout
    with serving(tmp_path, port) as found:
        again = bench(folder, *arguments, **quick)
        assert "1 unit: 1 done, 0 to do" in again.stderr
        assert "warning: tracker" not in again.stderr
        assert again.stdout == done.stdout
        (run,) = [run for name, run in runs(found, "bench").items() if "scratch.r0" in name]
        assert run.info.status == "FINISHED"
        assert len(MlflowClient(found).get_metric_history(run.info.run_id, "fine-tune/loss")) == 2
        assert "test/accuracy" in run.data.metrics
