"""Results that version 0.1.0 wrote, before records were one typed value: read, tabled and continued.

`tests/data/results_v1` holds what `bench run -d phantom -s egmae,scratch -p tiny.toml --set
dataset.phantom.patients=36 --device cpu --threads 1` wrote on 2026-11-26, without the encoders (which are
large), and a unit that failed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from test_cli import PHANTOM, bench, records, times, workspace

import bench as api
from bench.results import store
from bench.results.record import record_to_json

OLD = Path(__file__).parent / "data" / "results_v1"
RECORDS = sorted(OLD.rglob("record.json"))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A workspace with a copy of the old results."""
    shutil.copytree(OLD, tmp_path / "results")
    (workspace(tmp_path) / "tiny.toml").write_text(
        (tmp_path / "tiny.toml").read_text().replace("rounds = 1", "rounds = 2")
    )
    return tmp_path


def test_every_old_record_is_read() -> None:
    found, warnings = store.scan(OLD)
    assert warnings == []
    kinds = sorted(f"{record.status} {record.kind}" for record in found)
    assert kinds == ["done ensemble"] * 2 + ["done pretrain"] * 2 + ["done run"] * 4 + ["failed run"]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_an_old_record_would_be_written_as_it_was(path: Path) -> None:
    """To the last byte: reading loses nothing, and the names and their order are those of then."""
    (record,) = (r for r in store.scan(OLD)[0] if r.path == path.parent)
    text = json.dumps(record_to_json(record), indent=1, ensure_ascii=False) + "\n"
    assert text == path.read_text(encoding="utf-8")


def test_old_results_give_the_table_they_gave(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "results")  # a table that takes long keeps scores there
    (table,) = api.tables(api.load_results(tmp_path / "results"), ["accuracy", "auc"])
    values = {
        row.method: tuple(f"{row.values[name].mean:.4f}" for name in ("accuracy", "auc"))
        for row in table.rows
        if row.rounds_done
    }
    assert values == {
        "egmae": ("0.5908", "0.6916"),
        "scratch": ("0.5645", "0.6567"),
        "mean(egmae + scratch)": ("0.5908", "0.6724"),
    }
    (failed,) = (row for row in table.rows if not row.rounds_done)
    assert failed.method == "imagenet"
    assert "no ImageNet weights for test_convnext" in failed.note
    assert "Audit c34690d9" in " ".join(table.footer)


@pytest.mark.long
def test_the_same_command_has_nothing_to_do_and_more_rounds_go_on(old: Path) -> None:
    before = times(old)
    command = ["run", *PHANTOM, "-s", "egmae,scratch", "-p", "tiny.toml"]
    assert "8 units: 8 done, 0 to do" in bench(old, *command).stderr
    after = times(old)
    audits = old / "results" / "audits" / "phantom"
    new = after.keys() - before.keys()  # the audit by the way to search of now, and no split or record
    assert len(new) <= 1  # none where another test has made it and `kept_audits` has copied it
    assert all(path.parent == audits for path in new)
    assert {path: after[path] for path in before if path != audits} == {
        path: time for path, time in before.items() if path != audits
    }
    assert "12 units: 8 done, 4 to do" in bench(old, *command, "-r", "3").stderr
    assert {path: time for path, time in times(old).items() if path in before and path.is_file()} == {
        path: time for path, time in before.items() if path.is_file()
    }
    new = [r for name, r in records(old, "runs").items() if ".r2." in name]
    assert len(new) == 3
    assert {r["version"] for r in new} == {2}
