"""What a process has opened: listed once, decoded once, and told what it is doing."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from spies import Notes, registry_with, tagged

from bench import (
    ConfigError,
    Dataset,
    Environment,
    Index,
    NoParams,
    Progress,
    Sample,
    Session,
    __version__,
)
from bench.data.images.view import View
from bench.engine.gpu.resident import DeviceImages
from bench.execution import provenance
from bench.execution.plan import choose_executor
from bench.identity import Ref
from bench.registry import Entry, Plugin, installed
from bench.study.protocol import AuditSettings

FILES = Ref("files")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A session with a data set of files that counts how often it is listed."""
    (tmp_path / "data").mkdir()
    for i in range(12):
        array = np.random.default_rng(i).integers(0, 256, (20 + i, 25), dtype=np.uint8)
        Image.fromarray(array).save(tmp_path / "data" / f"{i:02d}.png")
    listed: list[Path] = []

    def index(root: Path, params: NoParams) -> Index:
        listed.append(root)
        files = sorted(root.glob("*.png"))
        samples = tuple(Sample(id=p.stem, label="ab"[int(p.stem) % 2], path=p) for p in files)
        return Index(classes=("a", "b"), samples=samples)

    dataset = Dataset(name="files", about="test", index=index)
    opened = Session(
        Environment(data=tmp_path / "data", results=tmp_path / "results", threads=2),
        registry_with(Notes(), dataset),
    )
    opened.listed = listed  # type: ignore[attr-defined]  # for the tests
    return opened


def test_a_data_set_is_listed_once_however_often_it_is_opened(session: Session) -> None:
    first = session.images(FILES, (16,))
    session.audited(FILES, AuditSettings(), (8,))
    again = session.images(FILES, (16, 8))
    assert len(session.listed) == 1  # type: ignore[attr-defined]
    assert again is session.images(FILES, (8,))
    assert {8, 16} <= set(again.views)
    assert again.ids == first.ids


def test_short_sides_are_added_without_losing_those_that_are_open(session: Session) -> None:
    session.images(FILES, (16,))
    assert set(session.images(FILES, (8,)).views) == {8, 16}


def test_decoding_is_reported_also_where_the_store_was_removed_meanwhile(session: Session) -> None:
    news: list[Progress] = []
    session.images(FILES, (16,), news.append)
    assert "decode" in {progress.stage for progress in news}
    shutil.rmtree(session.environment.scratch)
    news.clear()
    images = session.images(FILES, (16, 8), news.append)
    assert "decode" in {progress.stage for progress in news}
    assert min(images.view(8)[0].shape[1:]) == 8


def test_images_are_decoded_by_as_many_threads_as_the_environment_has(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that a unit finds missing in the middle of a study."""
    workers: list[int] = []
    from bench.data.images import content, store

    real = store.in_order
    for module in (content, store):
        monkeypatch.setattr(module, "in_order", lambda *a: (workers.append(a[3]), real(*a))[1])
    session.images(FILES, (16,))
    shutil.rmtree(session.environment.scratch)
    session.images(FILES, (8,))
    assert workers
    assert set(workers) == {2}


def test_a_model_is_counted_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.cost import count

    calls: list[int] = []
    real = count.count_cost
    monkeypatch.setattr(count, "count_cost", lambda net, size: (calls.append(size), real(net, size))[1])
    model = Ref("test_convnext")
    first = session.cost(model, 3, 32)
    assert session.cost(model, 3, 32) is first
    assert session.cost(model, 3, 64) is not first
    assert session.cost(model, 2, 32) is not first
    assert calls == [32, 64, 32]
    assert (first.classes, first.size) == (3, 32)


def test_a_record_names_plugins_hardware_and_versions(session: Session) -> None:
    plugins = [Plugin("b", "pkg-b", "2", "b"), Plugin("a", "pkg-a", "1", "a")]
    described = session.provenance(plugins)
    assert described.plugins == {
        "a": {"distribution": "pkg-a", "version": "1"},
        "b": {"distribution": "pkg-b", "version": "2"},
    }
    assert list(described.plugins) == ["a", "b"]
    assert described.hardware["threads"] == 2
    assert described.device == "cpu"
    assert described.packages["torch"]
    assert described.packages["medbench"] == __version__
    assert "bench" not in described.packages  # somebody else's project, where it is installed


def test_the_commit_of_the_source_tree_is_recorded_with_whether_it_was_changed(tmp_path: Path) -> None:
    package = tmp_path / "bench"
    package.mkdir()
    assert provenance._git(package) is None
    (package / "a.py").write_text("a = 1\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for arguments in (["init", "-q"], ["add", "bench/a.py"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], check=True)
    clean = provenance._git(package)
    assert clean
    assert not clean["dirty"]
    (package / "a.py").write_text("a = 2\n")
    assert provenance._git(package) == {**clean, "dirty": True}


def working(jobs: int) -> Environment:
    return Environment(data=Path(), results=Path(), jobs=jobs)


def test_several_units_at_once_need_an_executor_that_can() -> None:
    registry = installed()
    for jobs in (1, 2):
        assert choose_executor(registry, "", working(jobs)).parallel
    assert choose_executor(registry, "", working(1), in_process=True).in_process
    alone = {
        name: entry for name, entry in registry.executors.entries.items() if not entry.component.parallel
    }
    alone = {
        name: Entry(dataclasses.replace(e.component, default=True), e.plugin) for name, e in alone.items()
    }
    serial = dataclasses.replace(registry, executors=dataclasses.replace(registry.executors, entries=alone))
    assert choose_executor(serial, "", working(1)) is alone["local"].component
    with pytest.raises(ConfigError, match="no plugin has a default executor for --jobs; name one"):
        choose_executor(serial, "", working(2))
    without = dataclasses.replace(registry, executors=dataclasses.replace(registry.executors, entries={}))
    with pytest.raises(ConfigError, match="no plugin has a default executor for --jobs; name one"):
        choose_executor(without, "", working(2))


def test_several_devices_need_an_executor_that_deals_them() -> None:
    registry = installed()
    two = dataclasses.replace(working(1), device="cuda:0", devices=("cuda:0", "cuda:1"))
    assert choose_executor(registry, "", two).parallel
    local = registry.executors.get("local")
    for named, in_process in (("local", False), (local, False), ("", True)):
        with pytest.raises(
            ConfigError, match="--device cuda:0,cuda:1: the executor local works on one device"
        ):
            choose_executor(registry, named, two, in_process)


def test_a_session_with_another_registry_knows_its_components(session: Session, tmp_path: Path) -> None:
    assert session.registry.datasets.get("files")
    own = Session(session.environment)
    assert "files" not in own.registry.datasets.names()
    other = dataclasses.replace(tagged(), name="others")
    assert Session(session.environment, registry_with(Notes(), other)).registry.datasets.get("others")


def test_memory_that_runs_out_takes_the_images_from_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    place = Environment(
        data=tmp_path, results=tmp_path, device="cuda:0", devices=("cuda:0", "cuda:1"), jobs=3
    )
    session = Session(place)
    store = session.device_store
    assert store is not None
    assert store.processes == 2  # of three, on two devices, at most
    view = View(np.zeros(12, dtype=np.uint8), ((3, 2, 2),))
    store.opened[view] = DeviceImages(view, store.device, torch.zeros(12, dtype=torch.uint8))
    session.free_device_memory()
    assert store.held == 0
    assert store.open(view).pixels is None
