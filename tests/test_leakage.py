"""The pure parts of benchmarks/leakage.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bench import Predictions

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def leakage() -> ModuleType:
    sys.path.insert(0, str(ROOT))
    try:
        spec = importlib.util.spec_from_file_location("leakage", ROOT / "benchmarks" / "leakage.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT))
    return module


def test_twins_and_others_are_scored_apart(leakage: ModuleType) -> None:
    labels = np.array([0, 0, 1, 1, 1])
    probabilities = np.eye(2)[[0, 1, 1, 1, 0]]  # images 1 and 4 are wrong
    ids = tuple("abcde")
    made = Predictions(classes=("x", "y"), ids=ids, groups=ids, labels=labels, probabilities=probabilities)
    found = leakage.judge(made, twins={"a", "c", "e"}, odd={"d"}, leaked=7)
    assert found == (pytest.approx(2 / 4), pytest.approx(2 / 3), 0.0, 7, 5)


def test_the_table_gives_the_difference_with_its_interval(leakage: ModuleType) -> None:
    grouped = [leakage.Round(a, a, a, 0, 150) for a in (0.70, 0.72, 0.74)]
    naive = [leakage.Round(a, a + 0.1, a, 70, 156) for a in (0.80, 0.82, 0.84)]
    text = leakage.as_markdown("busi", "bench run", {"audited": grouped, "none": naive}, {"date": "today"})
    assert "| duplicates on one side | 3 | 150.0 | 0.0 | 0.7200 ± 0.0200 |" in text
    assert "| image by image | 3 | 156.0 | 70.0 | 0.8200 ± 0.0200 | 0.9200" in text
    assert "+0.1000 (+0.0547 to +0.1453)" in text  # Welch: 4 degrees of freedom, error 0.0163
    assert "$ bench run --set protocol.split.groups=none" in text
