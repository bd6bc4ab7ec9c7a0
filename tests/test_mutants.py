"""The list of mutants stays in step with the code; `scripts/mutation.py` runs them."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "mutation.py"
ROOMS = {
    "api",
    "cli",
    "comparison",
    "cost",
    "data",
    "engine",
    "evidence",
    "execution",
    "manuscript",
    "plugins",
    "results",
    "study",
}


@pytest.fixture(scope="module")
def mutation():  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location("mutation", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutation"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["mutation"]


def test_every_mutant_still_applies_and_there_are_enough(mutation) -> None:  # type: ignore[no-untyped-def]
    mutants = mutation.read_mutants([])
    counted = Counter(mutant.room for mutant in mutants if not mutant.equivalent)
    assert set(counted) == ROOMS
    assert counted.total() >= 150
    assert len({(m.file, m.old, m.new) for m in mutants}) == len(mutants)
