"""The benchmarks of whole processes: programs of others beside `bench run`, and the settings of a process."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmark_modules import module_of

import bench
from bench import process as setup

ROOT = Path(__file__).parent.parent

bare, command, process = (module_of(f"benchmarks.{name}") for name in ("bare", "command", "process"))
alternate, contestants, images, sources, peers = (
    module_of(f"benchmarks.peers.{name}")
    for name in ("alternate", "contestants", "images", "sources", "__main__")
)


def ran(seconds: float) -> Any:
    return command.Ran(seconds, 1.0, 0.5, 10, 100.0, None, "")


# --- a command ---------------------------------------------------------------------------------------


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_a_command_has_the_environment_it_is_given_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    said = command.run(python("import os; print(os.environ, os.getcwd())"), {"A": "1"}, tmp_path).output
    assert "'A': '1'" in said
    assert "OMP_WAIT_POLICY" not in said
    assert str(tmp_path) in said


def test_a_command_is_timed_with_what_it_starts(tmp_path: Path) -> None:
    grandchild = "x = bytearray(300 << 20)\nx[::4096] = b'1' * len(x[::4096])\nimport time\ntime.sleep(2.5)"
    ours = b"1" * (700 << 20)  # what this process holds is not the command's
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    whole = command.run(
        python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"),
        environment,  # without huge pages, of which a fault brings many small ones
        tmp_path,
        look_at_memory=True,
    )
    assert whole.seconds > 2
    assert whole.user + whole.system > 0
    assert whole.faults > 70_000  # pages of 300 MiB
    assert len(ours) > 600 << 20
    assert 300 < whole.largest < 600
    if Path("/proc/self/smaps_rollup").exists():
        assert 300 < whole.together < 600
    assert command.run(python(""), os.environ, tmp_path).together is None


def test_a_command_that_fails_says_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(command.CommandFailed, match="exit code 1: ValueError: so it is"):
        command.run(python("raise ValueError('so it is')"), os.environ, tmp_path)
    with pytest.raises(command.CommandFailed, match="exit code 127: no-such-command: No such file"):
        command.run(["no-such-command"], os.environ, tmp_path)
    with pytest.raises(command.CommandFailed, match="exit code -9: no output"):
        command.run(python("import os; os.kill(os.getpid(), 9)"), os.environ, tmp_path)


def test_what_a_command_leaves_is_ended(tmp_path: Path) -> None:
    left = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid)"
    pid = int(command.run(python(left), os.environ, tmp_path).output)
    ends = time.monotonic() + 10
    while _running(pid) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not _running(pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nobody adopts it")
def test_what_a_command_leaves_is_counted_if_it_ends_soon(tmp_path: Path) -> None:
    left = "import time\nwhile time.process_time() < 1.5: pass"  # as the workers of a fork server
    whole = command.run(
        python(f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {left!r}])"),
        os.environ,
        tmp_path,
    )
    assert whole.user + whole.system > 1.5


def test_a_benchmark_that_is_ended_ends_its_command(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from benchmarks.command import ended_with_this, run\n"
        "with ended_with_this():\n"
        f"    run([sys.executable, '-c', {WRITES_ITSELF!r}], os.environ, Path(sys.argv[1]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT)
    try:
        ends = time.monotonic() + 60
        while not (tmp_path / "pid").exists() and time.monotonic() < ends:
            time.sleep(0.05)
        pid = int((tmp_path / "pid").read_text())
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert not _running(pid)


WRITES_ITSELF = """
import os, time
open("new", "w").write(str(os.getpid()))
os.rename("new", "pid")
time.sleep(60)
"""


def _running(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_commands_one_after_another_are_summed() -> None:
    whole = command.one_after_another([lambda: ran(1.0), lambda: ran(2.5)])
    assert (whole.seconds, whole.user, whole.system, whole.faults) == (3.5, 2.0, 1.0, 20)
    assert (whole.largest, whole.together) == (100.0, None)


# --- the settings of a process -----------------------------------------------------------------------


def test_settings_are_compared_with_a_process_that_has_none_of_them() -> None:
    started_with = {"PATH": "/bin", "OMP_WAIT_POLICY": "PASSIVE", "MALLOC_ARENA_MAX": "1", "LD_PRELOAD": "x"}
    assert process.without_settings(started_with) == {"PATH": "/bin"}
    settings = list(process.every_setting())
    assert settings[0] == process.DEFAULT
    assert (settings[0].environment, settings[0].mallopt) == ({}, {})
    assert len({setting.name for setting in settings}) == len(settings) >= 15
    different = {json.dumps([dict(s.environment), dict(s.mallopt)], sort_keys=True) for s in settings}
    assert len(different) == len(settings)
    for setting in settings:
        assert process.without_settings(setting.environment) == {}
        assert ("memory kept" in setting.name) == (setting.mallopt == bare.KEPT)
    both = [(setting.environment, setting.mallopt) for setting in settings]
    assert (bare.OURS, bare.KEPT) in both
    assert (bare.BEST, bare.KEPT) in both


def test_our_process_is_the_one_that_bench_sets_up(monkeypatch: pytest.MonkeyPatch) -> None:
    environment, mallopt = bare.OURS, bare.KEPT
    for name in environment:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    setup.set_environment()
    assert {name: os.environ[name] for name in environment} == environment
    assert mallopt == {"M_MMAP_MAX": 0, "M_TRIM_THRESHOLD": setup.KEPT}
    assert (bare.MALLOPT["M_MMAP_MAX"], bare.MALLOPT["M_TRIM_THRESHOLD"]) == (
        setup.M_MMAP_MAX,
        setup.M_TRIM_THRESHOLD,
    )


def test_how_threads_wait_is_nothing_to_one_thread() -> None:
    cases = list(process.cases(list(process.every_setting()), ["idle", "busy"]))
    alone = {case.setting.name for case in cases if case.threads == 1}
    assert {"PyTorch's default", "PyTorch's default, memory kept", "PASSIVE, spin 3000, hugetlb=1"} <= alone
    assert not {"PASSIVE", "PASSIVE, spin 3000, memory kept"} & alone
    for group in ((2, "idle"), (2, "busy"), (1, "idle"), (1, "busy")):
        first = next(case for case in cases if (case.threads, case.load) == group)
        assert first.setting == process.DEFAULT, "the others are compared with it"


def step_of(seconds: float) -> Any:
    keys = ("step_s", "steps", "system_share", "faults_per_step", "peak_mib", "threads")
    return dict(zip(keys, (seconds, 9, 0.1, 50.0, 900.0, 2), strict=True))


def test_each_round_compares_with_the_default_in_it() -> None:
    fast, broken = process.Setting("fast", {"OMP_X": "1"}), process.Setting("broken")
    all_times = [
        process.Times(process.Case(setting, 2, "idle")) for setting in (process.DEFAULT, fast, broken)
    ]
    seconds = {process.DEFAULT.name: [0.1, 0.4, 0.2], "fast": [0.05, 0.1, 0.1]}
    tried: list[str] = []

    def once(case: Any) -> Any:
        tried.append(case.setting.name)
        if case.setting == broken:
            raise command.CommandFailed("exit code 1: no mallopt here")
        return step_of(seconds[case.setting.name].pop(0))

    for _ in range(3):
        all_times = list(process.timed_again(all_times, once))
    assert tried.count("broken") == 1
    rows = [process.row_of(times) for times in all_times]
    assert rows[0]["over_default"] == 1.0
    assert rows[1]["over_default"] == 0.5  # of 0.5, 0.25 and 0.5
    assert (rows[1]["step_ms"], rows[1]["step_ms_min"], rows[1]["step_ms_max"]) == (100.0, 50.0, 100.0)
    assert (rows[2]["step_ms"], rows[2]["problem"]) == (None, "exit code 1: no mallopt here")
    text = process.as_markdown(rows, {"date": "today"}, "python -m benchmarks.process --rounds 2")
    assert "Written by `python -m benchmarks.process --rounds 2`." in text
    assert "## 2 threads, idle" in text
    assert "| fast | 100 | 50 to 100, 3 processes | 0.5 | 0.1 | 50 | 900 |" in text
    assert "| broken | - | exit code 1: no mallopt here | - | - | - | - |" in text


def test_a_bare_step_runs_under_its_settings(tmp_path: Path) -> None:
    # One thread by a variable that counts only where it is set before torch is loaded.
    words = bare.command(
        {"OMP_NUM_THREADS": "1"}, {}, model="tf_efficientnet_lite0", size=32, batch=3, seconds=0.0
    )
    environment = {name: text for name, text in os.environ.items() if name != "OMP_NUM_THREADS"}
    timed = bare.read(command.run(words, environment, tmp_path).output)
    assert (timed["threads"], timed["steps"]) == (1, 5)
    assert timed["step_s"] > 0
    assert timed["peak_mib"] > 100


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_mallopt_is_called_before_torch_is_loaded(tmp_path: Path) -> None:
    pytest.importorskip("ctypes")
    spy = tmp_path / "sitecustomize.py"
    spy.write_text(
        "import ctypes, sys\n"
        "class C:\n"
        "    def __init__(self, name): pass\n"
        "    def mallopt(self, number, value):\n"
        "        print('mallopt', number, value, 'torch' in sys.modules)\n"
        "        return int(value != 7)\n"
        "ctypes.CDLL = C\n"
    )
    words = bare.command({}, {**bare.KEPT, "M_ARENA_MAX": 7}, model="", size=8, batch=1, seconds=0.0)
    with pytest.raises(command.CommandFailed, match=r"no mallopt\(M_ARENA_MAX, 7\) here"):
        command.run(words, {**os.environ, "PYTHONPATH": str(tmp_path)}, tmp_path)
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        "mallopt -4 0 False",
        "mallopt -1 2000000000 False",
        "mallopt -8 7 False",
    ]


# --- images ------------------------------------------------------------------------------------------


def write_images(folder: Path, counts: Mapping[str, int], side: int = 8) -> None:
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 256, (side, side), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def laid_out(folder: Path) -> dict[str, list[str]]:
    return {
        part: sorted(f"{p.parent.name}/{p.name}" for p in (folder / part).glob("*/*") if p.is_file())
        for part in ("train", "val", "test")
    }


def test_images_are_laid_out_in_whole_batches(tmp_path: Path) -> None:
    write_images(tmp_path / "given", {"a": 40, "b": 20})
    (tmp_path / "given" / "a" / "0_mask.png").touch()
    (tmp_path / "given" / "a" / "notes.txt").touch()
    there = images.lay_out(tmp_path / "given", tmp_path / "one", batch=16)
    assert (there.classes, there.counts) == (2, {"train": 32, "val": 6, "test": 22})
    parts = laid_out(tmp_path / "one")
    assert {part: len(names) for part, names in parts.items()} == there.counts
    assert len({name for names in parts.values() for name in names}) == 60
    assert all({name[0] for name in names} == {"a", "b"} for names in parts.values())
    images.lay_out(tmp_path / "given", tmp_path / "two", batch=16)
    assert laid_out(tmp_path / "two") == parts


def test_a_split_that_is_given_is_kept_but_for_a_short_batch(tmp_path: Path) -> None:
    for part, count in (("train", 11), ("val", 3)):
        write_images(tmp_path / "given" / part, {"a": count, "b": count})
    there = images.lay_out(tmp_path / "given", tmp_path / "out", batch=4)
    assert there.counts == {"train": 20, "val": 6, "test": 2}
    assert len(laid_out(tmp_path / "out")["val"]) == 6
    with pytest.raises(bench.DataError, match=r"22 images for training .* a batch of 32 and one are needed"):
        images.lay_out(tmp_path / "given", tmp_path / "none", batch=32)


# --- scripts of others -------------------------------------------------------------------------------


def pinned(address: Path, **files: str) -> Any:
    import hashlib

    return sources.Pinned(
        "--it FILE",
        "v1",
        address.as_uri(),
        {f"{name}.py": hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()},
    )


def test_scripts_are_downloaded_once_and_checked(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    for name in ("train", "utils"):
        (tmp_path / "web" / f"{name}.py").write_text(name)
    script = pinned(tmp_path / "web", train="train", utils="utils")
    cache = tmp_path / "cache" / "deep"
    assert sources.find(script, None, cache) == (cache / "train.py", "v1")
    assert {path.name: path.read_text() for path in cache.iterdir()} == {
        "train.py": "train",
        "utils.py": "utils",
    }
    (tmp_path / "web" / "utils.py").unlink()
    assert sources.find(script, None, cache) == (cache / "train.py", "v1")
    (cache / "utils.py").write_text("changed")
    with pytest.raises(sources.Missing, match=r"utils.py cannot be read .* name it by --it FILE"):
        sources.find(script, None, cache)
    (tmp_path / "web" / "utils.py").write_text("changed upstream")
    with pytest.raises(sources.Missing, match="is not the file whose sha256 is"):
        sources.find(script, None, cache)
    assert (cache / "utils.py").read_text() == "changed"


def test_scripts_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("train")
    (tmp_path / "any name").write_text("other")
    one, two = pinned(tmp_path, train="train"), pinned(tmp_path, train="train", utils="utils")
    assert sources.find(one, tmp_path, Path()) == (tmp_path / "train.py", "v1")
    another = "of another version than the pinned one"
    assert sources.find(one, tmp_path / "any name", Path()) == (tmp_path / "any name", another)
    with pytest.raises(sources.Missing, match=r"utils\.py missing in the folder that --it FILE names"):
        sources.find(two, tmp_path, Path())


def test_a_package_that_is_not_there_is_said() -> None:
    sources.need("pytest")
    with pytest.raises(sources.Missing, match=r"no_such_package is not installed; pip install 'medbench"):
        sources.need("no_such_package")


# --- what the programs are told, and say -------------------------------------------------------------


@pytest.fixture
def work(tmp_path: Path) -> Any:
    there = images.Images(tmp_path / "images", 3, {"train": 64, "val": 9, "test": 20})
    return contestants.Work(there)


def value_of(words: Sequence[str], option: str) -> str:
    return words[words.index(option) + 1]


def test_all_programs_are_told_the_same_work(work: Any, tmp_path: Path) -> None:
    order = contestants.Order(epochs=7, out=tmp_path / "out", workers=3, seed=5)
    timm = contestants.timm(tmp_path / "train.py", "v1").command(work, order)
    torchvision = contestants.torchvision(tmp_path / "train.py", "").command(work, order)
    plain, lightly = (make().command(work, order) for make in (contestants.plain, contestants.lightly))
    for words, names in (
        (timm, ("--img-size", "--batch-size", "--epochs", "--workers", "--lr", "--weight-decay")),
        (
            torchvision,
            ("--train-crop-size", "--batch-size", "--epochs", "--workers", "--lr", "--weight-decay"),
        ),
        (plain, ("--size", "--batch", "--epochs", "--workers", "--rate", "--decay")),
        (lightly, ("--size", "--batch", "--epochs", "--workers", "--rate", "--decay")),
    ):
        assert [value_of(words, name) for name in names] == ["96", "16", "7", "3", "0.0005", "0.05"]
        assert str(tmp_path / "images") in words
        assert value_of(words, "--model") == "tf_efficientnet_lite0"
        assert value_of(words, "--device") == "cpu"
    assert value_of(timm, "--seed") == "5"
    for ours, strategy, stage in (
        (contestants.finetuning(rounds=4), "scratch", "finetune"),
        (contestants.pretraining(), "mae", "pretrain"),
    ):
        words = ours.command(work, order)
        assert words[1:4] == ["-m", "bench", "run"]
        assert (value_of(words, "--strategies"), value_of(words, "--results")) == (strategy, str(order.out))
        settings = {words[i + 1] for i, word in enumerate(words) if word == "--set"}
        assert {f"protocol.{stage}.epochs=7", "protocol.precision=fp32", "protocol.seed=5"} <= settings
        assert {"protocol.size=96", f"protocol.{stage}.batch=16"} <= settings
    assert value_of(contestants.finetuning(rounds=4).command(work, order), "--rounds") == "4"


TIMM_LOG = """\
Train: 0 [   0/4 ( 25%)]  Loss: 9.89 (9.89)  Time: 0.356s
Train: 0 [   3/4 (100%)]  Loss: 5.08 (8.01)  Time: 0.270s
Test: [   0/0]  Time: 0.052 (0.052)  Loss:   2.726 ( 2.726)
Train: 1 [   3/4 (100%)]  Loss: 5.77 (5.89)  Time: 0.263s
"""
TORCHVISION_LOG = """\
Epoch: [0]  [ 0/12]  eta: 0:00:02  lr: 0.0005  loss: 2.9144 (2.9144)  acc1: 50.0 (50.0)  time: 0.4102
Epoch: [0]  [10/12]  eta: 0:00:02  lr: 0.0005  loss: 1.9144 (2.5000)  acc1: 50.0 (50.0)  time: 0.4102
Epoch: [0] Total time: 0:00:01
Test:  Acc@1 40.000 Acc@5 100.000
Epoch: [1]  [ 0/12]  eta: 0:00:01  lr: 0.00025  loss: 2.4185 (2.4185)  acc1: 62.5 (62.5)  time: 0.2106
Test:  Acc@1 20.000 Acc@5 100.000
"""


def test_logs_are_read(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    lines = ["epoch,train_loss,eval_loss,eval_top1", "0,8.01,2.7,10.0", "1,5.89,5.8,20.0"]
    (tmp_path / "run" / "summary.csv").write_text("\n".join(lines))
    learned = contestants.Learned
    assert contestants.read_timm(TIMM_LOG, tmp_path) == [learned(4, (8.01, 5.89), 0.2)]
    assert contestants.read_torchvision(TORCHVISION_LOG, tmp_path) == [learned(12, (2.5, 2.4185), 0.2)]
    lines = [
        "a warning",
        '{"steps": 4, "loss": 1.5, "accuracy": 0.5}',
        '{"steps": 4, "loss": 1.25, "accuracy": 0.75}',
    ]
    assert contestants.read_lines("\n".join(lines), tmp_path) == [learned(4, (1.5, 1.25), 0.75)]
    assert contestants.read_lines('{"steps": 4, "loss": 1.5}', tmp_path) == [learned(4, (1.5,), None)]
    for unit, loss in (("r0", 1.0), ("r1", 2.0)):
        (tmp_path / "runs" / unit).mkdir(parents=True)
        record = {
            "history": {"loss": [loss, 0.5], "validation_accuracy": [0.25, 0.5]},
            "timings": {"steps": 8},
        }
        (tmp_path / "runs" / unit / "record.json").write_text(json.dumps(record))
    read = contestants.finetuning().learned("", tmp_path)
    assert read == [learned(4, (1.0, 0.5), 0.5), learned(4, (2.0, 0.5), 0.5)]
    assert contestants.finetuning(selection="last").learned("", tmp_path)[0].accuracy is None


def test_other_work_is_refused(work: Any) -> None:
    right = contestants.Learned(4, (2.0, 1.0))
    contestants.check([right, right], work, 2, trainings=2)
    for wrong, epochs, said in (
        ([right], 3, "4 steps in each of 2 epochs, not 4 in 3"),
        ([contestants.Learned(5, (2.0, 1.0))], 2, "5 steps in each of 2 epochs, not 4 in 2"),
        ([], 2, "0 trainings, not 1"),
    ):
        with pytest.raises(contestants.Differs, match=said):
            contestants.check(wrong, work, epochs)


def test_what_was_learned_is_said() -> None:
    learned = [
        contestants.Learned(4, (2.0, loss), accuracy)
        for loss, accuracy in ((1.0, 0.5), (3.0, 0.75), (1.5, 0.25))
    ]
    assert peers.lesson(learned) == (
        "4 steps an epoch, loss 2 to 1.5 (IT DID NOT FALL in 1 of 3 runs), validation accuracy 0.500"
    )
    assert peers.lesson([contestants.Learned(4, (2.0, 1.0))]) == "4 steps an epoch, loss 2 to 1"


def test_the_command_is_written_without_paths_and_defaults() -> None:
    options = {"data": "DIR", "images": 780, "timm-train": None, "extra": 0, "only": "study", "name": "peers"}
    command = peers.command_line("benchmarks.peers", peers.main, options)
    assert command == "python -m benchmarks.peers --data DIR --extra 0 --only study"


# --- in turn -----------------------------------------------------------------------------------------


def test_ours_is_run_before_and_after_each_peer() -> None:
    order: list[tuple[str, int]] = []
    pace = {"": 1.0, "a": 2.0, "b": 3.0}

    def runner(name: str) -> Any:
        def train(epochs: int) -> Any:
            order.append((name, epochs))
            return ran(10 + epochs * pace[name])

        return train

    visits = alternate.alternate(runner(""), {"a": runner("a"), "b": runner("b")}, 6, 4, rounds=2)
    names = ["", "a", "", "b", "", "a", "", "b", ""]
    assert order == [(name, epochs) for name in names for epochs in (6, 10)]
    rows = {
        row.what: row
        for row in alternate.figures(
            "s", {"": "ours", "a": "A", "b": "B"}, visits, {"": "", "a": "well", "b": ""}, enough=2
        )
    }
    assert (rows["ours: whole process"].value, rows["ours: an epoch"].value) == (16.0, 1.0)
    assert (rows["A: whole process"].value, rows["A: whole process / ours"].value) == (22.0, 22 / 16)
    assert rows["A: whole process"].note == "22 to 22, 2 runs; well"
    assert rows["B: an epoch / ours"].value == 3.0
    assert rows["B: an epoch / ours"].note == "3.000 to 3.000, 2 pairs, 0 rejected"
    assert (rows["B: in the kernel"].value, rows["B: largest process"].value) == (0.5, 100.0)


def test_a_machine_that_changes_its_speed_ends_it_without_a_ratio() -> None:
    seconds = iter([float(2**i) for i in range(20)])
    visits = alternate.alternate(lambda epochs: ran(next(seconds)), {"a": lambda epochs: ran(1.0)}, 6, 0, 3)
    assert len(visits.of["a"]) == 6
    turns = [(pair.before, pair.work, pair.after) for pair in visits.whole("a")]
    assert turns == [(2.0**i, 1.0, 2.0 ** (i + 1)) for i in range(6)]
    rows = list(alternate.figures("s", {"": "ours", "a": "A"}, visits, {"": "", "a": ""}, 3))
    by_name = {row.what: row for row in rows}
    assert by_name["A: whole process / ours"].value is None
    assert "A: an epoch" not in by_name  # there were no long runs


def race_of(work: Any, scratch: Path, **found: Any) -> Any:
    return peers.Race(work, found, dict(os.environ), scratch, 2, 0, 1, 2)


def test_epochs_are_compared_with_steps_in_both_processes(
    work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch takes 5 s beside a start of 9 s; a bare step a second, with more spins half a second."""

    def bare_step(words: list[str], *rest: Any) -> Any:
        seconds = 0.5 if f"GOMP_SPINCOUNT={bare.BEST['GOMP_SPINCOUNT']}" in words else 1.0
        return replace(ran(1.0), output=json.dumps({"step_s": seconds}))

    monkeypatch.setattr(peers, "run", bare_step)
    monkeypatch.setattr(peers, "once", lambda ours, race, epochs: (ran(9.0 + 5.0 * epochs), []))
    race = replace(race_of(work, tmp_path), extra=1, rounds=2)
    rows = {row.what: row.value for row in peers.steps(race)}
    assert rows["bench: an epoch without evaluation"] == 5.0
    steps = work.steps
    assert rows["bench: an epoch / bare steps in a process like ours"] == pytest.approx(5.0 / steps)
    fastest = "bench: an epoch / bare steps in the fastest process on an idle machine"
    assert rows[fastest] == pytest.approx(10.0 / steps)
    assert [row.value for row in peers.steps(replace(race, extra=0))] == [None]


