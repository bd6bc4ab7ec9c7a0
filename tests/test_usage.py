"""What a record says that a training used: measured where that can be, None elsewhere, and no bit changes."""

from __future__ import annotations

import dataclasses
import json
import logging
import mmap
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from samples import failure_of, record_of, run_spec, store_run
from spies import IMAGES, watch
from torch import Tensor, nn

import bench
from bench.engine.job import History, Job
from bench.execution import energy, memory, usage
from bench.execution.session import Session
from bench.interfaces.executor import Environment, silent
from bench.results import store
from bench.results.record import RECORD, Usage

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)
USAGE = Usage(
    images_per_second=31.5,
    peak_memory=3 * 2**30,
    latency=0.0125,
    energy=420.25,
    energy_source="rapl",
    at_once=2,
)


# --- records -----------------------------------------------------------------------------------------


def test_a_record_keeps_what_was_used(tmp_path: Path) -> None:
    partly = Usage(images_per_second=1.5, at_once=1)
    for round_, used in enumerate((USAGE, partly, None)):
        path = store.write(tmp_path, record_of(run_spec(round_=round_), usage=used))
        assert store.read(tmp_path, run_spec(round_=round_)).usage == used
        stored = json.loads((path / RECORD).read_text())
        assert ("usage" in stored) == (used is not None)
    assert stored["version"] == 2  # versions of bench that do not know the field pass over it


def test_what_a_newer_version_says_more_is_passed_over(tmp_path: Path) -> None:
    from bench.results.record import record_from_json, record_to_json

    content = record_to_json(record_of(run_spec(), usage=USAGE, artefacts={}))
    content["usage"] |= {"colour": "green"}
    assert record_from_json(content, tmp_path).usage == USAGE


def test_what_was_used_is_in_no_key(tmp_path: Path) -> None:
    assert record_of(run_spec(), usage=USAGE).key == run_spec().key


def test_frames_show_what_was_used(tmp_path: Path) -> None:
    known, before, failed = (run_spec(round_=round_) for round_ in range(3))
    store.write(tmp_path, record_of(known, usage=USAGE))
    store_run(tmp_path, before)
    store.write_failure(tmp_path, failure_of(failed))
    columns = ["images_per_second", "peak_memory", "latency", "energy"]
    runs = bench.load_results(tmp_path, "accuracy").runs.set_index("key")[columns]
    assert runs.loc[known.key].tolist() == [31.5, 3 * 2**30, 0.0125, 420.25]
    assert runs.loc[[before.key, failed.key]].isna().all(axis=None)


# --- energy of processors ----------------------------------------------------------------------------


