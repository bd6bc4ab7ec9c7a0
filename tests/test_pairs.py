"""How benchmarks compare on a machine whose speed changes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parent.parent / "benchmarks" / "pairs.py"


@pytest.fixture(scope="module")
def pairs() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("benchmarks_pairs", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    monkeypatch.undo()


def of(values: Iterator[float]) -> Callable[[], float]:
    return lambda: next(values)


def test_work_is_compared_with_the_ceilings_on_both_sides(pairs: ModuleType) -> None:
    found = pairs.measure(of(iter([1.0, 1.2, 1.0])), of(iter([2.2, 1.1])), budget=60, enough=2)
    assert [(p.before, p.work, p.after) for p in found] == [(1.0, 2.2, 1.2), (1.2, 1.1, 1.0)]
    assert [p.ratio for p in found] == pytest.approx([2.0, 1.0])


def test_pairs_whose_ceilings_differ_are_thrown_away_and_made_up_for(pairs: ModuleType) -> None:
    ceilings = iter([1.0, 2.0, 2.0, 2.0, 1.0, 1.0])
    found = pairs.measure(of(ceilings), of(3.0 for _ in count()), budget=60, enough=3)
    summary = pairs.summarize(found, enough=3)
    assert (summary.accepted, summary.rejected) == (3, 2)
    assert (summary.ratio, summary.low, summary.high) == (1.5, 1.5, 3.0)


def test_too_few_pairs_are_no_figure(pairs: ModuleType) -> None:
    found = pairs.measure(of(float(i % 2 + 1) for i in count()), of(1.0 for _ in count()), budget=0.01)
    assert found
    summary = pairs.summarize(found)
    assert summary.ratio is None
    assert summary.accepted == 0
