"""The benchmark of the image store, on a few small files."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_the_stores_benchmark_measures_what_it_says(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.store", "--images", "16", "--side", "48"),
            *("--repeats", "2", "--threads", "1", "--results", str(tmp_path)),
        ],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "plugins")])},
    )
    assert done.returncode == 0, done.stderr
    (table,) = tmp_path.glob("*/store.csv")
    lines = {line["way"]: line for line in csv.DictReader(io.StringIO(table.read_text()))}
    assert set(lines) == {"plain loop", "store, one size", "store", "its bytes written alone"}
    assert float(lines["plain loop"]["share_of_plain"]) == 1
    for line in lines.values():
        assert float(line["images_per_s"]) == pytest.approx(16 / float(line["seconds"]))
        assert (line["images"], line["repeats"], line["threads"]) == ("16", "2", "1")
    if sys.platform == "linux":
        assert 2**20 < int(lines["store"]["peak_bytes"]) < 300 * 2**20  # torch alone would take more
    assert "| store | " in table.with_suffix(".md").read_text()
