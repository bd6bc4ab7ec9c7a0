"""Several runs on one results folder: every unit once, and nobody's temporary files removed by another."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import STUDY, bench, command, environment, workspace

from bench.errors import StoreError
from bench.execution import claim as claims
from bench.execution.claim import STALE, claim, forget, holder, holders
from bench.files import host_name

HOLD = """
import sys, time
from pathlib import Path
from bench.execution.claim import claim
with claim(Path(sys.argv[1]), "unit") as other:
    print(other, flush=True)
    time.sleep(60)
"""


def another_process(scratch: Path) -> subprocess.Popen[str]:
    """A process that tries to claim `unit`, says who has it, and holds it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(scratch)], stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout
    assert process.stdout.readline() == "None\n"
    return process


def test_a_claim_is_held_by_one_and_free_when_its_process_is_gone(tmp_path: Path) -> None:
    process = another_process(tmp_path)
    with claim(tmp_path, "unit") as other:
        assert str(other) == f"process {process.pid}"
    assert [held.pid for held in holders(tmp_path)] == [process.pid]
    with claim(tmp_path, "another") as other:
        assert other is None
    process.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()
    assert holder(tmp_path, "unit") is None
    with claim(tmp_path, "unit") as other:
        assert other is None
        mine = holder(tmp_path, "unit")
        assert mine
        assert mine.pid == os.getpid()
    assert holders(tmp_path) == []


def held_elsewhere(scratch: Path, age: float) -> None:
    """What a process on another machine has written, whose lock does not reach this one."""
    (scratch / "claims").mkdir(exist_ok=True)
    path = scratch / "claims" / "unit.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "x"}))
    os.utime(path, (time.time() - age,) * 2)


def test_a_claim_of_another_machine_holds_as_long_as_it_is_touched(tmp_path: Path) -> None:
    held_elsewhere(tmp_path, age=STALE - 30)
    assert str(holder(tmp_path, "unit")) == "process 1 on elsewhere"
    held_elsewhere(tmp_path, age=STALE + 30)
    with claim(tmp_path, "unit") as other:
        assert other is None


@pytest.mark.parametrize("alive", [True, False])
def test_without_locks_a_claim_is_held_by_a_living_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    pid = os.getpid() if alive else 2**22 + 1  # no system numbers processes so high
    monkeypatch.setattr(claims, "_lock", lambda path, stack: None)
    monkeypatch.setattr(claims, "SETTLING", 0.0)
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "unit.json").write_text(
        json.dumps({"host": host_name(), "pid": pid, "token": "x"})
    )
    assert (holder(tmp_path, "unit") is not None) is alive


def test_a_claim_is_touched_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT", 0.01)
    path = tmp_path / "claims" / "unit.json"
    with claim(tmp_path, "unit"):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime < 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not path.exists()


def test_a_claim_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"), claim(tmp_path, "unit"):
        pass


def test_nothing_is_cleaned_while_a_unit_is_at_work(tmp_path: Path) -> None:
    scratch = tmp_path / "results" / ".scratch"
    with claim(scratch, "unit"):
        done = bench(tmp_path, "clean", "--yes")
        assert (done.returncode, done.stdout) == (1, "")
        assert f"in use by process {os.getpid()}; wait until `bench run` has ended" in done.stderr
        assert (scratch / "claims" / "unit.json").exists()
    assert bench(tmp_path, "clean", "--yes").returncode == 0
    assert list(scratch.iterdir()) == []


def test_the_lock_of_a_unit_that_is_done_is_removed(tmp_path: Path) -> None:
    with claim(tmp_path, "unit"):
        forget(tmp_path, "unit")
    forget(tmp_path, "unit")
    assert list((tmp_path / "claims").iterdir()) == []


@pytest.mark.long
def test_runs_beside_each_other_do_every_unit_once(tmp_path: Path) -> None:
    """Three at once, one of them killed in the middle: each unit is computed by one of them."""
    folder = workspace(tmp_path)
    study = [
        "run",
        *STUDY,
        "-s",
        "scratch,egmae",
        "--ensembles",
        "none",
        "--rounds",
        "2",
        "--threads",
        "1",
    ]
    assert bench(folder, "plan", *study[1:-2], "--no-probe").returncode == 0  # decoded once
    running = [
        subprocess.Popen(
            [*command(*study), "--in-process"],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    runs = folder / "results" / "runs" / "phantom"
    deadline = time.monotonic() + 120
    while not (runs.is_dir() and any(path.name[0] != "." for path in runs.iterdir())):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running[0].send_signal(signal.SIGKILL)
    ended = [process.communicate(timeout=240) for process in running]
    for process, (_, errors) in zip(running[1:], ended[1:], strict=True):
        assert process.returncode == 0, errors
        assert "FAILED" not in errors
    log = "".join(path.read_text() for path in (folder / "results" / "logs").iterdir())
    # An outcome that took time was computed; one of 0.0 s had been found done.
    computed = re.findall(r"done ((?:run|pretrain) \S+) (?!0\.0 s)", log)
    assert len(computed) == len(set(computed))
    stored = [*runs.iterdir(), *(folder / "results" / "pretrain" / "phantom").iterdir()]
    assert len([path for path in stored if path.name[0] != "."]) == 6
    left = runs / f".writing-{host_name()}-{running[0].pid}-{'0' * 32}"  # as if killed while it stored a unit
    left.mkdir()
    for path in [left, *runs.glob(".*")]:
        os.utime(path, (1, 1))
    done = bench(folder, *study)
    assert done.returncode == 0
    assert "6 done, 0 to do" in done.stderr
    assert not list(runs.glob(".*"))
