"""What this machine has: packages, device, folders, locks, plugins."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.doctor.finding import Finding
from bench.execution.gpu_sharing import mps_runs
from bench.execution.verdict import describe_gpu
from bench.interfaces.executor import Environment

GIB = 2**30
LEAST_RESULTS = 1.0  # GiB, for records, checkpoints and stored images of a small study
LEAST_GPU = 4.0  # GiB free on a GPU for a ConvNeXt-T at batch 16


def versions(environment: Environment) -> Finding:
    """Packages that this program needs, in versions that it works with."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from bench import __version__
    from bench.execution.provenance import PACKAGES
    from bench.registry import DISTRIBUTION

    found = {"bench": __version__, "python": platform.python_version()}
    problems = []
    try:
        needed = requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # run from its sources
        needed = []
    for line in needed:
        name, least, optional = _requirement(line)
        try:
            there = version(name)
        except PackageNotFoundError:
            if not optional:
                problems.append(f"{name} is not installed")
            continue
        if name in PACKAGES:
            found[name] = there
        if least and not optional and _numbers(there) < _numbers(least):
            problems.append(f"{name} {there} is older than {least}")
    figures = {"versions": found, "platform": platform.platform()}
    if problems:
        return Finding(False, "; ".join(problems), f"python -m pip install -U {DISTRIBUTION}", figures)
    return Finding(True, ", ".join(f"{name} {number}" for name, number in found.items()), figures=figures)


def _requirement(line: str) -> tuple[str, str, bool]:
    """Name, lowest version and whether there is a condition: of "lightly>=1.5; extra == 'peers'"."""
    import re

    what, _, condition = line.partition(";")
    match = re.match(r"\s*([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:>=\s*([0-9][0-9.]*))?", what)
    assert match, line
    return match[1], match[2] or "", bool(condition.strip())


def _numbers(version: str) -> tuple[int, ...]:
    """(2, 14, 1) of "2.14.1+cu130"."""
    parts = version.partition("+")[0].split(".")
    return tuple(int("".join(filter(str.isdecimal, part)) or 0) for part in parts[:3])


# --- the device --------------------------------------------------------------------------------------


def device(environment: Environment) -> Finding:
    """Whether PyTorch computes on the device, and what the device is."""
    import torch

    from bench.engine.device import configure
    from bench.execution.provenance import hardware

    target = configure(environment.device, environment.threads)
    about: dict[str, Any] = dict(hardware(environment.device)) | {"memory_gib": _memory_gib()}
    about |= {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}
    matrix = torch.eye(64, device=target) * 2
    if float((matrix @ matrix).sum()) != 256.0:
        return Finding(False, f"{environment.device} multiplies two matrices wrongly", figures=about)
    if target.type != "cuda":
        said = f"{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB"
        return Finding(True, said, figures=about)
    return _cuda(environment.device, about)


def _cuda(name: str, about: dict[str, Any]) -> Finding:
    import torch

    gpu = describe_gpu(name)
    major, minor = torch.cuda.get_device_capability(name)
    free, total = (round(size / GIB, 1) for size in torch.cuda.mem_get_info(name))
    bf16 = major >= 8  # older ones emulate it, which PyTorch counts as support
    about |= {
        "gpu": gpu.name,
        "driver": gpu.driver,
        "mig": gpu.mig,
        "compute_mode": gpu.compute_mode,
        "capability": f"{major}.{minor}",
        "bf16": bf16,
        "free_gib": free,
        "total_gib": total,
        "mps": mps_runs(),
    }
    said = (
        f"{gpu.name}, {free} of {total} GiB free, driver {gpu.driver}, CUDA {about['cuda']}, "
        f"capability {major}.{minor}, bf16 {'native' if bf16 else 'emulated'}, "
        f"MPS {'on' if about['mps'] else 'off'}, MIG {gpu.mig or 'unknown'}"
    )
    built_for = [int(arch[3:].rstrip("af")) for arch in torch.cuda.get_arch_list() if arch.startswith("sm_")]
    if built_for and major * 10 + minor < min(built_for):
        remedy = f"a PyTorch built for sm_{major}{minor} (this one: {', '.join(torch.cuda.get_arch_list())})"
        return Finding(False, said, remedy, about)
    if free < LEAST_GPU:
        return Finding(False, f"{said}: less than {LEAST_GPU:g} GiB free", "end what else uses it", about)
    return Finding(True, said, figures=about)


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1)
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None


# --- folders and locks -------------------------------------------------------------------------------


def folders(environment: Environment) -> Finding:
    """Whether the results folder can be written and has room; where data are looked for."""
    figures: dict[str, Any] = {}
    texts = []
    for name, path in (("data", environment.data), ("results", environment.results)):
        there = _existing(path)
        free = round(shutil.disk_usage(there).free / GIB, 1)
        figures[name] = {"path": str(path), "exists": path.exists(), "free_gib": free}
        made = "" if path.exists() else ", which will be made"
        texts.append(f"{name} in {path.absolute()}{made}: {free} GiB free")
    said = "; ".join(texts)
    remedy = "make room, or choose another --results"
    try:
        with tempfile.NamedTemporaryFile(dir=_existing(environment.results)) as file:
            file.write(b"bench doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        said = f"{environment.results}: cannot be written ({error.strerror or error})"
        return Finding(False, said, "choose another --results", figures)
    if figures["results"]["free_gib"] < LEAST_RESULTS:
        return Finding(False, f"{said}: less than {LEAST_RESULTS:g} GiB", remedy, figures)
    return Finding(True, said, figures=figures)


HOLD = """
import sys, time
from pathlib import Path
from bench.execution.claim import claim
with claim(Path(sys.argv[1]), "doctor") as other:
    print("free" if other is None else other, flush=True)
    time.sleep(60)
"""


def locks(environment: Environment) -> Finding:
    """Whether a claim of another process is seen in the results folder, and ends when that is killed."""
    from bench.execution.claim import holder

    remedy = "choose another --results, on a disk of this machine"
    with tempfile.TemporaryDirectory(dir=_existing(environment.results), prefix=".doctor-") as folder:
        command = [sys.executable, "-P", "-c", HOLD, folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            try:
                began = child.stdout.readline().strip()
                seen = holder(Path(folder), "doctor")
            finally:
                child.kill()
        left = holder(Path(folder), "doctor")
    if began != "free":
        return Finding(False, f"a process could not claim a unit there ({began or 'it ended'})", remedy)
    if seen is None or seen.pid != child.pid:
        return Finding(False, "what one process had claimed, another could claim too", remedy)
    if left is not None:
        return Finding(False, f"the claim of a killed process stayed ({left})", remedy)
    return Finding(True, "a claim is seen by another process, and is free when its process is killed")


def _existing(path: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.is_dir())


# --- plugins -----------------------------------------------------------------------------------------


def plugins(environment: Environment) -> Finding:
    """Whether all plugins load, and no two claim one name."""
    from bench.registry import installed

    registry = installed()
    names = [str(plugin) for plugin in registry.plugins]
    if registry.problems:
        return Finding(False, "; ".join(registry.problems), figures={"plugins": names})
    return Finding(True, f"{len(names)}: {', '.join(names)}", figures={"plugins": names})
