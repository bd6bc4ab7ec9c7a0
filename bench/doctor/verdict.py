"""What `bench doctor` found on this machine's GPU, kept so that `bench run` can say if nobody has asked.

In the user's cache and not with the results, because it is about a machine: results may lie where several
machines see them. The key is what decides whether a GPU computes right: the GPU, its driver, PyTorch and this
program.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.doctor.finding import FAILED, Result

DOCTOR = "`bench doctor`"


def machine_key(device: str) -> dict[str, str]:
    """GPU (or "none"), driver, and versions of PyTorch and of this program."""
    import torch

    from bench import __version__
    from bench.doctor.machine import Gpu, describe_gpu

    gpu = describe_gpu(device) if device.startswith("cuda") else Gpu("none", "none")
    return {"gpu": gpu.name, "driver": gpu.driver, "torch": torch.__version__, "bench": __version__}


def keep(device: str, verdict: str, results: Sequence[Result]) -> None:
    """Remember the verdict of all checks. That it cannot be kept is no reason to fail."""
    from contextlib import suppress

    from bench.files import write_json

    key = machine_key(device)
    failures = [f"{result.name}: {result.remedy}" for result in results if result.status == FAILED]
    with suppress(OSError):
        write_json(_file(key), {"machine": key, "verdict": verdict, "failures": failures})


def unchecked(device: str) -> list[str]:
    """A line for who runs a study on a GPU that `bench doctor` has not seen, or where it found failures."""
    if not device.startswith("cuda"):
        return []
    from bench.files import read_json

    key = machine_key(device)
    kept: dict[str, Any] | None = read_json(_file(key))
    name = f"{key['gpu']}, driver {key['driver']}, torch {key['torch']}"
    if kept is None:
        return [f"{DOCTOR} has not checked this GPU ({name}); it takes two minutes and says what to avoid"]
    if kept.get("verdict") == FAILED:
        return [f"{DOCTOR} found failures on this GPU ({name}): {'; '.join(kept.get('failures', []))}"]
    return []


def _file(key: dict[str, str]) -> Path:
    from platformdirs import user_cache_path

    from bench.identity import digest

    return user_cache_path("bench") / "doctor" / f"{digest(key)[:16]}.json"
