"""The pure parts of the benchmarks: names, csv and Markdown."""

from __future__ import annotations

import csv
import importlib
import io
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

ROOT = Path(__file__).parent.parent


def module_of(name: str) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))  # benchmarks are run from there, and not installed
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def baselines() -> ModuleType:
    return module_of("benchmarks.baselines")


@pytest.fixture(scope="module")
def report() -> ModuleType:
    return module_of("benchmarks.report")


MADE: dict[str, Any] = {
    "hardware": {"device": "cpu", "cpu": "AMD EPYC 7B13", "cores": 2, "threads": 2},
    "packages": {"bench": "0.1.0", "torch": "2.14.1", "timm": "1.0.31"},
    "git": {"commit": "e94f12b3b6201111", "dirty": True},
}
ROWS = [
    {
        "model": name,
        "size": 224,
        "latency_s": 0.05,
        "params": 20_000_000,
        "macs": macs,
        "forward_images_per_s_at_16": 12.5,
        "forward_peak_bytes_at_16": None,
        "training_images_per_s_at_16": speed,
        "training_peak_bytes_at_16": None,
        "notes": "a reconstruction" if name == "b" else "",
    }
    for name, macs, speed in (("a", 4_000_000_000, 3.25), ("b", None, None))
]


def test_what_it_ran_on_is_recorded(report: ModuleType) -> None:
    about = report.facts(MADE, "fp32", datetime(2026, 5, 6, tzinfo=UTC))
    assert about["date"] == "2026-05-06"
    assert about["commit"] == "e94f12b3b620+changes"
    assert (about["torch"], about["threads"], about["precision"]) == ("2.14.1", "2", "fp32")
    assert report.facts({**MADE, "git": None}, "fp32", datetime(2026, 5, 6, tzinfo=UTC))["commit"] == "none"


def test_the_folder_is_named_by_the_hardware(report: ModuleType) -> None:
    assert report.folder_name(MADE["hardware"]) == "amd-epyc-7b13-2-threads"
    assert report.folder_name({"gpu": "NVIDIA H100 80GB HBM3"}) == "nvidia-h100-80gb-hbm3"


def test_the_csv_has_a_line_a_model_with_the_facts(report: ModuleType) -> None:
    about = report.facts(MADE, "fp32", datetime(2026, 5, 6, tzinfo=UTC))
    lines = list(csv.DictReader(io.StringIO(report.as_csv(ROWS, about))))
    assert [line["model"] for line in lines] == ["a", "b"]
    assert lines[0]["torch"] == "2.14.1"
    assert lines[1]["training_images_per_s_at_16"] == ""


def test_the_markdown_gives_units_and_leaves_out_what_was_not_measured(baselines: ModuleType) -> None:
    text = baselines.as_markdown(ROWS, {"date": "2026-05-06"})
    assert "| a | 224 | 50 | 20 | 4 | 12.5 | 3.25 |" in text
    assert "| b | 224 | 50 | 20 | - | 12.5 | - |" in text
    assert text.endswith("\n\n- b: a reconstruction\n")
    assert "peak" not in text
    header, rule = (line for line in text.splitlines() if line.startswith(("| model", "| ---")))
    assert header.count("|") == rule.count("|")


def test_writing_replaces_the_file_and_leaves_nothing_beside_it(
    baselines: ModuleType, tmp_path: Path
) -> None:
    for text in ("one", "two"):
        baselines.write_text(tmp_path / "baselines.csv", text)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["two"]


@pytest.mark.parametrize("batch", ["1", "16,", "many", ""])
def test_batches_that_cannot_be_trained_are_refused(report: ModuleType, batch: str) -> None:
    with pytest.raises(typer.BadParameter, match="2 or more"):
        report.batches(batch)
