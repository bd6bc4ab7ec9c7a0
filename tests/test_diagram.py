"""Rows over many data sets: `bench compare --all --diagram`. Needs the extra "diagram"."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from samples import record_of, run_spec
from test_compare import bench, skilled

from bench.comparison.compare import Question, comparable_tables
from bench.figures.canvas import styled
from bench.figures.critical import critical
from bench.figures.drawing import WIDTH
from bench.figures.drawings import drawings_over
from bench.figures.material import Material
from bench.identity import Ref
from bench.registry import installed
from bench.results import store
from bench.study.declaration import Declaration

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


def materials_of(results: Path) -> list[Material]:
    registry = installed()
    question = Question(metric=registry.metrics.get("accuracy"), declared=Declaration())
    tables, _ = comparable_tables(store.scan(results)[0], results, question, registry)
    return [Material(table=t, results=results, registry=registry, question=question) for t in tables]


@pytest.mark.parametrize("strategies", [("good", "middle", "bad"), ("good" * 9, "middle" * 9, "bad" * 9)])
def test_names_lie_within_the_drawing(tmp_path: Path, strategies: tuple[str, ...]) -> None:
    pytest.importorskip("scikit_posthocs", reason='needs the extra "diagram"')
    store_sets(tmp_path, 6, **dict(zip(strategies, SKILLS.values(), strict=True)))
    [drawing] = critical(materials_of(tmp_path))
    with styled():
        figure = drawing.draw(WIDTH)
        figure.canvas.draw()
        texts = figure.axes[0].texts
        assert len(texts) == 3
        for text in texts:
            box = text.get_window_extent()
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text.get_text()
            assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text.get_text()


def test_a_missing_package_is_said_and_no_reason_to_draw_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_sets(tmp_path, 6, **SKILLS)
    materials = materials_of(tmp_path)
    monkeypatch.setitem(sys.modules, "scikit_posthocs", None)
    [problem] = drawings_over(materials).problems
    assert "critical: not drawn, mean ranks need scikit-posthocs: pip install" in problem
    assert drawings_over(materials[:5]).problems == []


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