def test_a_peer_that_is_not_there_is_a_row_and_nothing_is_run(
    work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Any:
        raise sources.Missing("it is elsewhere")

    monkeypatch.setattr(peers, "run", None)
    race = race_of(work, tmp_path, timm=missing, torchvision=missing, plain=missing, lightly=missing)
    for section in ("fine-tuning", "pretraining", "study"):
        rows = list(peers.SECTIONS[section](race))
        assert {row.what for row in rows} <= {"timm", "torchvision", "plain", "lightly"}
        assert {(row.value, row.note) for row in rows} == {(None, "it is elsewhere")}


def test_each_program_has_its_best_number_of_workers(
    work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {0: 9.0, 1: 5.0, 2: 4.0, 4: 6.0}
    program = contestants.Contestant(
        "it",
        lambda work, order: [str(order.workers)],
        lambda output, out: [contestants.Learned(4, (2.0, 1.0))],
    )
    monkeypatch.setattr(peers, "run", lambda words, environment, folder, look: ran(seconds[int(words[0])]))
    race = race_of(work, tmp_path)
    rows = list(peers.best_workers("s", "it", program, race))
    assert race.workers == {"it": 2}
    assert (rows[0].value, rows[0].note) == (2, "0: 9.0 s, 1: 5.0 s, 2: 4.0 s, 4: 6.0 s")


@pytest.mark.long
def test_the_plainest_loop_and_ours_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole benchmark, on images so small and few that it takes as long as the programs take to start."""
    write_images(tmp_path / "data", {"a": 24, "b": 24}, side=40)
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "GLIBC_TUNABLES"):
        monkeypatch.setenv(name, "")  # so that it is taken away again
        monkeypatch.delenv(name)
    elsewhere = pinned(tmp_path / "no such folder", train="")
    for name in ("TIMM", "TORCHVISION"):
        monkeypatch.setattr(peers, name, elsewhere)
    monkeypatch.setattr(peers, "_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(peers, "WORKERS", (0, 1))
    environments: list[Mapping[str, str]] = []

    def spied(words: Any, environment: Mapping[str, str], *rest: Any) -> Any:
        environments.append(environment)
        return command.run(words, environment, *rest)

    monkeypatch.setattr(peers, "run", spied)
    peers.main(
        data=tmp_path / "data",
        images=0,
        side=0,
        timm_train=None,
        torchvision_reference=None,
        epochs=2,
        extra=0,
        rounds=1,
        units=2,
        device="cpu",
        only="fine-tuning",
        results=tmp_path / "results",
    )
    assert len(environments) >= 6  # two of its own to find the number of workers, ours, and ours around it
    # `bench` sets it for the process that measures, and not for those that are measured.
    ours_alone = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "GLIBC_TUNABLES"}
    assert not any(ours_alone & set(e) for e in environments)
    (written,) = (tmp_path / "results").rglob("peers.csv")
    rows = {row["what"]: row for row in csv.DictReader(written.read_text().splitlines())}
    for name in ("timm", "torchvision"):
        assert (rows[name]["value"], "cannot be read" in rows[name]["note"]) == ("", True)
    assert float(rows["bench: whole process"]["value"]) > 1
    workers = round(float(rows["the plainest loop: best number of workers"]["value"]))
    loop = rows[f"the plainest loop, {workers} workers: whole process"]
    assert float(loop["value"]) > 1
    for row in (loop, rows["bench: whole process"]):
        assert "2 steps an epoch, loss" in row["note"]
        assert "validation accuracy" in row["note"]
    assert f"the plainest loop, {workers} workers: whole process / ours" in rows
    text = written.with_suffix(".md").read_text()
    assert "given: {'train': 32, 'val': 4, 'test': 12}" in text
    assert str(tmp_path / "data") not in text
