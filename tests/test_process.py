"""How a process is set up to compute: what a user has set stands, and no bit changes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from bench import process

SETTINGS = (*process.WAITING, *process.ALLOCATOR, "GLIBC_TUNABLES", "LD_PRELOAD")

TRAINED = """
import hashlib, json, resource, statistics
from bench import process
process.set_environment()
import psutil, torch
from bench.engine.device import configure
configure("cpu", 2)
torch.manual_seed(0)
net = torch.nn.Sequential(
    torch.nn.Conv2d(3, 64, 3, padding=1), torch.nn.BatchNorm2d(64), torch.nn.GELU(),
    torch.nn.Conv2d(64, 64, 3, padding=1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
    torch.nn.Linear(64, 3),
).to(memory_format=torch.channels_last)
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
images = torch.randn(16, 3, 64, 64).to(memory_format=torch.channels_last)
faults = []
for step in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    optimizer.zero_grad(set_to_none=True)
    torch.nn.functional.cross_entropy(net(images), torch.arange(16) % 3).backward()
    optimizer.step()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in net.state_dict().values())).hexdigest()
optimizer.zero_grad(set_to_none=True)
large = torch.ones(50_000_000)
del large
held = psutil.Process().memory_info().rss
process.release_memory()
released = held - psutil.Process().memory_info().rss
faults = statistics.median(faults)
print(json.dumps({"digest": digest, "faults": faults, "released": released, **process.settings()}))
"""


def trained(**environment: str) -> dict[str, Any]:
    """What a process says that trains a little with these variables set."""
    others = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", TRAINED], env=others | environment, capture_output=True, text=True, check=True
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.skipif(process._glibc() is None, reason="the settings are those of glibc")
@pytest.mark.long
def test_settings_change_no_bit_and_memory_stays_until_it_is_released() -> None:
    ours = trained()
    assert ours["threads_wait"] == "OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=3000"
    assert ours["freed_memory"] == "kept"
    plain = trained(OMP_WAIT_POLICY="ACTIVE", MALLOC_MMAP_THRESHOLD_="131072")
    assert plain["threads_wait"] == "OMP_WAIT_POLICY=ACTIVE"
    assert plain["freed_memory"] == "by default"
    huge = trained(GLIBC_TUNABLES=process.HUGE_PAGES)  # as processes begin that ours have started
    assert huge["freed_memory"] == "kept, on huge pages"
    assert ours["digest"] == plain["digest"] == huge["digest"]
    # Of the median step: in a single one, on a loaded machine, the heap may still grow.
    assert ours["faults"] * 10 < plain["faults"]
    assert ours["released"] > 150_000_000  # of 200 MB
    assert plain["released"] < 50_000_000  # there was nothing left to release


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.setenv(name, "")  # so that it is put back, whatever a test sets
        monkeypatch.delenv(name)
    monkeypatch.setattr(process._State, "late", False)
    monkeypatch.setattr(process._State, "kept", False)
    monkeypatch.setattr(process._State, "huge_pages", False)


@pytest.mark.usefixtures("unset")
@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "7")])
def test_how_threads_wait_is_left_as_a_user_has_set_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    process.set_environment()
    assert {key: os.environ[key] for key in process.WAITING if key in os.environ} == {name: value}


class _Libc:
    """Notes what it is asked to set."""

    def __init__(self) -> None:
        self.set: list[tuple[int, int]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.set.append((option, value))
        return 1


@pytest.mark.usefixtures("unset")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "1") for name in process.ALLOCATOR),
        ("GLIBC_TUNABLES", "glibc.malloc.arena_max=1"),
        ("LD_PRELOAD", "/usr/lib/libjemalloc.so.2"),
    ],
)
def test_the_allocator_is_left_as_a_user_has_set_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    libc = _Libc()
    monkeypatch.setattr(process, "_glibc", lambda: libc)
    monkeypatch.setenv(name, value)
    process.set_environment()
    process.keep_memory()
    assert (os.environ.get("GLIBC_TUNABLES"), libc.set) == (value if name == "GLIBC_TUNABLES" else None, [])
    monkeypatch.delenv(name)
    process.set_environment()
    if sys.platform.startswith("linux"):
        assert os.environ["GLIBC_TUNABLES"] == process.HUGE_PAGES
    process.keep_memory()
    process.keep_memory()  # once a process
    assert libc.set == [(process.M_TRIM_THRESHOLD, process.KEPT), (process.M_MMAP_MAX, 0)]


@pytest.mark.usefixtures("unset")
def test_without_glibc_nothing_is_set_and_nothing_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_glibc", lambda: None)
    process.keep_memory()
    process.release_memory()
    assert process.settings() == {"threads_wait": "by default", "freed_memory": "by default"}


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_have_no_such_settings(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert process._glibc.__wrapped__() is None


def test_musl_has_no_such_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    class Musl:
        """A C library without `gnu_get_libc_version`."""

    monkeypatch.setattr("ctypes.CDLL", lambda name: Musl())
    assert process._glibc.__wrapped__() is None


@pytest.mark.usefixtures("unset")
def test_what_came_too_late_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it had been loaded
    process.set_environment()
    with caplog.at_level(logging.WARNING, "bench"):
        process.warn_if_late()
    assert "call bench.local_environment() before anything imports torch" in caplog.text
    assert process.settings()["threads_wait"] == "as it was when torch was loaded"
