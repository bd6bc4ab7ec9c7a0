"""Result directories: whole or absent, first writer wins, tolerant reading, strict identity."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import data_of, failure_of, mean_of, predictions, record_of, run_spec, store_run

from bench.data.audit.verdict import Verdict
from bench.errors import StoreError
from bench.files import host_name, remove_leftovers
from bench.identity import Ref
from bench.results import store
from bench.results.record import TrainingHistory
from bench.study.protocol import AuditSettings


def test_a_unit_is_done_once_it_is_written(tmp_path: Path) -> None:
    spec = run_spec()
    assert not store.exists(tmp_path, spec)
    path = store.write(tmp_path, record_of(spec), predictions={"test": predictions()})
    assert store.exists(tmp_path, spec)
    assert path == tmp_path / "runs" / "busi" / f"convnext_tiny.imagenet.r0.{spec.key}"
    record = store.read(tmp_path, spec)
    assert (record.kind, record.key, record.spec, record.status) == ("run", spec.key, spec, "done")
    assert record == replace(record_of(spec), path=path, artefacts=record.artefacts)


@pytest.mark.parametrize(
    "spec",
    [run_spec(epochs=3), run_spec(epochs=3).start, mean_of(run_spec("a"), run_spec("b", params={"x": [1]}))],
)
def test_every_kind_of_unit_reads_back_as_it_was(tmp_path: Path, spec) -> None:
    store.write(tmp_path, record_of(spec))
    records, warnings = store.scan(tmp_path)
    assert [r.spec for r in records] == [spec]
    assert not warnings


def test_predictions_come_back_bit_by_bit(tmp_path: Path) -> None:
    awkward = replace(predictions(classes=("b", "a", "p:c", "ä/é")), groups=("",) * 60)
    awkward.probabilities[0] = [5e-324, np.nextafter(0.7, 0), 0.1 + 0.2, -0.0]
    path = store.write(
        tmp_path,
        record_of(run_spec()),
        predictions={"val": predictions(1, classes=awkward.classes), "test": awkward},
    )
    found = store.read_predictions(path, "test")
    assert (found.classes, found.ids, found.groups) == (awkward.classes, awkward.ids, awkward.groups)
    assert found.labels.tolist() == awkward.labels.tolist()
    assert found.probabilities.tobytes() == awkward.probabilities.tobytes()


def test_predictions_of_another_shape_are_refused(tmp_path: Path) -> None:
    wrong = replace(predictions(), probabilities=np.ones((60, 2)))
    with pytest.raises(StoreError, match="shape"):
        store.write(tmp_path, record_of(run_spec()), predictions={"test": wrong})
    assert not list((tmp_path / "runs" / "busi").iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
def test_nothing_is_left_when_writing_breaks_off(tmp_path: Path, error: type[BaseException]) -> None:
    spec = run_spec()

    def breaks(folder: Path) -> None:
        (folder / "encoder.safetensors").write_bytes(b"half")
        raise error("no space left")

    with pytest.raises(StoreError if error is OSError else error):
        store.write(tmp_path, record_of(spec), predictions={"test": predictions()}, files=breaks)
    assert not store.exists(tmp_path, spec)
    assert not list((tmp_path / "runs" / "busi").iterdir())
    assert store.scan(tmp_path) == ([], [])


def test_the_remains_of_a_killed_writer_are_ignored(tmp_path: Path) -> None:
    left = tmp_path / "runs" / "busi" / ".writing-0123"
    left.mkdir(parents=True)
    (left / "record.json").write_text("{")
    assert store.scan(tmp_path) == ([], [])


def test_temporary_files_are_removed_when_their_writer_is_gone(tmp_path: Path) -> None:
    gone, alive = 2**22 + 1, os.getpid()  # no system numbers processes so high
    kept, removed = set(), set()
    for host, pid, age, left in (
        (host_name(), gone, 100, False),
        (host_name(), gone, 5, True),  # a moment ago: its process may be one we cannot see
        (host_name(), alive, 100, True),
        ("elsewhere", gone, 100, True),
        ("elsewhere", gone, 2 * 24 * 3600, False),
    ):
        path = tmp_path / f".writing-{host}-{pid}-{uuid.uuid4().hex}"
        path.mkdir() if pid == gone else path.touch()
        os.utime(path, (time.time() - age,) * 2)
        (kept if left else removed).add(path)
    other = tmp_path / ".writing-by-hand"
    other.touch()
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == kept | {other}
    remove_leftovers(tmp_path / "absent")


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    spec, meet = run_spec(), threading.Barrier(2, timeout=10)

    def writer(name: str) -> None:
        def files(folder: Path) -> None:
            (folder / "who").write_text(name)
            meet.wait()  # both have begun before either ends

        paths.append(store.write(tmp_path, record_of(spec, notes=(name,)), files=files))

    paths: list[Path] = []
    threads = [threading.Thread(target=writer, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert paths == [store.path_of(tmp_path, spec)] * 2
    assert ((paths[0] / "who").read_text(),) == store.read(tmp_path, spec).notes
    assert [p.name for p in paths[0].parent.iterdir()] == [paths[0].name]


def test_a_directory_without_record_in_the_way_is_moved_not_deleted(tmp_path: Path) -> None:
    target = store.path_of(tmp_path, run_spec())
    for name in ("first", "second"):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        (target / "notes.txt").write_text(name)
        store.write(tmp_path, record_of(run_spec()))
        assert store.exists(tmp_path, run_spec())
    moved = tmp_path / ".damaged" / target.relative_to(tmp_path)
    kept = [moved.with_name(f"{moved.name}-{n}") / "notes.txt" for n in (1, 2)]
    assert [path.read_text() for path in kept] == ["first", "second"]


def test_a_failure_is_replaced_by_a_later_one_and_removed_by_success(tmp_path: Path) -> None:
    spec = run_spec()
    store.write_failure(tmp_path, failure_of(spec, "first"))
    store.write_failure(tmp_path, failure_of(spec, "second"))
    assert not store.exists(tmp_path, spec)
    [record], warnings = store.scan(tmp_path)
    assert (record.status, record.reason, warnings) == ("failed", "second", [])
    store.write(tmp_path, record_of(spec))
    assert [r.status for r in store.scan(tmp_path)[0]] == ["done"]
    assert not store.failure_path(tmp_path, spec).exists()


def test_a_late_failure_does_not_hide_a_finished_unit(tmp_path: Path) -> None:
    store.write(tmp_path, record_of(run_spec()))
    store.write_failure(tmp_path, failure_of(run_spec(), "lost the race"))
    records, warnings = store.scan(tmp_path)
    assert ([r.status for r in records], warnings) == (["done"], [])


def _damage(path: Path, how: str) -> None:
    text = path.read_text()
    record = json.loads(text)
    if how == "cut":
        text = text[: len(text) // 2]
    elif how == "other spec":
        text = json.dumps(record | {"spec": record["spec"] | {"seed": 7}})
    elif how == "newer":
        text = json.dumps(record | {"version": 99})
    elif how == "no spec":
        del record["spec"]
        text = json.dumps(record)
    elif how == "list":
        text = "[]"
    elif how == "kind":
        text = json.dumps(record | {"kind": "party"})
    path.write_text(text)


@pytest.mark.parametrize("how", ["cut", "other spec", "newer", "no spec", "list", "kind"])
def test_a_damaged_record_is_left_out_with_a_warning(tmp_path: Path, how: str) -> None:
    path = store.write(tmp_path, record_of(run_spec())) / "record.json"
    store.write(tmp_path, record_of(run_spec(round_=1)))
    _damage(path, how)
    records, [warning] = store.scan(tmp_path)
    assert [r.spec.round for r in records] == [1]
    assert str(path) in warning
    with pytest.raises(StoreError, match=r"record\.json"):
        store.read(tmp_path, run_spec())


def test_a_record_in_another_units_directory_is_not_believed(tmp_path: Path) -> None:
    path = store.write(tmp_path, record_of(run_spec()))
    path.rename(store.path_of(tmp_path, run_spec(round_=1)))
    records, warnings = store.scan(tmp_path)
    assert records == []
    assert "stored under" in warnings[0]


def test_a_record_that_states_another_key_is_not_believed(tmp_path: Path) -> None:
    path = store.write(tmp_path, record_of(run_spec()))
    content = json.loads((path / "record.json").read_text())
    (path / "record.json").write_text(json.dumps({**content, "key": "f" * 16}))
    records, warnings = store.scan(tmp_path)
    assert records == []
    assert "stored under" in warnings[0]


def test_a_directory_without_record_is_not_done(tmp_path: Path) -> None:
    path = store.write(tmp_path, record_of(run_spec()))
    assert store.exists(tmp_path, run_spec())
    (path / "record.json").unlink()
    assert not store.exists(tmp_path, run_spec())
    with pytest.raises(StoreError):
        store.read(tmp_path, run_spec(round_=1))


def test_a_copy_of_a_unit_counts_once(tmp_path: Path) -> None:
    path = store.write(tmp_path, record_of(run_spec()))
    copy = path.with_name(f"copy.{run_spec().key}")
    copy.mkdir()
    (copy / "record.json").write_text((path / "record.json").read_text())
    records, warnings = store.scan(tmp_path)
    assert (len(records), len(warnings)) == (1, 1)


def test_damaged_or_missing_predictions_name_the_file(tmp_path: Path) -> None:
    path = store_run(tmp_path, run_spec())
    with pytest.raises(StoreError, match="'train'"):
        store.read_predictions(path, "train")
    file = path / "predictions.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(StoreError, match=r"predictions\.parquet: cannot be read"):
        store.read_predictions(path, "test")
    file.unlink()
    with pytest.raises(StoreError, match=r"predictions\.parquet: cannot be read"):
        store.read_predictions(path, "test")


@pytest.mark.parametrize("name", ["../../etc", "hf-hub:a/b c", ".hidden", "a" * 400, "naïve*?"])
def test_any_name_makes_a_safe_directory(tmp_path: Path, name: str) -> None:
    spec = run_spec(model=name, dataset=Ref(name[:200]))
    path = store.write(tmp_path, record_of(spec))
    assert path.parent.parent == tmp_path / "runs"
    assert not path.parent.name.startswith(".")
    assert [r.spec for r in store.scan(tmp_path)[0]] == [spec]


def test_records_hold_plain_json(tmp_path: Path) -> None:
    loss = (np.float32(0.5), float("nan"))
    odd = record_of(run_spec(), history=TrainingHistory(loss=loss), accumulate=np.int64(3))  # type: ignore[arg-type]
    path = store.write(tmp_path, odd)
    content = json.loads((path / "record.json").read_text(), parse_constant=pytest.fail)
    assert (content["history"]["loss"], content["accumulate"]) == ([0.5, None], 3)


def test_a_verdict_keeps_its_stored_names(tmp_path: Path) -> None:
    """Records are never rewritten, so what the code renames is read and written as it always was."""
    verdict = Verdict(
        audit="a" * 16,
        settings=AuditSettings(),
        leaking_clusters=1,
        leaking_groups=2,
        leaked=3,
        label_conflicts=4,
        kept_out=5,
        examples=("a (train) = b (test)",),
    )
    path = store.write(tmp_path, record_of(run_spec(), data=data_of(audit=verdict)))
    stored = json.loads((path / "record.json").read_text())["data"]["audit"]
    names = ("torn_clusters", "torn_groups", "exposed", "contradicted", "kept_out")
    assert [stored[name] for name in names] == [1, 2, 3, 4, 5]
    data = store.read(tmp_path, run_spec()).data
    assert data
    assert data.audit == verdict


def test_no_results_is_no_error(tmp_path: Path) -> None:
    assert store.scan(tmp_path / "none") == ([], [])
    with pytest.raises(StoreError, match="not done"):
        store.read(tmp_path, run_spec())
