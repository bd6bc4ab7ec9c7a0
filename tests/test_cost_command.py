"""`bench cost`: what it counts, at which size, and its messages if something cannot be counted."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import Model, SizeError
from bench.cli import app
from bench.comparison.reported import ReportedRow
from bench.cost import published
from bench.cost.model_cost import CostRequest, measure_model
from bench.errors import BenchError

COUNT_ONLY = ("--batch", "0", "--device", "cpu", "--threads", "1")


def bench_cost(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["cost", *arguments], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def tiny(**changes: Any) -> Model:
    """A model with 3 features, for image sizes that are multiples of 8."""

    def build(params: Any, context: Any) -> Any:
        from torch import nn

        if context.size % 8:
            raise SizeError(f"size {context.size}: tiny needs a multiple of 8; 16 is the nearest", 16)
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, len(context.classes)))

    fields: dict[str, Any] = {"name": "tiny", "about": "for tests", "build": build, "published_as": "Tiny"}
    return Model(**fields, classifier=lambda net: ("2.",), **changes)


REQUEST = CostRequest(classes=3, size=16, batches=(), train=False, device="cpu")
ROWS = [ReportedRow(dataset="busi", model="Tiny", values={}, gmacs=2e-9, mparams=0.1, source="somewhere")]


def test_parameters_are_counted_at_both_numbers_of_classes() -> None:
    cost = measure_model(tiny(), REQUEST, ROWS)
    assert (cost.cost.params, cost.params_imagenet) == (4 * 3, 4 * 1000)
    assert (cost.latency, cost.forward, cost.training) == (None, (), ())


def test_an_impossible_size_becomes_the_nearest_and_a_note() -> None:
    cost = measure_model(tiny(), CostRequest(3, 15, (), False, "cpu"), ROWS)
    assert (cost.size, cost.classes, cost.cost.params) == (16, 3, 4 * 3)
    assert cost.notes == ("at 16 pixels, because it cannot take 15",)


def test_the_difference_is_to_the_published_figure_at_its_own_image_size() -> None:
    assert measure_model(tiny(), REQUEST, ROWS).difference is None
    cost = measure_model(tiny(), CostRequest(3, published.SIZE, (), False, "cpu"), ROWS)
    assert cost.convention is not None
    assert cost.difference == pytest.approx(cost.convention / 1e9 / 2e-9 - 1)
    assert measure_model(tiny(), CostRequest(3, published.SIZE, (), False, "cpu"), ()).difference is None


def test_a_caution_is_among_the_notes() -> None:
    assert measure_model(tiny(caution="only a model of a model"), REQUEST, ()).notes == (
        "only a model of a model",
    )


def test_a_network_that_ptflops_cannot_count_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(net: Any, size: int) -> int:
        raise BenchError("ptflops cannot count the network (no)")

    monkeypatch.setattr(published, "count_by_ptflops", fail)
    cost = measure_model(tiny(), REQUEST, ROWS)
    assert cost.convention is None
    assert cost.notes == ("ptflops cannot count the network (no)",)


def test_timings_are_made_for_each_batch() -> None:
    cost = measure_model(tiny(), CostRequest(3, 16, (2, 4), True, "cpu", seconds=0.0), ())
    assert cost.latency is not None
    assert cost.latency.batch == 1
    assert [t.batch for t in cost.forward] == [t.batch for t in cost.training] == [2, 4]


def test_the_table_shows_counts_the_published_figure_and_what_is_missing() -> None:
    shown = bench_cost("cmt", "--dataset", "busi", *COUNT_ONLY)
    for text in ("cmt", "24.98", "26.26", "4.09", "3.95", "+0.0%", "gelu", "ptflops"):
        assert text in shown
    assert "images/s" not in shown


def test_speed_is_shown_with_the_machine_it_was_measured_on() -> None:
    arguments = ("--size", "64", "--batch", "2", "--train", "--device", "cpu", "--threads", "1")
    shown = bench_cost("test_convnext", *arguments)
    for text in ("ms at", "images/s", "training", "1 threads, fp32", "Peak memory is measured on GPUs only"):
        assert text in shown


@pytest.mark.parametrize("form", ["csv", "json"])
def test_programs_can_read_it(form: str) -> None:
    text = bench_cost(
        "test_convnext", "test_vit", "--size", "64", "--classes", "7", "--format", form, *COUNT_ONLY
    )
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
    else:
        values = json.loads(text)
        assert values["hardware"]["threads"] == 1
        rows = [{"model": m["model"], "params": m["cost"]["params"]} for m in values["models"]]
    assert [row["model"] for row in rows] == ["test_convnext", "test_vit"]
    assert all(int(row["params"]) > 0 for row in rows)


def test_without_ptflops_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "has_ptflops", lambda: False)
    shown = bench_cost("test_convnext", "--size", "64", *COUNT_ONLY)
    assert published.HOW_TO_INSTALL in " ".join(shown.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no model named"),
        (["convnext_tny"], "did you mean convnext_tiny"),
        (["--baselines", "cmd"], "unknown baseline 'cmd'; did you mean cmt"),
        (["cmt", "--batch", "many"], "--batch 'many': must be numbers"),
        (["cmt", "--batch", "1", "--train"], "needs 2 images or more"),
        (["cmt", "--dataset", "busy"], "unknown dataset 'busy'; did you mean busi"),
        (["cmt", "--dataset", "folder"], "give --classes N"),
        (["cmt", "--dataset", "busi", "--classes", "3"], "give one of them"),
        (["cmt", "--device", "quantum"], "not a device"),
    ],
)
def test_bad_input_is_one_clear_error(arguments: list[str], message: str) -> None:
    with pytest.raises(BenchError) as caught:
        CliRunner().invoke(app, ["cost", *arguments], catch_exceptions=False)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("size", "published_size"), [("224", True), ("64", False)])
def test_only_the_published_size_is_called_as_published(size: str, published_size: bool) -> None:
    said = bench_cost("test_convnext", "--size", size, *COUNT_ONLY)
    assert ("As published:" in said) is published_size
    assert ("By ptflops:" in said) is not published_size
    heading = said.partition("┡")[0]
    assert ("as" in heading.split()) is published_size
