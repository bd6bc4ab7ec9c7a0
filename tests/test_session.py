"""What a process has opened: listed once, decoded once, and told what it is doing."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from spies import Notes, registry_with, tagged

from bench import (
    ConfigError,
    Dataset,
    Environment,
    Executor,
    Index,
    NoParams,
    Outcome,
    Progress,
    Sample,
    Session,
    Study,
    __version__,
)
from bench.cost.count import count_cost
from bench.data.images.view import View
from bench.engine.gpu.resident import DeviceImages
from bench.execution import provenance
from bench.execution.exchange import Exchange, folder_of_a_command
from bench.execution.plan import choose_executor, make_plan
from bench.execution.work import work
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


# --- what processes of one command leave for each other ----------------------------------------------


def beside(session: Session, exchange: Path | None) -> Session:
    """The session of another process of the same command."""
    return Session(dataclasses.replace(session.environment, exchange=exchange), session.registry)


def test_processes_of_a_command_list_a_data_set_once(session: Session, tmp_path: Path) -> None:
    images = session.images(FILES, (16,))
    with folder_of_a_command(session.environment.scratch) as folder:
        assert folder
        assert folder.stat().st_mode & 0o077 == 0, "what is unpickled, nobody else can write"
        session.environment = dataclasses.replace(session.environment, exchange=folder)
        session.leave_indexes()
        assert beside(session, folder).images(FILES, (16,)).ids == images.ids
        assert len(session.listed) == 1  # type: ignore[attr-defined]
        (file,) = folder.iterdir()
        file.write_bytes(file.read_bytes()[:50])  # cut off: it lists for itself
        assert beside(session, folder).images(FILES, (16,)).ids == images.ids
        assert len(session.listed) == 2  # type: ignore[attr-defined]
        others = Ref("files", local={"title": "others"})
        assert beside(session, folder).exchange.find("index", others) is None
    assert not folder.exists()
    assert beside(session, folder).images(FILES, (16,)).ids == images.ids  # of a command that has ended
    assert beside(session, None).images(FILES, (16,)).ids == images.ids
    assert len(session.listed) == 4  # type: ignore[attr-defined]


def test_images_that_a_listing_holds_are_not_copied_by_the_gigabyte(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.zeros((20, 20), dtype=np.uint8)
    samples = tuple(Sample(id=str(i), label="ab"[i % 2], array=array + i) for i in range(12))
    session._indexes[FILES] = Index(classes=("a", "b"), samples=samples)
    for most, left in ((12 * 400 - 1, 0), (12 * 400, 1)):
        monkeypatch.setattr("bench.execution.session.MOST", most)
        with folder_of_a_command(tmp_path) as folder:
            assert folder
            beside(session, folder)
            session.environment = dataclasses.replace(session.environment, exchange=folder)
            session.leave_indexes()
            assert len(list(folder.iterdir())) == left


def test_what_cannot_be_left_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with folder_of_a_command(tmp_path) as folder:
        Exchange(folder).leave(lambda: None, "function")
        monkeypatch.setattr("bench.execution.exchange.MOST", 100)
        Exchange(folder).leave("x" * 101, "large")
        Exchange(None).leave(1, "number")
        assert folder
        assert list(folder.iterdir()) == []
        assert Exchange(folder).find("function") is Exchange(None).find("number") is None
    (tmp_path / "exchange").rmdir()
    (tmp_path / "exchange").write_text("a file")
    with folder_of_a_command(tmp_path) as folder:
        assert folder is None


def test_processes_of_a_command_count_a_model_once(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    count = count_cost

    def counts(net: object, size: int) -> object:
        counted.append(size)
        return count(net, size)  # type: ignore[arg-type]

    monkeypatch.setattr("bench.cost.count.count_cost", counts)
    model = Ref("test_convnext")
    with folder_of_a_command(tmp_path) as folder:
        costs = [beside(session, folder).cost(model, 3, size) for size in (32, 32, 64)]
    assert (costs[0], counted) == (costs[1], [32, 64])
    assert costs[2] != costs[0]
    beside(session, None).cost(model, 3, 32)
    assert counted == [32, 64, 32]


def test_a_command_leaves_its_sessions_as_they_were(tmp_path: Path) -> None:
    """Also where nobody waits for all of its units."""
    study = Study.from_keywords(
        datasets=("phantom",),
        models=("test_convnext",),
        strategies=("scratch",),
        protocol={"size": 32, "rounds": 2, "finetune": {"epochs": 1, "resize": 36}},
        dataset={"phantom": {"patients": 20}},
    )
    plan = make_plan(study, Session(Environment(data=tmp_path, results=tmp_path, threads=1)))
    before, seen = plan.session.environment, []

    def watching(execute: Any, units: Any, session: Session, report: Any) -> Any:
        seen.append(session.environment.exchange)
        assert seen[0].is_dir()
        assert len(list(seen[0].iterdir())) == 1  # the index
        for unit in units:
            yield Outcome(unit=unit, status="done")

    working = work(plan, Executor(name="watching", about="", map=watching))
    next(working)
    working.close()
    assert plan.session.environment == before
    assert not seen[0].exists()
    assert list((tmp_path / ".scratch" / "exchange").iterdir()) == []


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
