"""What third parties' functions do to the process of a command that calls them: an error of that call."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from commands import environment
from typer.testing import CliRunner

from bench import DataNotFound, Environment, PluginError, Predictions, Session
from bench.cli import app
from bench.comparison.reporters import render
from bench.execution import apart
from bench.execution.apart import contained
from bench.identity import Ref
from bench.registry import Registry, collect
from bench.results.score import try_score

LIMIT = 0.5  # seconds, after which a call hangs
PREDICTIONS = Predictions(
    classes=("a", "b"), ids=("0", "1"), groups=("0", "1"), labels=np.array([0, 1]), probabilities=np.eye(2)
)
CAUSES = {
    "exits": "SystemExit: 0 (",
    "exits_hard": "its process ended before it did: exit code 0 (",
    "crashes": "its process ended before it did: killed by SIGSEGV (",
    "hangs": "took longer than 0.5 seconds (",
    "interrupts": "KeyboardInterrupt (",
    "speechless": "Speechless: (its message cannot be shown) (",
}


@pytest.fixture(scope="module")
def plain(plugins: Path) -> Iterator[Registry]:
    """Of the installed plugins and the misdeeds, which would end this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(plugins))
        yield collect(entry_points(group="bench"))


@pytest.fixture(scope="module")
def registry(plain: Registry) -> Iterator[Registry]:
    """One child for all tests, but where a misdeed ends it."""
    with contained(plain, LIMIT) as registry:
        yield registry


def listing(kind: str, registry: Registry) -> str:
    session = Session(Environment(data=Path("nowhere"), results=Path("nowhere")), registry)
    with pytest.raises(PluginError) as raised:
        session.images(Ref("misdeed", {"kind": kind}), ())
    return str(raised.value)


def metric(kind: str, registry: Registry) -> str:
    metrics = [registry.metrics.get(f"metric_{kind}"), registry.metrics.get("accuracy")]
    scores = try_score(PREDICTIONS, metrics, registry)
    assert scores.values == {"accuracy": 1.0}  # the other cell stands
    return scores.problems[f"metric_{kind}"]


def reporter(kind: str, registry: Registry) -> str:
    with pytest.raises(PluginError) as raised:
        render(registry.reporters.get(f"reporter_{kind}"), (), registry)
    return str(raised.value)


@pytest.mark.parametrize("kind", CAUSES)
@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (listing, "repair the plugin, or what it reads"),
        (metric, "repair it, or leave it out with --metrics"),
        (reporter, "repair it, or choose another with --format"),
    ],
)
def test_what_a_function_does_is_an_error_of_its_call(
    plain: Registry, registry: Registry, call: Callable[[str, Registry], str], kind: str, remedy: str
) -> None:
    if (call, kind) == (listing, "hangs"):  # after which that data set would be listed no more
        with contained(plain, LIMIT) as own:
            said = call(kind, own)
    else:
        said = call(kind, registry)
    assert f"{CAUSES[kind]}plugin misdeeds (misdeeds 1.0), " in said
    assert "misdeeds.py:" in said
    assert said.endswith(f"; {remedy}")


def test_a_wrong_type_is_named_as_it_is_without_a_child(registry: Registry) -> None:
    assert "TypeError: index gave int instead of bench.Index" in listing("wrong_type", registry)
    assert "TypeError: render gave int instead of str" in reporter("wrong_type", registry)
    assert "TypeError: cannot pickle 'generator' object (plugin misdeeds (" in listing("unsendable", registry)


def test_what_is_printed_is_no_part_of_stdout(
    registry: Registry, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((4, 8, 8), np.uint8))
    ref = Ref("misdeed", {"kind": "prints"})
    assert len(registry.datasets.get("misdeed").index(tmp_path, registry.datasets.params(ref)).samples) == 4
    assert try_score(PREDICTIONS, [registry.metrics.get("metric_prints")], registry).values == {
        "metric_prints": 0.5
    }
    assert render(registry.reporters.get("reporter_prints"), (), registry) == "0 tables\n"
    assert capfd.readouterr().out == ""


def test_rows_of_memory_maps_are_not_copied(registry: Registry, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (6, 40, 50, 3), dtype=np.uint8)
    np.save(tmp_path / "rows.npy", rows)
    dataset = registry.datasets.get("misdeed")
    index = dataset.index(tmp_path, registry.datasets.params(Ref("misdeed", {"kind": "maps"})))
    for sample, row in zip(index.samples, rows, strict=True):
        assert np.array_equal(sample.array, row)
        assert not sample.array.flags.owndata
    with (tmp_path / "rows.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([rows[-1, -1, -1, -1] ^ 255]))
    assert index.samples[-1].array[-1, -1, -1] == rows[-1, -1, -1, -1] ^ 255  # what the file has now


def test_an_error_for_the_user_stays_what_it_is(registry: Registry, tmp_path: Path) -> None:
    dataset = registry.datasets.get("misdeed")
    with pytest.raises(DataNotFound, match=f"^nothing in {tmp_path}$"):
        dataset.index(tmp_path, registry.datasets.params(Ref("misdeed", {"kind": "lost"})))


def test_a_function_that_goes_on_ending_its_process_is_not_called_again(
    plain: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contained(plain, LIMIT) as registry:
        assert "took longer" in metric("hangs", registry)
        began = time.monotonic()
        assert "took longer" in metric("hangs", registry)
        assert time.monotonic() - began < LIMIT
        monkeypatch.setattr(apart, "TRIES", 1)
        assert "SIGSEGV" in metric("crashes", registry)
        began = time.monotonic()
        assert "SIGSEGV" in metric("crashes", registry)
        assert time.monotonic() - began < 0.2  # a child takes longer to start


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "-d", "misdeed", "-s", "scratch"),
        ("plan", "-d", "misdeed", "-s", "scratch"),
        ("data", "audit", "misdeed"),
        ("data", "split", "misdeed"),
        ("data", "verify", "misdeed"),
    ],
)
def test_each_command_that_lists_a_data_set_survives_it(
    plain: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """This process would not, if it listed the data set itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.registry.installed", lambda: plain)
    done = CliRunner().invoke(app, [*arguments, "--set", "dataset.misdeed.kind=crashes"])
    assert "its process ended before it did: killed by SIGSEGV" in str(done.exception)


def test_what_is_installed_with_bench_runs_where_it_is_called(plain: Registry, registry: Registry) -> None:
    same = {
        entry.plugin.distribution: entry.component is getattr(registry, kind).get(name)
        for kind in apart.FUNCTIONS
        for name, entry in getattr(plain, kind).entries.items()
    }
    assert same["medbench"]
    assert not same["misdeeds"]


def test_the_child_ends_with_the_process_that_started_it(plugins: Path, tmp_path: Path) -> None:
    """Also if that is killed while the child works."""
    script = (
        "import os, threading, time\n"
        "from bench.execution.apart import contained\n"
        "from bench.registry import installed\n"
        "score = contained(installed()).__enter__().metrics.get('metric_hangs').score\n"
        "threading.Thread(target=score, args=(None,), daemon=True).start()\n"
        "import multiprocessing as m\n"
        "while not m.active_children(): time.sleep(0.01)\n"
        "print(m.active_children()[0].pid, flush=True)\n"
        "time.sleep(1.0)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(plugins),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode == -9
    deadline = time.monotonic() + 10
    while Path(f"/proc/{int(done.stdout)}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{int(done.stdout)}").exists()
