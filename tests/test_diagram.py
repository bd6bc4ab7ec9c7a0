"""Rows over many data sets: `bench compare --all --diagram`. Needs the extra "diagram"."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples import record_of, run_spec
from test_compare import bench, skilled

from bench.identity import Ref
from bench.results import store

SKILLS = {"good": 2.5, "middle": 1.2, "bad": 0.3}


def store_sets(results: Path, count: int, **skills: float) -> None:
    for number in range(count):
        for noise, (strategy, skill) in enumerate(skills.items()):
            spec = run_spec(strategy, 0, dataset=Ref(f"set{number}"))
            one = skilled(number, skill, noise)
            store.write(results, record_of(spec), predictions={"val": one, "test": one})


def test_ranks_over_six_data_sets_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("scikit_posthocs", reason='needs the extra "diagram"')
    store_sets(tmp_path, 6, **SKILLS)
    for suffix in ("png", "svg", "pdf"):
        result = bench(tmp_path, "compare", "--all", "--diagram", str(tmp_path / f"ranks.{suffix}"))
        assert result.exit_code == 0, result.exception
        assert (tmp_path / f"ranks.{suffix}").stat().st_size > 1000
    text = result.stdout
    assert "convnext_tiny.good 1.00, convnext_tiny.middle 2.00, convnext_tiny.bad 3.00" in text
    assert "Mean ranks over 6 data sets" in text
    assert "p = 0.002" in text  # of Friedman's chi-squared of 12 with 2 degrees of freedom
    result = bench(tmp_path, "compare", "--all", "--diagram", str(tmp_path / "ranks.xyz"))
    assert "cannot be written" in str(result.exception)


@pytest.mark.parametrize(("sets", "skills"), [(5, SKILLS), (6, {"good": 2.0, "bad": 1.0})])
def test_too_little_for_a_test_of_ranks_is_refused(
    tmp_path: Path, sets: int, skills: dict[str, float]
) -> None:
    store_sets(tmp_path, sets, **skills)
    result = bench(tmp_path, "compare", "--all", "--diagram", str(tmp_path / "ranks.png"))
    assert f"{sets} data sets share {len(skills)} rows; ranks need 6 data sets" in str(result.exception)
    assert not (tmp_path / "ranks.png").exists()


def test_wins_are_counted_over_few_data_sets(tmp_path: Path) -> None:
    store_sets(tmp_path, 3, **SKILLS)
    text = bench(tmp_path, "compare", "good", "bad").stdout
    assert "Over 3 tables: good is ahead of bad on 3, demonstrably on 0; behind on 0" in text
