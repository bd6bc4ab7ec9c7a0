"""Cost columns of tables, from what records say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from samples import mean_of, predictions, record_of, run_spec
from test_compare import bench

from bench.comparison.build import Shown
from bench.comparison.tables import tables_of
from bench.results import store
from bench.results.record import Provenance, Timings, Usage

ON_CPU = Provenance(hardware={"device": "cpu", "cpu": "a processor", "threads": 2})


def save(results: Path, spec: Any, seconds: float = 100, resumed: int = 0, **usage: Any) -> None:
    record = record_of(
        spec,
        timings=Timings(seconds=seconds, steps=10, resumed_from_epoch=resumed),
        usage=Usage(**usage) if usage else None,
        provenance=ON_CPU,
    )
    if spec.kind == "pretrain":
        store.write(results, record, files=lambda folder: (folder / "encoder.safetensors").write_bytes(b"x"))
    else:
        store.write(results, record, predictions=dict.fromkeys(("val", "test"), predictions(spec.round)))


def costs(results: Path) -> dict[str, dict[str, float | None]]:
    [table] = tables_of(store.scan(results)[0], results, shown=Shown(costs=True)).tables
    assert [column.name for column in table.costs] == list(table.rows[0].costs)
    return {row.method: dict(row.costs) for row in table.rows}


def test_a_row_costs_its_pretraining_too_and_an_ensemble_all_its_members(tmp_path: Path) -> None:
    used = {"images_per_second": 50.0, "latency": 0.02, "peak_memory": 2**30, "energy": 7200.0}
    for round_ in range(2):
        plain, pretrained = run_spec("scratch", round_), run_spec("egmae", round_, epochs=3)
        assert pretrained.start
        save(tmp_path, pretrained.start, 300, peak_memory=3 * 2**30, energy=3600.0)
        save(tmp_path, pretrained, 100 + 10 * round_, **used)
        save(tmp_path, plain, 80, **{**used, "images_per_second": 40.0})
        save(tmp_path, mean_of(plain, pretrained))
    rows = costs(tmp_path)
    assert rows["egmae"] == {
        "train_seconds": 405,
        "images_per_second": 50,
        "latency_ms": pytest.approx(20),
        "peak_gib": 3,
        "energy_wh": 3,
    }
    ensemble = next(row for method, row in rows.items() if method.startswith("mean"))
    assert ensemble["train_seconds"] == 485
    assert ensemble["images_per_second"] == 40
    assert ensemble["latency_ms"] == pytest.approx(40)
    assert ensemble["energy_wh"] == 5


def test_what_was_not_measured_in_every_round_is_no_figure(tmp_path: Path) -> None:
    save(tmp_path, run_spec("scratch", 0), images_per_second=50.0)
    save(tmp_path, run_spec("scratch", 1))
    save(tmp_path, run_spec("imagenet", 0), resumed=3, images_per_second=50.0)
    lost = run_spec("egmae", 0, epochs=3)
    save(tmp_path, lost, latency=0.02)  # the record of its pretraining is gone
    rows = costs(tmp_path)
    assert rows["scratch"]["train_seconds"] == 100
    assert rows["scratch"]["images_per_second"] is None
    assert rows["imagenet"]["train_seconds"] is None  # one process did not do all of it
    assert rows["imagenet"]["images_per_second"] == 50
    assert set(rows["egmae"].values()) == {None}


def test_the_footer_names_hardware_company_and_counter(tmp_path: Path) -> None:
    save(tmp_path, run_spec("scratch", 0), energy=3600.0, energy_source="rapl", at_once=4)
    text = " ".join(bench(tmp_path, "table", "--costs", "--metrics", "accuracy").stdout.split())
    assert "on a processor, 2 threads, up to 4 units at once" in text
    assert "Energy: counted by rapl" in text
    assert re.search(r"Train s +Images/s +Latency ms +Peak GiB +Energy Wh", text)
    assert "Train s" not in bench(tmp_path, "table").stdout
    csv = bench(tmp_path, "table", "--costs", "-f", "csv").stdout
    assert ",train_seconds,images_per_second,latency_ms,peak_gib,energy_wh," in csv
