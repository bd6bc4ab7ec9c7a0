"""What a record says about how it came to be: code, packages, plugins, hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.plugins import Source

PACKAGES = ("bench", "torch", "torchvision", "timm", "fvcore", "numpy", "pillow", "scikit-learn")


def describe(sources: Iterable[Source], device: str, threads: int) -> dict[str, Any]:
    """Provenance of one unit: `sources` are the plugins whose offers it uses."""
    plugins = {s.plugin: {"distribution": s.distribution, "version": s.version} for s in sources}
    return {
        "plugins": dict(sorted(plugins.items())),
        "hardware": hardware(device) | {"threads": threads},
        **_software(),
    }


def hardware(device: str) -> dict[str, Any]:
    """Processor, cores this process may use, and the GPU if `device` is one."""
    import torch

    found: dict[str, Any] = {"device": device, "cpu": _cpu_name(), "cores": usable_cores()}
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(device)
        found["cuda"] = torch.version.cuda
    return found


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _software() -> dict[str, Any]:
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "git": _git(Path(__file__).resolve().parent),
        "packages": packages,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _git(folder: Path) -> dict[str, Any] | None:
    """Commit of the source tree that `bench` runs from, or None for an installed wheel."""
    if not (folder.parent / ".git").exists():
        return None
    try:
        commit = _git_output(folder, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git_output(folder, "status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git_output(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


@cache
def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
