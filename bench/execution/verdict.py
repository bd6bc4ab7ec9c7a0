"""What `bench doctor` found on this machine's GPU, kept so that `bench run` can say if nobody has asked, and
records cite it.

In the user's cache and not with the results, because it is about a machine: results may lie where several
machines see them. The key is what decides whether a GPU computes right: the GPU, its driver, PyTorch and this
program.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCTOR = "`bench doctor`"


@dataclass(frozen=True)
class Gpu:
    """A CUDA device, as its driver names it."""

    name: str
    driver: str = "unknown"
    mig: str = ""
    compute_mode: str = ""


def describe_gpu(device: str) -> Gpu:
    """The GPU of this name, "cuda" or "cuda:N"; asks the driver's nvidia-smi, which may be absent."""
    import torch

    index = torch.device(device).index or 0
    name = torch.cuda.get_device_name(index)
    uuid = str(getattr(torch.cuda.get_device_properties(index), "uuid", ""))
    which = f"GPU-{uuid}" if uuid else str(index)  # its number differs under CUDA_VISIBLE_DEVICES
    query = "--query-gpu=driver_version,mig.mode.current,compute_mode"
    command = ["nvidia-smi", query, "--format=csv,noheader", "-i", which]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        fields = [field.strip() for field in done.stdout.splitlines()[0].split(",")]
        return Gpu(name, *fields)
    except (OSError, subprocess.SubprocessError, IndexError, TypeError):
        return Gpu(name)


def machine_key(device: str) -> dict[str, str]:
    """GPU (or "none"), driver, and versions of PyTorch and of this program."""
    import torch

    from bench import __version__

    gpu = describe_gpu(device) if device.startswith("cuda") else Gpu("none", "none")
    return {"gpu": gpu.name, "driver": gpu.driver, "torch": torch.__version__, "bench": __version__}


def keep(device: str, verdict: str, failures: Mapping[str, str]) -> None:
    """Remember the verdict of all checks, and the remedy for each that failed. That it cannot be kept is no
    reason to fail."""
    from contextlib import suppress
    from datetime import UTC, datetime

    from bench.files import write_json

    key = machine_key(device)
    kept = {"machine": key, "verdict": verdict, "failures": dict(failures)}
    with suppress(OSError):
        write_json(_file(key), kept | {"date": datetime.now(UTC).date().isoformat()})


def cited(device: str) -> str:
    """The verdict in a few words, for records made on a GPU; empty on a CPU."""
    if not device.startswith("cuda"):
        return ""
    kept = _kept(machine_key(device))
    if kept is None:
        return "not run"
    names = ", ".join(kept["failures"])
    return f"failed {kept['date']}: {names}" if names else f"passed {kept['date']}"


def unchecked(device: str) -> list[str]:
    """A line for who runs a study on a GPU that `bench doctor` has not seen, or where it found failures."""
    if not device.startswith("cuda"):
        return []
    key = machine_key(device)
    kept = _kept(key)
    name = f"{key['gpu']}, driver {key['driver']}, torch {key['torch']}"
    if kept is None:
        return [f"{DOCTOR} has not checked this GPU ({name}); it takes two minutes and says what to avoid"]
    if kept["failures"]:
        remedies = "; ".join(f"{check}: {remedy}" for check, remedy in kept["failures"].items())
        return [f"{DOCTOR} found failures on this GPU ({name}): {remedies}"]
    return []


def _kept(key: Mapping[str, str]) -> dict[str, Any] | None:
    """What was kept for this machine; None if nothing was, or not by `keep`."""
    from bench.files import read_json

    kept = read_json(_file(key))
    whole = kept is not None and isinstance(kept.get("failures"), dict) and isinstance(kept.get("date"), str)
    return kept if whole else None


def _file(key: Mapping[str, str]) -> Path:
    from platformdirs import user_cache_path

    from bench.identity import digest

    return user_cache_path("bench") / "doctor" / f"{digest(dict(key))[:16]}.json"
