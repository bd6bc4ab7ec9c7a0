"""The tracker `wandb`, offline: what its files hold, and that nothing leaves the machine."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wandb")

from tracked_samples import STUDY, UNIT, begun, done, epochs

from bench import ConfigError, UnitDone, testing
from bench_trackers.wandb import WANDB, WandbParams

BLOCK = 2**15


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What anybody in this process, or in one started by it, asks of the network: all of it goes through a
    proxy that answers nothing."""
    asked: list[bytes] = []
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        proxy.settimeout(0.2)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    peer, _ = proxy.accept()
                except TimeoutError:
                    continue
                with peer:
                    peer.settimeout(2)
                    asked.append(peer.recv(200))

        thread = threading.Thread(target=listen)
        thread.start()
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            for spelt in (name, name.lower()):
                monkeypatch.setenv(spelt, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.delenv("WANDB_API_KEY", raising=False)
        yield asked
        over.set()
        thread.join()


def records(file: Path) -> Iterator[bytes]:
    """Those of a log as LevelDB has it, after wandb's own heading of seven bytes: blocks of 32 KiB, in which
    a record is in one piece or several, each after checksum, length and kind (whole, first, middle, last).
    """
    data, at, parts = file.read_bytes(), 7, []
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # the end of a block holds no heading
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if not kind:
            return
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []


def named(items: Any) -> dict[str, Any]:
    """Key and value of each."""
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def read(folder: Path) -> dict[str, Any]:
    """What an offline run holds: its configuration, its history, its summary, its exit code. Another process
    writes it, perhaps a moment after the run has ended."""
    deadline = time.monotonic() + 30
    while "exit" not in (found := read_so_far(folder)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def read_so_far(folder: Path) -> dict[str, Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("*.wandb")
    found: dict[str, Any] = {"config": {}, "history": [], "summary": {}}
    for data in records(file):
        record = Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {"id": record.run.run_id, "name": record.run.display_name}
            found |= {"group": record.run.run_group}
            found["config"] |= named(record.run.config.update)
        elif kind == "history":
            found["history"].append(named(record.history.item))
        elif kind == "summary":
            found["summary"] |= named(record.summary.update)
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found


def test_it_conforms(connections: list[bytes]) -> None:
    testing.check_tracker(WANDB)
    assert connections == []


def test_a_run_is_read_back_and_nothing_was_asked_of_the_network(
    tmp_path: Path, connections: list[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    with WANDB.open(replace(STUDY, results=tmp_path), WandbParams(project="mine")) as tell:
        for event in (begun(), *epochs(3), done(auc=0.75)):
            tell(event)
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    found = read(folder)
    assert (found["name"], found["group"], found["exit"]) == (UNIT.name, STUDY.name, 0)
    assert found["config"]["finetune.epochs"] == 3
    assert found["config"]["method"] == UNIT.method
    assert [line["fine-tune/loss"] for line in found["history"]] == [1.0, 0.5, 0.25]
    assert [line["epoch"] for line in found["history"]] == [1, 2, 3]
    assert found["summary"]["test/auc"] == 0.75
    assert connections == []
    assert capfd.readouterr().out == ""


def test_a_unit_that_is_interrupted_is_not_a_success(tmp_path: Path, connections: list[bytes]) -> None:
    with WANDB.open(replace(STUDY, results=tmp_path), WandbParams()) as tell:
        tell(begun())
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert read(folder)["exit"] == 255


def test_a_unit_of_before_is_written_once(tmp_path: Path, connections: list[bytes]) -> None:
    study = replace(STUDY, results=tmp_path, units=(replace(UNIT, done=True),), replay=replayed)
    for _ in range(2):
        with WANDB.open(study, WandbParams()):
            pass
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert len(read(folder)["history"]) == 2


def test_a_unit_that_was_left_in_its_middle_is_written_whole_once_it_is_done(
    tmp_path: Path, connections: list[bytes]
) -> None:
    with WANDB.open(replace(STUDY, results=tmp_path), WandbParams()) as tell:
        for event in (begun(), *epochs(1)):
            tell(event)
    done_since = replace(STUDY, results=tmp_path, units=(replace(UNIT, done=True),), replay=replayed)
    with WANDB.open(done_since, WandbParams()):
        pass
    ends = {read(folder)["exit"]: read(folder) for folder in (tmp_path / "wandb").glob("offline-run-*")}
    assert set(ends) == {255, 0}
    assert len(ends[0]["history"]) == 2


def replayed(unit: Any) -> Any:
    return [begun(unit), *epochs(2, unit), UnitDone(time=0.0, unit=unit, seconds=1.0)]


def test_nobody_is_asked_to_log_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert WANDB.check
    WANDB.check(WandbParams())
    with pytest.raises(ConfigError, match="mode=online, but wandb knows no key; run `wandb login`"):
        WANDB.check(WandbParams(mode="online"))
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    WANDB.check(WandbParams(mode="online"))
