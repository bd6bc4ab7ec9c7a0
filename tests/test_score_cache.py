"""Scores that are kept: found again, forgotten when anything they depend on changed, and never in the way."""

from __future__ import annotations

import math
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from samples import run_spec, store_run
from spies import with_one

from bench.comparison.tables import tables_of
from bench.registry import installed
from bench.results import score_cache, store
from bench.results.score_cache import ScoreCache, identities

REGISTRY = installed()
METRIC = REGISTRY.metrics.get("accuracy")


def kept(results: Path, sha256: str, identity: str = "v1") -> dict[str, float]:
    return ScoreCache(results).get(sha256, {"accuracy": identity, "auc": identity})


def keep(results: Path, sha256: str = "a", **values: float) -> None:
    cache = ScoreCache(results)
    cache.keep(sha256, {"accuracy": "v1", "auc": "v1"}, values)
    cache.save(0)


def test_scores_are_found_by_checksum_and_identity(tmp_path: Path) -> None:
    keep(tmp_path, accuracy=0.5, auc=math.nan, unknown=1.0)
    found = kept(tmp_path, "a")
    assert found["accuracy"] == 0.5
    assert math.isnan(found["auc"])
    assert set(found) == {"accuracy", "auc"}
    assert kept(tmp_path, "b") == kept(tmp_path, "a", "v2") == {}


def test_few_scores_leave_no_file(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path)
    cache.keep("a", {"accuracy": "v1"}, {"accuracy": 0.5})
    cache.save(3600)
    assert not list(tmp_path.iterdir())


def test_a_changed_file_has_another_checksum(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    cache = ScoreCache(tmp_path)
    first = cache.sha256(file)
    file.write_text("two")
    assert cache.sha256(file) != first


def test_a_remembered_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    cache = ScoreCache(tmp_path)
    sha256 = cache.sha256(file)
    cache.keep(sha256, {"accuracy": "v1"}, {"accuracy": 0.5})
    cache.save(0)
    monkeypatch.setattr(score_cache, "sha256_of", pytest.fail)
    assert ScoreCache(tmp_path).sha256(file) == sha256


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to look like a file" * 20])
def test_a_damaged_cache_is_dropped(tmp_path: Path, content: bytes) -> None:
    keep(tmp_path, accuracy=0.5)
    (tmp_path / score_cache.FILE).write_bytes(content)
    assert kept(tmp_path, "a") == {}
    keep(tmp_path, accuracy=0.5)
    assert kept(tmp_path, "a") == {"accuracy": 0.5}


def test_an_altered_score_is_not_believed(tmp_path: Path) -> None:
    keep(tmp_path, accuracy=0.5, auc=0.75)
    with closing(sqlite3.connect(tmp_path / score_cache.FILE)) as base, base:
        base.execute("UPDATE scores SET value = 0.9 WHERE metric = 'accuracy'")
    assert kept(tmp_path, "a") == {"auc": 0.75}


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    threads = [threading.Thread(target=keep, args=(tmp_path, f"{i}"), kwargs={"auc": i}) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [kept(tmp_path, f"{i}") for i in range(8)] == [{"auc": i} for i in range(8)]


def test_a_metrics_identity_changes_with_what_its_scores_depend_on() -> None:
    def identity(component: Any = METRIC, **plugin: str) -> str:
        metrics = with_one(REGISTRY.metrics, component)
        entry = metrics.entries["accuracy"]
        changed = replace(entry, plugin=replace(entry.plugin, **plugin))
        registry = replace(REGISTRY, metrics=replace(metrics, entries={"accuracy": changed}))
        return identities([component], registry)["accuracy"]

    other_file = replace(METRIC, score=with_one)  # of another module
    changed = [replace(METRIC, revision=2), other_file]
    found = [identity(), *map(identity, changed), identity(version="9"), identity(distribution="another")]
    assert len(set(found)) == 5
    assert identity(replace(METRIC, score=partial(with_one))) == identity(other_file)  # not of functools
    assert identities([replace(METRIC)], REGISTRY).keys() == {"accuracy"} - {"accuracy"}


def test_a_table_takes_kept_scores_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScoreCache.save, "__defaults__", (0.0,))
    path = store_run(tmp_path, run_spec())
    records = store.scan(tmp_path)[0]
    first = tables_of(records, tmp_path).tables[0].rows
    monkeypatch.setattr(store, "read_predictions", pytest.fail)
    assert tables_of(records, tmp_path).tables[0].rows == first
    monkeypatch.undo()
    file = path / "predictions.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    [row] = tables_of(records, tmp_path).tables[0].rows
    assert "its sha256 differs" in row.note
