"""A study goes on with the threads that it began with, and tables say where rows differ in them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from samples import predictions, record_of, run_spec

from bench import Environment, Session
from bench.engine import checkpoint
from bench.execution.threads import keep_threads
from bench.results import store
from bench.results.record import Provenance

UNITS = [run_spec(round_=round_) for round_ in range(2)]


def session_of(folder: Path, threads: int = 4, given: bool = False, device: str = "cpu") -> Session:
    environment = Environment(
        data=folder, results=folder, device=device, threads=threads, threads_given=given
    )
    return Session(environment)


def computed(folder: Path, round_: int, **hardware: object) -> None:
    """Store a finished run of that round, computed on this hardware."""
    record = record_of(UNITS[round_], provenance=Provenance(hardware=hardware))
    store.write(folder, record, predictions={"val": predictions(), "test": predictions()})


def begun(folder: Path, **state: object) -> Path:
    """A checkpoint of the second unit."""
    path = folder / ".scratch" / "checkpoints" / f"{UNITS[1].key}.1.pt"
    path.parent.mkdir(parents=True)
    torch.save({"module": {"weight": torch.zeros(3)}, **state}, path)
    return path


def kept(session: Session) -> int:
    keep_threads(UNITS, session)
    return session.environment.threads


def test_a_study_keeps_the_threads_of_its_finished_units(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    computed(tmp_path, 1, device="cpu", threads=3)
    session = session_of(tmp_path)
    with caplog.at_level(logging.WARNING, "bench"):
        assert kept(session) == 3
    assert "3 threads a unit, as this study was begun with" in caplog.text
    assert session.hardware["threads"] == 3  # and its records say so


def test_threads_that_are_asked_for_are_used_and_the_difference_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    computed(tmp_path, 0, device="cpu", threads=3)
    with caplog.at_level(logging.WARNING, "bench"):
        assert kept(session_of(tmp_path, given=True)) == 4
    assert "begun with 3 threads a unit and goes on with 4" in caplog.text


@pytest.mark.parametrize(
    "hardware",
    [{"device": "cuda", "gpu": "H100", "threads": 3}, {"device": "cpu"}, {"device": "cpu", "threads": 4}],
)
def test_nothing_is_said_where_nothing_differs(
    tmp_path: Path, hardware: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """Units of another kind of device, old records, the same number."""
    computed(tmp_path, 0, **hardware)
    with caplog.at_level(logging.WARNING, "bench"):
        assert kept(session_of(tmp_path)) == 4
    assert caplog.text == ""


def test_a_gpu_does_not_ask_how_many_threads_there_were(tmp_path: Path) -> None:
    computed(tmp_path, 0, device="cuda", gpu="H100", threads=3)
    assert kept(session_of(tmp_path, device="cuda:1")) == 4


def test_an_interrupted_training_keeps_the_threads_of_its_checkpoint(tmp_path: Path) -> None:
    begun(tmp_path, device="cpu", threads=2)
    assert kept(session_of(tmp_path)) == 2


def test_a_checkpoint_of_another_device_an_older_one_or_a_damaged_one_decides_nothing(tmp_path: Path) -> None:
    path = begun(tmp_path, device="cuda", threads=2)
    assert kept(session_of(tmp_path)) == 4
    torch.save({"module": {}}, path)
    assert kept(session_of(tmp_path)) == 4
    path.write_bytes(b"damaged")
    assert checkpoint.begun_with(path) is None
    assert kept(session_of(tmp_path)) == 4
