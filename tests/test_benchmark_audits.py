"""The benchmark of the audit: what it counts, and a run of it on a few pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark_modules import module_of
from PIL import Image
from test_duplicates import texture

ROOT = Path(__file__).resolve().parent.parent


def audit(*pairs: tuple[str, str], suspects: tuple[tuple[str, str], ...] = ()) -> dict[str, object]:
    return {
        "duplicates": [[*pair, 0, 0.9, False, 9] for pair in pairs],
        "suspects": [{"first": a, "second": b} for a, b in suspects],
        "clusters": [list(pair) for pair in pairs],
    }


def test_recall_counts_copies_that_are_paired_with_their_original() -> None:
    module = module_of("benchmarks.audits")
    turned, wide = "turned by 10 degrees", "1.3 times as wide"
    planted = {"p0": (turned, "a"), "p1": (turned, "b"), "p2": (wide, "a")}
    found = module.recall(planted, audit(("a", "p0"), ("b", "p2"), suspects=(("p1", "b"),)))
    assert found[turned] == module.Found(planted=2, duplicates=1, suspects=2)
    assert found[wide] == module.Found(planted=1, duplicates=0, suspects=0)


def test_a_copy_paired_with_another_picture_is_false() -> None:
    module = module_of("benchmarks.audits")
    origins = {name: name.upper() for name in "abcd"}
    planted = {"p": ("upside down", "a")}
    untouched = audit(("A", "C"))
    for other, wrong in (("a", []), ("c", []), ("b", [("A", "B")])):
        assert module.false_pairs(planted, origins, audit(("p", other)), untouched) == wrong


@pytest.mark.long
def test_the_benchmark_of_the_audit_runs(tmp_path: Path) -> None:
    for i in range(24):
        path = tmp_path / "data" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(texture(i, 200)).save(path)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.audits", "--dataset", "folder", "--copies", "2"),
            *("--data", str(tmp_path / "data"), "--repeats", "1", "--threads", "1"),
            *("--results", str(tmp_path / "results")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])},
    )
    assert done.returncode == 0, done.stderr
    (page,) = (tmp_path / "results").glob("*/folder-audit.md")
    text = page.read_text()
    assert "| half as large | 2 | 2 | 2 |" in text
    assert "| upside down | 2 | 2 | 2 |" in text
    assert "duplicates: 0." in text
