"""How much memory is free for units on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))  # version 2, 1


def available_memory() -> int:
    """Bytes that processes may still take: what the system has, or what is left of the limit that a container
    or a scheduler sets, whichever is less."""
    import psutil

    return min([int(psutil.virtual_memory().available), *_left_of_limits()])


def _left_of_limits() -> Iterator[int]:
    """What is left of the limits of the control groups that this process is in, on Linux."""
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
            yield from _left(folder)
            if folder == root:
                break


def _left(folder: Path) -> Iterator[int]:
    for limit, used in FILES:
        try:
            most, taken = (folder / limit).read_text().strip(), int((folder / used).read_text())
            cached = _cached(folder / "memory.stat")
        except (OSError, ValueError):
            continue
        if most.isdecimal():  # version 2 says "max" for none, version 1 a number larger than any memory
            yield max(0, int(most) - taken + cached)


def _cached(stat: Path) -> int:
    """Bytes of files read, which the kernel drops when processes need the memory."""
    lines = (line.split() for line in stat.read_text().splitlines())
    values = {name: int(value) for name, value in lines}
    return values.get("total_inactive_file", values.get("inactive_file", 0))
