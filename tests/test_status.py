"""`bench status`: what another terminal sees of what runs on a results folder."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from samples import failure_of, mean_of, run_spec
from terminal import Terminal
from test_cli import PHANTOM, bench, command, environment, workspace

from bench import Outcome, Progress, Study
from bench.cli.status_text import parts, plain, summary
from bench.execution.claim import claim
from bench.execution.status import FolderStatus, StudyStatus, look
from bench.execution.status_file import FAILURES, StatusWriter, folder_of, told
from bench.results import store
from bench.study.spec import RunSpec, UnitSpec
from bench.text import duration

TESTS = Path(__file__).parent
UNITS = [run_spec(round_=number) for number in range(4)]


def study(**more: Any) -> Study:
    return Study.from_keywords(datasets="phantom", strategies="egmae,scratch", base="quick", **more)


def plan_of(*units: UnitSpec, jobs: int = 2) -> Any:
    """As much of a plan as the status file takes from it."""
    place = SimpleNamespace(jobs=jobs, device="cpu", devices=())
    names = {unit.key: unit.label for unit in units}
    return SimpleNamespace(units=units, names=names, session=SimpleNamespace(environment=place))


def done(results: Path, unit: UnitSpec) -> None:
    """A folder as a finished unit has it; what is in it is not looked at."""
    store.path_of(results, unit).mkdir(parents=True)


def training(spec: UnitSpec, step: int = 1, epoch: int = 1, **more: Any) -> Progress:
    told: dict[str, Any] = {"unit": spec.label, "key": spec.key, "stage": "fine-tune", "done": step}
    return Progress(
        **{**told, "total": 10, "epoch": epoch, "epochs": 6, "loss": 0.5, "images_per_s": 61.0, **more}
    )


def text(found: FolderStatus, results: Path = Path("results")) -> list[str]:
    """All lines, as where there is no terminal."""
    lines: list[str] = []
    for part in parts(found, results):
        shown = list(plain(part.what)) if isinstance(part.what, list) else [str(part.what)]
        lines += [" " * part.indent + line for line in shown]
    return lines


def seen(results: Path, wanted: Callable[[StudyStatus], object], seconds: float = 30) -> StudyStatus:
    """The first study, as soon as it is as wanted: a thread writes the file once a second."""
    deadline = time.monotonic() + seconds
    while True:
        found = look(results).studies
        if found and wanted(found[0]):
            return found[0]
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[StatusWriter]:
    with told(study(), tmp_path / ".scratch") as status:
        yield status


# --- one command -------------------------------------------------------------------------------------


def test_nothing_is_known_of_an_empty_folder(tmp_path: Path) -> None:
    assert look(tmp_path) == FolderStatus()
    assert text(look(tmp_path)) == ["nothing runs on results"]


def test_a_command_that_plans(tmp_path: Path, writer: StatusWriter) -> None:
    writer.report(Progress(unit="phantom", stage="decode", done=30, total=120))
    found = seen(tmp_path, lambda study: study.commands[0].at_work)
    assert found.commands[0].plans
    lines = text(look(tmp_path))
    assert lines[0] == "phantom: egmae, scratch, quick: is being planned"
    assert lines[2].split() == ["phantom", "decode", "30/120", "for", *lines[2].split()[4:]]


def test_how_far_a_study_is(tmp_path: Path, writer: StatusWriter) -> None:
    done(tmp_path, UNITS[0])
    writer.plan(plan_of(*UNITS), UNITS[1:])
    writer.report(training(UNITS[1], step=5, epoch=2))
    writer.report(Progress(unit=UNITS[2].label, key=UNITS[2].key, stage="waits for process 12"))
    writer.ended(Outcome(unit=UNITS[3], status="failed", reason="out of luck", seconds=1.0))
    found = seen(tmp_path, lambda study: study.failed)
    assert (found.units, found.done, found.at_work, found.failed, found.to_do) == (4, 1, 1, 1, 1)
    (mine,) = found.commands
    assert (mine.pid, mine.state, mine.jobs, mine.device) == (os.getpid(), "at work", 2, "cpu")
    at_work, waiting = mine.at_work
    assert (at_work.unit, at_work.epoch, at_work.epochs, at_work.loss) == (UNITS[1].label, 2, 6, 0.5)
    assert waiting.waits
    lines = text(look(tmp_path))
    assert lines[0].startswith(
        "phantom: egmae, scratch, quick: 1 of 4 units done, 1 failed, 1 at work, 1 to do"
    )
    assert lines[2].split()[:4] == [UNITS[1].label, "fine-tune", "epoch", "2/6"]
    assert lines[2].endswith("loss 0.5000  61 images/s")
    assert lines[4] == f"  FAILED  {UNITS[3].label}: out of luck"


def test_what_ended_stays_known_without_its_command(tmp_path: Path) -> None:
    with told(study(), tmp_path / ".scratch") as status:
        status.plan(plan_of(*UNITS), UNITS)
    for unit in UNITS[:2]:
        done(tmp_path, unit)
    store.write_failure(tmp_path, failure_of(UNITS[2], "it was too cold"))
    (found,) = look(tmp_path).studies
    assert not found.runs
    assert (found.done, found.failed, found.to_do) == (2, 1, 1)
    assert found.failures[0].reason == "it was too cold"
    assert [path.name for path in folder_of(tmp_path / ".scratch").iterdir()] == [f"{study().name}.plan.json"]


def test_a_failure_of_before_is_to_be_tried_again_while_a_command_runs(
    tmp_path: Path, writer: StatusWriter
) -> None:
    store.write_failure(tmp_path, failure_of(UNITS[2]))
    writer.plan(plan_of(*UNITS), UNITS)
    found = seen(tmp_path, lambda study: study.units)
    assert (found.failed, found.to_do) == (0, 4)


def test_failures_are_counted_that_are_not_listed(tmp_path: Path, writer: StatusWriter) -> None:
    units = [run_spec(round_=number) for number in range(FAILURES + 20)]
    writer.plan(plan_of(*units), units)
    for unit in units[:-5]:
        writer.ended(Outcome(unit=unit, status="failed", reason="out of luck", seconds=1.0))
    found = seen(tmp_path, lambda study: study.failed)
    assert (found.failed, found.to_do, len(found.failures)) == (FAILURES + 15, 5, FAILURES)


def test_time_left_is_that_of_the_bars(tmp_path: Path, writer: StatusWriter) -> None:
    writer.plan(plan_of(*UNITS), UNITS)
    assert seen(tmp_path, lambda study: study.units).left is None
    for step in range(1, 4):
        writer.report(training(UNITS[0], step=step))
        time.sleep(0.1)
    assert seen(tmp_path, lambda study: study.left is not None).left > 1.0  # type: ignore[operator]


def test_units_of_no_known_plan_are_counted(tmp_path: Path) -> None:
    done(tmp_path, UNITS[0])
    done(tmp_path, run_spec("scratch", dataset=dataclasses.replace(UNITS[0].dataset, name="phantom")))
    assert look(tmp_path).others == {"busi": 1, "phantom": 1}
    assert text(look(tmp_path))[-1].endswith("whose plan is not known here: busi 1, phantom 1")


def test_names_from_outside_are_made_safe(tmp_path: Path, writer: StatusWriter) -> None:
    writer.plan(plan_of(UNITS[0]), UNITS[:1])
    writer.report(training(UNITS[0], unit="\x1b[2Jforged\nline", stage="fine\x07tune"))
    seen(tmp_path, lambda study: study.at_work)
    assert not any("\x1b" in line or "\n" in line or "\x07" in line for line in text(look(tmp_path)))


# --- several commands, and those that are gone -------------------------------------------------------


def of_another(results: Path, host: str = "node7", **changes: Any) -> Path:
    """The file of this process, as one of another machine would have left it."""
    folder = folder_of(results / ".scratch")
    mine = next(path for path in folder.glob("*.json") if not path.name.endswith(".plan.json"))
    content = json.loads(mine.read_text()) | {"host": host, "pid": 77} | changes
    other = folder / f"{host}.77.json"
    other.write_text(json.dumps(content))
    return other


def test_two_machines_share_a_study(tmp_path: Path, writer: StatusWriter) -> None:
    writer.plan(plan_of(*UNITS), UNITS)
    writer.report(training(UNITS[0]))
    seen(tmp_path, lambda study: study.at_work)
    unit = {"unit": UNITS[1].label, "key": UNITS[1].key, "waits": False, "stage": "fine-tune"}
    same = {"unit": UNITS[0].label, "key": UNITS[0].key, "waits": True, "stage": "waits for process 4"}
    other = of_another(tmp_path, at_work=[unit, same], seconds_left=60.0)
    (found,) = look(tmp_path).studies
    assert (found.at_work, found.to_do) == (2, 2)
    assert [command.state for command in found.commands] == ["at work", "at work"]
    assert "process 77 on node7: cpu, 2 at once" in "\n".join(text(look(tmp_path)))
    then = time.time() - 40
    os.utime(other, (then, then))
    assert "silent for 40 s" in "\n".join(text(look(tmp_path)))
    then = time.time() - 600
    os.utime(other, (then, then))
    (found,) = look(tmp_path).studies
    assert sorted(command.state for command in found.commands) == ["at work", "gone"]
    assert found.at_work == 1
    assert "has not been heard of for 10 min with 1 unit at work" in "\n".join(text(look(tmp_path)))


def test_a_clock_that_is_ahead_is_said(tmp_path: Path, writer: StatusWriter) -> None:
    writer.plan(plan_of(*UNITS), UNITS)
    seen(tmp_path, lambda study: study.units and study.commands)
    other = of_another(tmp_path)
    then = time.time() + 3600
    os.utime(other, (then, then))
    found = next(c for c in look(tmp_path).studies[0].commands if c.host == "node7")
    assert found.state == "at work"
    assert "its clock is 60 min ahead of ours" in "\n".join(text(look(tmp_path)))


def test_two_commands_need_half_the_time_together(tmp_path: Path, writer: StatusWriter) -> None:
    writer.plan(plan_of(*UNITS), UNITS)
    seen(tmp_path, lambda study: study.units and study.commands)
    for host in ("a", "b"):
        of_another(tmp_path, host=host, seconds_left=1000.0)
    left = look(tmp_path).studies[0].left
    assert left == pytest.approx(500, abs=5)


def test_a_claim_whose_holder_is_gone(tmp_path: Path) -> None:
    scratch = tmp_path / ".scratch"
    with claim(scratch, UNITS[0].key), claim(scratch, UNITS[1].key):
        for unit, pid in ((UNITS[0], 2**22 + 1), (UNITS[1], os.getpid())):
            path = scratch / "claims" / f"{unit.key}.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": pid}))
        (scratch / "checkpoints").mkdir()
        (scratch / "checkpoints" / f"{UNITS[0].key}.1.pt").touch()
        (stale,) = look(tmp_path).stale
    assert stale.unit == UNITS[0].key
    assert stale.checkpoint
    assert text(FolderStatus(stale=(stale,)))[-1].endswith("goes on from its checkpoint")


def test_a_damaged_file_is_passed_over(tmp_path: Path, writer: StatusWriter) -> None:
    writer.plan(plan_of(*UNITS), UNITS)
    seen(tmp_path, lambda study: study.units)
    folder = folder_of(tmp_path / ".scratch")
    whole = json.loads(of_another(tmp_path).read_text())
    (folder / "node.1.json").write_text("{")
    (folder / "node.2.json").write_text('{"version": 1, "host": "node"}')
    (folder / "node.3.json").write_text('{"version": 99, "host": "node", "pid": 3}')
    (folder / "node.4.json").write_text('{"version": "new", "host": "node", "pid": 4}')
    (folder / "node.5.json").write_text(json.dumps(whole | {"plan": ["of others"]}))
    (folder / "x.plan.json").write_text('{"version": 1, "units": 7}')
    (folder / "y.plan.json").write_text('{"version": [1], "units": []}')
    (found,) = look(tmp_path).studies
    assert len(found.commands) == 2


def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / ".scratch").write_text("a file where a folder should be")
    with told(study(), tmp_path / ".scratch") as status:
        status.plan(plan_of(*UNITS), UNITS)
        status.report(training(UNITS[0]))
        time.sleep(0.1)


def test_ten_thousand_units_are_counted_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10_000):
        (tmp_path / "runs" / "busi" / f"net.method.r{number}.{number:016x}").mkdir(parents=True)
    opened: list[Any] = []
    original = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, *a, **k: opened.append(self) or original(self, *a, **k)
    )
    assert look(tmp_path).others == {"busi": 10_000}
    assert not opened


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5400, "1 h 30 min"), (200_000, "2 d 7 h")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_an_ensemble_is_a_unit_like_others(tmp_path: Path, writer: StatusWriter) -> None:
    first, second = run_spec("egmae"), run_spec("scratch")
    both: UnitSpec = mean_of(first, second)
    for unit in (first, second, both):
        assert isinstance(unit, RunSpec) or unit.kind == "ensemble"
        done(tmp_path, unit)
    writer.plan(plan_of(first, second, both), [])
    assert seen(tmp_path, lambda study: study.units).done == 3
    assert summary(look(tmp_path).studies[0]) == "phantom: egmae, scratch, quick: 3 of 3 units done"


# --- on real processes -------------------------------------------------------------------------------

HEAD = """
import sys, time
from test_status import UNITS, plan_of, study, training
from pathlib import Path
from bench.execution.claim import claim
from bench.execution.status_file import told