class Powercap:
    """A folder like /sys/class/powercap."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def zone(self, name: str, called: str, microjoules: int, most: int = 1000) -> None:
        (self.folder / name).mkdir(parents=True)
        (self.folder / name / "name").write_text(f"{called}\n")
        (self.folder / name / "max_energy_range_uj").write_text(f"{most}\n")
        self.set(name, microjoules)

    def set(self, name: str, microjoules: int) -> None:
        # In one step, because a thread may read meanwhile; the kernel's files are never half written either.
        beside = self.folder / name / "new"
        beside.write_text(f"{microjoules}\n")
        beside.replace(self.folder / name / "energy_uj")


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Powercap:
    """Two packages, a part of one of them, the whole platform, and another way to read a package."""
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "powercap")
    zones = Powercap(tmp_path / "powercap")
    zones.zone("intel-rapl:0", "package-0", 900)
    zones.zone("intel-rapl:1", "package-1", 100, most=2000)
    zones.zone("intel-rapl:0:0", "core", 5)
    zones.zone("intel-rapl:2", "psys", 0)
    zones.zone("intel-rapl-mmio:0", "package-0", 0)
    (zones.folder / "intel-rapl").mkdir()
    return zones


def test_packages_are_summed_over_the_turns_of_their_counters(powercap: Powercap) -> None:
    counter = energy.energy_counter(CPU)
    assert isinstance(counter, energy.Rapl)
    for name, value in (("intel-rapl:0", 50), ("intel-rapl:0:0", 90), ("intel-rapl:2", 90)):
        powercap.set(name, value)
    powercap.set("intel-rapl-mmio:0", 77)
    counter.read()
    assert counter.counted == 1000 - 900 + 50
    powercap.set("intel-rapl:0", 40)  # one turn more
    powercap.set("intel-rapl:1", 160)
    assert counter.close() == pytest.approx((150 + 990 + 60) / 1e6)
    assert counter.source == "rapl"
    assert not counter.thread.is_alive()


def test_turns_between_beginning_and_end_are_not_missed(
    powercap: Powercap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "INTERVAL", 0.001)
    with usage.measured(CPU) as measurement:
        counter = measurement.counter
        assert isinstance(counter, energy.Rapl)
        expected = 0
        for before, value in ((900, 800), (800, 700), (700, 600)):
            powercap.set("intel-rapl:0", value)
            expected += 1000 - before + value
            deadline = time.monotonic() + 30
            while counter.counted < expected and time.monotonic() < deadline:
                time.sleep(0.001)
    assert measurement.energy == pytest.approx(expected / 1e6)
    assert measurement.usage(History(), 3) == Usage(
        peak_memory=measurement.peak_memory, energy=expected / 1e6, energy_source="rapl", at_once=3
    )


@pytest.mark.parametrize(
    ("file", "content"),
    [("name", None)]
    + [(name, content) for name in ("energy_uj", "max_energy_range_uj") for content in (None, "", "unknown")],
)
def test_a_counter_that_cannot_be_read_counts_nothing(
    powercap: Powercap, file: str, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even the other package: a part of the energy would be taken for all of it."""
    path = powercap.folder / "intel-rapl:1" / file
    path.unlink()
    if content is not None:
        path.write_text(content)
    with caplog.at_level(logging.DEBUG, logger="bench"), usage.measured(CPU) as measurement:
        pass
    assert measurement.energy is None
    assert measurement.usage(History(), 1).energy_source is None
    assert "energy is not measured: " in caplog.text
    assert {record.levelname for record in caplog.records} == {"DEBUG"}


def test_a_counter_that_stops_meanwhile_is_none(powercap: Powercap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "INTERVAL", 0.001)
    with usage.measured(CPU) as measurement:
        assert isinstance(measurement.counter, energy.Rapl)
        (powercap.folder / "intel-rapl:0" / "energy_uj").unlink()
        measurement.counter.thread.join(30)
        powercap.set("intel-rapl:0", 950)  # it is back, but what it counted meanwhile is not known
    assert measurement.energy is None


def test_a_machine_without_counters_has_no_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "powercap")
    assert energy.energy_counter(CPU) is None
    (tmp_path / "powercap").mkdir()
    assert energy.energy_counter(CPU) is None


@pytest.mark.usefixtures("powercap")
def test_a_training_that_fails_leaves_no_thread_behind() -> None:
    def diverge() -> None:
        with usage.measured(CPU):
            assert "energy" in [thread.name for thread in threading.enumerate()]
            raise ValueError("diverged")

    with pytest.raises(ValueError, match="diverged"):
        diverge()
    assert "energy" not in [thread.name for thread in threading.enumerate()]


# --- energy of a GPU ---------------------------------------------------------------------------------


