"""A disk that is really full in the middle of a study: one clear error, nothing half-written, and once there
is room the same command goes on to the same bits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.attacks import signals
from benchmarks.attacks.processes import Bench, beside, install


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk as Linux does")
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    if refused := signals.cannot_mount(tmp_path):
        pytest.skip(f"no small disk can be mounted here: {refused}")
    witness = Path(signals.__file__).with_name("witness")
    attacked = Bench(beside(sys.executable), install(tmp_path / "site", witness))
    whole = signals.run_whole(attacked, tmp_path / "whole")
    assert len(whole.stored) == signals.TRAININGS
    assert signals.fill(0.5, attacked, tmp_path / "full", whole) == []