unit, scratch = UNITS[int(sys.argv[1])], Path("results", ".scratch")
with told(study(), scratch) as status, claim(scratch, unit.key):
    status.plan(plan_of(*UNITS), UNITS)
    for step in range(10_000):
        status.report(training(unit, step=step % 10 + 1, epoch=1 + step // 10))
        time.sleep(0.1)
"""
"""A command that has the given unit of a study at work, and computes nothing."""


@contextmanager
def process(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    place = environment(PYTHONPATH=os.pathsep.join([str(TESTS.parent), str(TESTS)]))
    nowhere = subprocess.DEVNULL
    started = subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, env=place, stdout=nowhere, stderr=nowhere
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def state(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bench(folder, "status", "--format", "json").stdout)
    return found


def test_two_commands_one_of_which_is_killed(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    assert bench(tmp_path, "status").stdout == "nothing runs on results\n"
    with process(tmp_path, "-c", HEAD, "0") as first, process(tmp_path, "-c", HEAD, "1") as second:
        seen(results, lambda study: study.at_work == 2, 120)
        (shown,) = state(tmp_path)["studies"]
        assert (shown["units"], shown["done"], shown["at_work"], shown["to_do"]) == (4, 0, 2, 2)
        assert {command["pid"] for command in shown["commands"]} == {first.pid, second.pid}
        watching = subprocess.Popen(
            command("status", "--watch"), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
        )
        assert watching.stdout
        assert (
            "phantom: egmae, scratch, quick: 0 of 4 units done, 2 at work, 2 to do"
            in watching.stdout.readline()
        )
        first.kill()  # and is not waited for: a process without a parent that would
        found = state(tmp_path)
        assert sorted(command["state"] for command in found["studies"][0]["commands"]) == ["at work", "gone"]
        assert found["studies"][0]["at_work"] == 1
        assert [claim["unit"] for claim in found["stale"]] == [UNITS[0].label]
        said = bench(tmp_path, "status").stdout
        assert f"process {first.pid} was killed " in said
        assert "with 1 unit at work; the same command goes on from there" in said
        assert f"{UNITS[0].label}: process {first.pid}, last seen " in said
        second.send_signal(signal.SIGINT)
        second.wait(120)
        lines, _ = watching.communicate(timeout=120)
    assert watching.returncode == 0
    assert lines.splitlines()[-1] == "nothing runs any more"
    assert not state(tmp_path)["runs"]


@pytest.mark.long
def test_a_run_is_seen_at_work_killed_and_taken_up_again(tmp_path: Path) -> None:
    """By the command itself: what it leaves for others while it trains."""
    folder, results = workspace(tmp_path), tmp_path / "results"
    arguments = ["run", *PHANTOM, "-s", "scratch", "-p", "tiny.toml", "--in-process"]
    long = ["--set", "protocol.finetune.epochs=20000"]
    with process(folder, "-m", "bench", *arguments, *long) as run:
        found = seen(results, lambda study: any(u.epoch for c in study.commands for u in c.at_work), 240)
        assert (found.units, found.at_work, found.to_do) == (1, 1, 0)
        (unit,) = found.commands[0].at_work
        assert (unit.unit, unit.stage, unit.epochs) == ("test_convnext.scratch.r0", "fine-tune", 20000)
        assert unit.loss
        assert unit.images_per_s
        run.kill()
        run.wait()
    gone = look(results)
    assert not gone.runs
    assert [claim.unit for claim in gone.stale] == ["test_convnext.scratch.r0"]
    bench(folder, *arguments)  # another study, for which what is dead is cleared away
    left = look(results)
    assert [(study.done, study.commands) for study in left.studies] == [(1, ()), (0, ())]


def test_watching_on_a_terminal_ends_with_the_study_or_with_ctrl_c(tmp_path: Path) -> None:
    with told(study(), tmp_path / "results" / ".scratch") as status:
        status.plan(plan_of(*UNITS), UNITS)
        status.report(training(UNITS[0]))
        seen(tmp_path / "results", lambda study: study.at_work)
        arguments = {"env": environment(), "cwd": tmp_path, "columns": 80, "height": 20}
        with Terminal(command("status", "--watch"), **arguments) as watch:  # type: ignore[arg-type]
            lines = watch.wait_for(lambda lines: any("epoch 1/6" in line for line in lines))
            assert all(len(line) <= 80 for line in lines)
            watch.type("\x03")
            assert watch.wait() == 130
            assert not any("Traceback" in line for line in watch.screen.lines)
        with Terminal(command("status", "-w"), **arguments) as watch:  # type: ignore[arg-type]
            watch.wait_for(lambda lines: any("epoch 1/6" in line for line in lines))
            status.report(training(UNITS[0], epoch=5))
            watch.wait_for(lambda lines: any("epoch 5/6" in line for line in lines))
            status.stop()
            assert watch.wait() == 0
            assert "nothing runs any more" in watch.screen.lines


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    done = bench(tmp_path, "status", "--results", "nowhere", code=2)
    assert done.stderr == "error: --results nowhere: no such folder; name the one that `bench run` filled\n"