class Nvml:
    """A module like pynvml, of one GPU."""

    class NVMLError(Exception):
        pass

    def __init__(self, *millijoules: int) -> None:
        self.millijoules = list(millijoules)
        self.open = 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, identifier: str) -> str:
        assert self.open
        if identifier != "GPU-1234-abcd":
            raise self.NVMLError("Not Found")
        return "the handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        assert self.open
        assert handle == "the handle"
        if not self.millijoules:
            raise self.NVMLError("Not Supported")
        return self.millijoules.pop(0)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What PyTorch says of a GPU: its identifier, and the memory that was reserved there."""
    about = SimpleNamespace(uuid="1234-abcd", reserved=7 * 2**30, forgotten=[])
    monkeypatch.setattr(torch.cuda, "get_device_properties", {GPU: about}.__getitem__)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", about.forgotten.append)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", {GPU: about.reserved}.__getitem__)
    return about


@pytest.mark.usefixtures("powercap")
def test_a_gpu_counts_its_own_energy_and_memory(
    gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml = Nvml(5_000_000, 5_001_500)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    with usage.measured(GPU) as measurement:
        assert gpu.forgotten == [GPU]
    assert measurement.usage(History(seconds=2.0, images=8), 1) == Usage(
        images_per_second=4.0, peak_memory=7 * 2**30, energy=1.5, energy_source="nvml", at_once=1
    )
    assert nvml.open == 0


@pytest.mark.parametrize("nvml", [None, Nvml(), Nvml(5_000_000)], ids=["absent", "no counter", "lost"])
@pytest.mark.usefixtures("powercap")  # what processors take is not what a GPU does
def test_a_gpu_without_a_counter_has_no_energy(
    gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, nvml: Nvml | None
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # None: an import raises
    with usage.measured(GPU) as measurement:
        pass
    used = measurement.usage(History(), 1)
    assert (used.energy, used.energy_source, used.peak_memory) == (None, None, gpu.reserved)
    assert nvml is None or nvml.open == 0


def test_another_gpu_of_the_machine_is_not_taken_for_it(
    gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.uuid = "5678-ef"
    nvml = Nvml(1, 2)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    with usage.measured(GPU) as measurement:
        pass
    assert measurement.energy is None
    assert nvml.open == 0


# --- memory of a process -----------------------------------------------------------------------------


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "PROCESS", tmp_path)
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "powercap")
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n")
    (tmp_path / "clear_refs").write_text("")
    return tmp_path


def test_the_peak_of_a_process_is_begun_anew_and_read(proc: Path) -> None:
    with usage.measured(CPU) as measurement:
        assert (proc / "clear_refs").read_text() == "5"
        assert measurement.peak_memory is None
    assert measurement.peak_memory == 2048 * 1024


@pytest.mark.parametrize("status", ["VmRSS:\t1 kB\n", "VmHWM:\n", "VmHWM:\t1 MB\n", "VmHWM:\tx kB\n", None])
def test_a_peak_that_cannot_be_read_is_none(proc: Path, status: str | None) -> None:
    (proc / "status").unlink()
    if status is not None:
        (proc / "status").write_text(status)
    with usage.measured(CPU) as measurement:
        pass
    assert measurement.peak_memory is None


def test_a_peak_that_cannot_be_begun_anew_is_none(proc: Path) -> None:
    """It may be that of what the process did before."""
    (proc / "clear_refs").unlink()
    (proc / "clear_refs").mkdir()
    with usage.measured(CPU) as measurement:
        pass
    assert measurement.peak_memory is None


def touch(size: int) -> None:
    """Use so many bytes of memory for a moment, past the allocator, which may keep what is freed."""
    with mmap.mmap(-1, size) as memory:
        for start in range(0, size, mmap.PAGESIZE):
            memory[start] = 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux with /proc/self/clear_refs")
def test_a_peak_is_that_of_the_block() -> None:
    size = 400 * 2**20
    touch(size)
    with usage.measured(CPU) as before:
        pass
    with usage.measured(CPU) as within:
        touch(size)
    assert before.peak_memory is not None
    assert within.peak_memory is not None
    assert within.peak_memory - before.peak_memory > size / 2


# --- latency -----------------------------------------------------------------------------------------


class Restless(nn.Module):
    """Draws random numbers and changes its buffer and its weight, whatever its mode."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 2)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        self.linear.weight.data.add_(torch.rand(()))
        logits: Tensor = self.linear(images)
        return logits


def a_job() -> Job:
    return Job("toy", "fine-tune", 0, CPU, Path("unused"), silent)


def test_latency_leaves_network_and_random_state_as_they_were() -> None:
    net = Restless().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    latency = usage.measured_latency(net, 8, a_job(), 1.0)
    assert latency is not None
    assert latency > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())


