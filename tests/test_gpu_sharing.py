"""Processes that share a GPU are said to take turns where NVIDIA's MPS does not run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.execution import gpu_sharing


@pytest.fixture(autouse=True)
def _no_mps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    monkeypatch.setattr(gpu_sharing, "PIPES", str(tmp_path / "nvidia-mps"))


def started(folder: Path) -> Path:
    """MPS, as its control pipe shows it."""
    folder.mkdir()
    (folder / "control").touch()
    return folder


def test_mps_is_found_where_it_is_by_default_and_where_it_was_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not bench.mps_runs()
    (tmp_path / "nvidia-mps").mkdir()
    assert not bench.mps_runs()  # what a daemon that has ended may leave
    (tmp_path / "nvidia-mps" / "control").touch()
    assert bench.mps_runs()
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "mine"))
    assert not bench.mps_runs()
    started(tmp_path / "mine")
    assert bench.mps_runs()


@pytest.mark.parametrize(
    ("devices", "at_once", "said"),
    [
        (("cuda",), 1, ""),
        (("cuda",), 2, "2 units at once on one GPU: without NVIDIA's MPS they take turns, .* over --jobs 1;"),
        (("cuda:0", "cuda:1"), 2, ""),
        (("cuda:0", "cuda:1"), 3, "3 units at once on 2 GPUs: .* over --jobs 2; start MPS"),
        (("cpu",), 4, ""),
    ],
)
def test_turns_are_said(
    devices: tuple[str, ...], at_once: int, said: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    bench.warn_of_turns(devices, at_once)
    assert bool(caplog.records) == bool(said)
    if said:
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert re.search(said, record.getMessage())
    caplog.clear()
    started(tmp_path / "nvidia-mps")
    bench.warn_of_turns(devices, at_once)
    assert not caplog.records


def test_asking_loads_no_torch() -> None:
    code = "import sys, bench; bench.warn_of_turns(('cuda',), 2); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
