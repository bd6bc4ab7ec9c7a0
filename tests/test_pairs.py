"""How benchmarks compare on a machine whose speed changes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def pairs() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))  # benchmarks are run from there, and not installed
        return importlib.import_module("benchmarks.pairs")


def of(values: Iterator[float]) -> Callable[[], float]:
    return lambda: next(values)


def test_work_is_compared_with_the_ceilings_on_both_sides(pairs: ModuleType) -> None:
    measured = pairs.measure(of(iter([1.0, 1.2, 1.0])), of(iter([2.2, 1.1])), budget=60, enough=2)
    assert [(p.before, p.work, p.after) for p in measured] == [(1.0, 2.2, 1.2), (1.2, 1.1, 1.0)]
    assert [p.ratio for p in measured] == pytest.approx([2.0, 1.0])


def test_pairs_whose_ceilings_differ_are_left_out_and_replaced(pairs: ModuleType) -> None:
    ceilings = iter([1.0, 2.0, 2.0, 2.0, 1.0, 1.0])
    measured = pairs.measure(of(ceilings), of(3.0 for _ in count()), budget=60, enough=3)
    summary = pairs.summarize(measured, enough=3)
    assert (summary.accepted, summary.rejected) == (3, 2)
    assert (summary.ratio, summary.low, summary.high) == (1.5, 1.5, 3.0)


def test_too_few_pairs_are_no_figure(pairs: ModuleType) -> None:
    measured = pairs.measure(of(float(i % 2 + 1) for i in count()), of(1.0 for _ in count()), budget=0.01)
    assert measured
    summary = pairs.summarize(measured)
    assert summary.ratio is None
    assert summary.accepted == 0