def sleeping(seconds: float, passes: list[tuple[int, ...]]) -> nn.Module:
    class Sleeping(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            passes.append(tuple(images.shape))
            time.sleep(seconds)
            return images

    return Sleeping()


def test_latency_takes_little_of_the_time_of_a_training() -> None:
    slow: list[tuple[int, ...]] = []
    latency = usage.measured_latency(sleeping(0.06, slow), 8, a_job(), 1.0)
    assert latency == pytest.approx(0.06, rel=0.5)
    assert len(slow) - usage.PASSES in (1, 2, 3)  # the warm-up
    assert set(slow) == {(1, 3, 8, 8)}
    short: list[tuple[int, ...]] = []
    usage.measured_latency(sleeping(0.01, short), 8, a_job(), 0.0)
    long: list[tuple[int, ...]] = []
    usage.measured_latency(sleeping(0.01, long), 8, a_job(), 3600.0)
    assert len(short) < 10
    assert 10 < len(long) < 60


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), ValueError("one image is too few"), NotImplementedError()]
)
def test_a_network_that_fails_has_no_latency(error: Exception) -> None:
    class Failing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise error

    assert usage.measured_latency(Failing(), 8, a_job(), 1.0) is None


def test_a_network_that_cannot_be_copied_has_no_latency() -> None:
    net = nn.Linear(8, 2)
    net.lock = threading.Lock()  # type: ignore[assignment]
    assert usage.measured_latency(net, 8, a_job(), 1.0) is None


# --- units -------------------------------------------------------------------------------------------


def files(folder: Path) -> dict[str, bytes]:
    """What predicts and what is predicted: by unit, the bytes of encoders and predictions."""
    found = [*folder.glob("results/*/*/*/*.parquet"), *folder.glob("results/*/*/*/*.safetensors")]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in found}


@pytest.mark.usefixtures("powercap")
def test_units_say_what_they_used_and_predict_the_same_bits_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.perf_counter()
    watched = watch(tmp_path / "with", "spied", "scratch")
    seconds = time.perf_counter() - began
    for unit in watched.plan.units:
        record = store.read(watched.results, unit)
        used, timings, history = record.usage, record.timings, record.history
        if unit.kind == "ensemble":
            assert used is None
            continue
        assert used
        assert timings
        assert history
        assert used.images_per_second is not None
        images = used.images_per_second * timings.seconds
        assert images == pytest.approx(round(images))
        each, rest = divmod(round(images), len(history.loss))
        assert rest == 0  # the same images in each epoch
        assert 0.5 * IMAGES < each < IMAGES
        if Path("/proc/self/clear_refs").exists():
            assert used.peak_memory is not None
            assert 2**24 < used.peak_memory < memory.total_memory()
        assert (used.energy, used.energy_source) == (0.0, "rapl")  # of counters that stand still
        assert used.at_once == 1
        if unit.kind == "run":
            assert used.latency is not None
            assert 0 < used.latency < seconds
        else:
            assert used.latency is None

    def nothing(*arguments: Any) -> None:
        raise OSError("not on this machine")

    monkeypatch.setattr(usage, "_latency", nothing)
    monkeypatch.setattr(memory, "forget_peak_resident", nothing)
    monkeypatch.setattr(energy, "energy_counter", nothing)
    without = watch(tmp_path / "without", "spied", "scratch")
    for unit in without.plan.units:
        used = store.read(without.results, unit).usage
        assert used is None or dataclasses.replace(used, images_per_second=None) == Usage(at_once=1)
    assert len(files(tmp_path / "with")) == 4
    assert files(tmp_path / "with") == files(tmp_path / "without")
    assert without.notes.seen == watched.notes.seen


@pytest.mark.parametrize(
    ("jobs", "devices", "at_once"),
    [(1, (), 1), (5, (), 5), (5, ("cuda:0", "cuda:1"), 3), (1, ("cuda:0",), 1)],
)
def test_units_at_once_are_those_of_one_device(
    tmp_path: Path, jobs: int, devices: tuple[str, ...], at_once: int
) -> None:
    place = Environment(data=tmp_path, results=tmp_path, jobs=jobs, devices=devices)
    assert Session(place).at_once == at_once


@pytest.mark.parametrize("history", [History(seconds=1.0), History(images=8)])
def test_a_training_with_nothing_left_to_do_has_no_speed(history: History) -> None:
    with usage.measured(CPU) as measurement:
        pass
    assert measurement.usage(history, 1).images_per_second is None
