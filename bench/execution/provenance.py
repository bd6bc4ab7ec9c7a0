"""What a record says about how it came to be: code, packages, plugins, hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench import __version__
from bench.registry import DISTRIBUTION

if TYPE_CHECKING:
    from bench.registry import Plugin
    from bench.results.record import Provenance

PACKAGES = ("torch", "torchvision", "timm", "fvcore", "numpy", "pillow", "scikit-learn")


class Software(NamedTuple):
    """What is installed on this machine."""

    git: dict[str, Any] | None
    packages: dict[str, str]
    python: str
    platform: str


def describe(plugins: Iterable[Plugin], hardware: Mapping[str, Any], software: Software) -> Provenance:
    """Provenance of one unit: `plugins` are those whose components it uses."""
    from bench.results.record import Provenance  # loads numpy, for which no plugin need wait

    used = {p.name: {"distribution": p.distribution, "version": p.version} for p in plugins}
    return Provenance(plugins=dict(sorted(used.items())), hardware=hardware, **software._asdict())


def hardware(device: str) -> dict[str, Any]:
    """Processor, cores this process may use, and the GPU if `device` is one."""
    about: dict[str, Any] = {"device": device, "cpu": _cpu_name(), "cores": usable_cores()}
    if device.startswith("cuda"):
        import torch

        about["gpu"] = torch.cuda.get_device_name(device)
        about["cuda"] = torch.version.cuda
    return about


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def software() -> Software:
    """The source tree, the packages, the interpreter and the system at work."""
    packages = {DISTRIBUTION: __version__}  # of the code at work, however it is installed
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    git = _git(Path(__file__).resolve().parents[1])
    return Software(git, packages, platform.python_version(), platform.platform())


def _git(package: Path) -> dict[str, Any] | None:
    """Commit of the source tree that `bench` runs from, or None for an installed wheel."""
    if not (package.parent / ".git").exists():
        return None
    try:
        commit = _git_output(package, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git_output(package, "status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git_output(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, check=True, timeout=10)
    return done.stdout.decode("utf-8", "replace").strip()  # names of files, in whatever locale


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
