"""The first signal writes a checkpoint at the step at work and says how to go on; a second ends at once."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from commands import bench, command, environment, install, workspace

# Epochs that are long enough for the signal to come in the middle of one.
LONG = (
    *("run", "-d", "phantom", "-m", "test_convnext", "-p", "tiny.toml", "-s", "egmae", "--ensembles", "none"),
    *("--threads", "1", "--set", "dataset.phantom.patients=60", "--set", "protocol.pretrain.epochs=4"),
    *("--set", "protocol.finetune.epochs=20"),
)


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: [signal.signal(s, signal.SIG_DFL) for s in (signal.SIGINT, signal.SIGHUP)],
    )


def wait_for_line(process: subprocess.Popen[str], text: str) -> str:
    """All that the process says on stderr until it says `text`."""
    said = ""
    assert process.stderr
    while text not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return said


def predictions(folder: Path) -> list[bytes]:
    files = sorted(folder.glob("results/*/phantom/*/*"))
    return [path.read_bytes() for path in files if path.suffix in (".parquet", ".safetensors")]


@pytest.mark.long
def test_the_first_signal_writes_a_checkpoint_and_the_command_goes_on_from_it(tmp_path: Path) -> None:
    """One study, interrupted by each signal in turn, in both stages and however units are run."""
    whole, folder = workspace(tmp_path / "whole"), workspace(tmp_path / "interrupted")
    assert bench(whole, *LONG).returncode == 0
    for name, moment, more in (
        ("SIGINT", "pretrain epoch", ()),
        ("SIGUSR1", "pretrain epoch", ()),
        ("SIGHUP", "pretrain epoch", ()),
        ("SIGTERM", "pretrain epoch", ("--in-process",)),
        ("SIGINT", "fine-tune epoch", ("--jobs", "2")),
    ):
        resumed = any(folder.glob("results/.scratch/checkpoints/*.pt"))
        process = started(folder, *LONG, *more)
        said = wait_for_line(process, moment)
        process.send_signal(getattr(signal, name))
        said += process.communicate(timeout=120)[1]
        assert process.returncode == 130, said
        (checkpoint,) = folder.glob("results/.scratch/checkpoints/*.pt")
        assert f"interrupted; to go on: bench {' '.join((*LONG, *more))}" in said
        assert "Traceback" not in said
        assert ("(resumed)" in said) == resumed
        stored = [place for place in ("pretrain", "runs") if any(folder.glob(f"results/{place}/*/*"))]
        assert stored == ["pretrain"] * ("fine-tune" in moment), "nothing half-written"
    again = bench(folder, *LONG)
    assert again.returncode == 0, again.stderr
    assert "(resumed)" in again.stderr
    assert len(predictions(whole)) == 2
    assert predictions(folder) == predictions(whole)
    assert not checkpoint.exists()
    assert list(folder.glob("results/.scratch/claims/*")) == []


def test_a_signal_while_it_starts_ends_it_with_the_same_words(tmp_path: Path) -> None:
    process = started(workspace(tmp_path), *LONG)
    time.sleep(0.7)  # it has begun, and torch is not loaded yet
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGTERM), said  # the latter before our first line has run
    assert "Traceback" not in said


def test_a_signal_in_code_that_python_runs_from_a_text_ends_it_alike(tmp_path: Path) -> None:
    """As dataclasses run some at import: Python ends by SIGINT then, whoever has caught the interruption."""
    plugin = tmp_path / "asking.py"
    plugin.write_text("exec('import os, signal; os.kill(os.getpid(), signal.SIGTERM)')\n")
    ended = bench(workspace(tmp_path / "w"), "list", plugins=install(tmp_path / "plugins", plugin))
    assert ended.returncode == 130, ended.stderr
    assert "interrupted; to go on: bench list" in ended.stderr


@pytest.mark.long
def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """With a unit that cannot come to a checkpoint: its process is stopped."""
    process = started(workspace(tmp_path), *LONG, "--jobs", "2")
    wait_for_line(process, "pretrain epoch 1/4")
    begun = psutil.Process(process.pid).children(recursive=True)
    workers = [
        child for child in begun if child.ppid() != process.pid or "spawn_main" in str(child.cmdline())
    ]
    assert workers
    for worker in workers:
        worker.suspend()
    process.send_signal(signal.SIGTERM)
    time.sleep(1.0)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 130
    _, alive = psutil.wait_procs(begun, timeout=20)
    assert not alive, "what it had begun ends with it"
