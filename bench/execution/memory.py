"""How much memory there is for units on this machine, how much of it is free, and how much a process took."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
PROCESS = Path("/proc/self")
FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))  # version 2, 1


class _Limit(NamedTuple):
    """What a control group lets its processes have, and have not taken yet, in bytes."""

    most: int
    left: int


def available_memory() -> int:
    """Bytes that processes may still take: what the system has, or what is left of the limit that a container
    or a scheduler sets, whichever is less."""
    import psutil

    return min([int(psutil.virtual_memory().available), *(limit.left for limit in _limits())])


def total_memory() -> int:
    """Bytes that processes of this machine, or of this container, may have."""
    import psutil

    return min([int(psutil.virtual_memory().total), *(limit.most for limit in _limits())])


def forget_peak_resident() -> None:
    """Let the peak of this process' resident memory begin anew. Raises OSError where the system cannot."""
    (PROCESS / "clear_refs").write_text("5", encoding="ascii")  # proc_pid_clear_refs(5), Linux


def peak_resident() -> int:
    """Bytes of the most resident memory of this process since its peak was forgotten. Raises OSError or
    ValueError where the system does not say."""
    lines = (PROCESS / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    (peak,) = (line.split() for line in lines if line.startswith("VmHWM:"))
    _, number, unit = peak
    if unit != "kB":
        raise ValueError(f"VmHWM in {unit}")
    return int(number) * 1024


def _limits() -> Iterator[_Limit]:
    """The limits of the control groups that this process is in, on Linux."""
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = CGROUPS / controllers
        inside = root / path.lstrip("/")
        for folder in (inside, *inside.parents):
            yield from _limits_of(folder)
            if folder == root:
                break


def _limits_of(folder: Path) -> Iterator[_Limit]:
    for limit, used in FILES:
        try:
            most, taken = (folder / limit).read_text().strip(), int((folder / used).read_text())
            cached = _cached(folder / "memory.stat")
        except (OSError, ValueError):
            continue
        if most.isdecimal():  # version 2 says "max" for none, version 1 a number larger than any memory
            yield _Limit(int(most), max(0, int(most) - taken + cached))


def _cached(stat: Path) -> int:
    """Bytes of files read, which the kernel drops when processes need the memory."""
    lines = (line.split() for line in stat.read_text().splitlines())
    values = {name: int(value) for name, value in lines}
    return values.get("total_inactive_file", values.get("inactive_file", 0))
