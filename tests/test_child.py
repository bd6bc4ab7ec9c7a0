"""Processes beside this one that are forked off one which has loaded what they need."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from bench import Child, child, load_for_children, watched

LOADED = ("wave", "numpy.random")  # `wave`: nothing else loads it

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")


def serve(pipe: Connection, tracebacks: str) -> None:
    """Say what the process is, then do what it is told."""
    from numpy import random

    with watched(tracebacks):
        pipe.send(("wave" in sys.modules, os.environ.get("BENCH_TEST"), os.getppid(), random.random()))
        if pipe.recv() == "exit":
            os._exit(3)
        os.unlink(tracebacks)


@pytest.fixture
def server() -> Iterator[None]:
    """A fork server of this test's own."""
    forkserver._forkserver._stop()
    yield
    left = multiprocessing.active_children()
    for process in left:  # or Python would wait for it at its end
        process.kill()
    forkserver._forkserver._stop()
    assert not left


def serve_garbage(pipe: Connection, tracebacks: str) -> None:
    """Say whether garbage is collected, and how much is not looked at."""
    with watched(tracebacks):
        pipe.send((gc.isenabled(), gc.get_freeze_count()))
        os.unlink(tracebacks)


def begun(folder: Path, loaded: tuple[str, ...] = LOADED) -> tuple[Child, bool, str | None, int, float]:
    started = Child.start(serve, folder, loaded=loaded)
    assert started.pipe.poll(60)
    return (started, *started.pipe.recv())


def told(process: Child, word: str) -> int:
    process.pipe.send(word)
    process.process.join(30)
    code = process.process.exitcode
    assert code is not None
    return code


@linux
@pytest.mark.usefixtures("server")
def test_children_collect_garbage_but_not_in_what_was_loaded(tmp_path: Path) -> None:
    process = Child.start(serve_garbage, tmp_path, loaded=LOADED)
    assert process.pipe.poll(60)
    collects, frozen = process.pipe.recv()
    assert collects
    assert frozen > 1000
    process.end()


@linux
@pytest.mark.usefixtures("server")
def test_children_have_what_one_process_loaded_and_the_environment_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_TEST", "yesterday")
    assert load_for_children(LOADED)
    monkeypatch.setenv("BENCH_TEST", "today")
    first, *of_first = begun(tmp_path)
    second, *of_second = begun(tmp_path)
    spawned, *of_spawned = begun(tmp_path, loaded=())
    assert of_first[:2] == of_second[:2] == [True, "today"]
    assert of_first[2] == of_second[2] != os.getpid()
    assert of_spawned[:3] == [False, "today", os.getpid()]
    assert len({of_first[3], of_second[3], of_spawned[3]}) == 3, "numpy draws other numbers in each"
    for process in (first, second, spawned):
        assert told(process, "end") == 0
        assert process.where() == ""


@linux
@pytest.mark.usefixtures("server")
def test_what_cannot_be_loaded_is_left_to_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """And nothing is printed on the way."""
    (tmp_path / "noisy.py").write_text(
        "import warnings\nwarnings.warn('so old', FutureWarning)\nraise OSError"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process, loaded, *_ = begun(tmp_path, loaded=("noisy", "no_such_module", "wave"))
    assert loaded
    assert told(process, "end") == 0
    assert capfd.readouterr().err == ""
    assert child.PRELOAD not in os.environ


@linux
@pytest.mark.usefixtures("server")
def test_a_forked_child_that_exits_says_where(tmp_path: Path) -> None:
    process, *_ = begun(tmp_path)
    assert told(process, "exit") == 3
    assert process.ended_by() == ("exit code 3", 3)
    assert "test_child.py" in process.where()
    killed, *_ = begun(tmp_path)
    os.kill(killed.process.pid or 0, signal.SIGKILL)
    assert killed.ended_by() == ("killed by SIGKILL (memory?)", -9)
    assert killed.where() == ""


@linux
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("number", child.SIGNALS)
def test_signals_to_the_group_do_not_end_the_process_that_children_are_forked_off(
    tmp_path: Path, number: signal.Signals
) -> None:
    """It would seem that they had ended with it."""
    handler = signal.getsignal(number)
    assert load_for_children(LOADED)
    assert signal.getsignal(number) is handler
    os.kill(forkserver._forkserver._forkserver_pid, number)  # also while it still loads
    process, _, _, parent, _ = begun(tmp_path)
    os.kill(parent, number)
    assert told(process, "end") == 0


def test_elsewhere_children_start_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child.sys, "platform", "darwin")  # type: ignore[attr-defined]
    assert not load_for_children(LOADED)
    process, loaded, *_ = begun(tmp_path)
    assert not loaded
    assert told(process, "end") == 0
