"""How a process that computes on a CPU is set up: how its threads wait, and what becomes of freed memory.

Both change speed alone; results keep their bits.

Threads: a step is hundreds of short parallel loops, at whose ends threads wait for each other. GNU's OpenMP
spins for up to a second before it lets a thread sleep; on cores that others use too, the one that is waited
for does not get a core meanwhile. To sleep at once (PASSIVE) costs a call of the system for every loop. So
threads spin SPIN_COUNT times and then sleep. More spins were a little faster on an idle machine, and much
slower on one that others use.

Memory: glibc gives large blocks back to the system when they are freed, and the next step takes a page fault
for every 4 KiB of the same blocks. Here they stay with the process until a unit ends, and lie on huge pages,
where the system has them for who asks, in processes that are started by this one.

`python -m benchmarks.process` measures both, on an idle machine and on one that others use. What a user has
set is left as it is. Other systems and libraries (macOS, musl, Windows, another allocator) have no such
settings, and work without.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

SPIN_COUNT = "3000"
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # GNU's runtime reads both, others the first
TUNABLES, HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"  # read when a process begins
ALLOCATOR = (
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
)
"""By these a user sets what `keep_memory` would; or by GLIBC_TUNABLES, or another allocator in LD_PRELOAD."""

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of <malloc.h>
KEPT = 2 * 10**9  # bytes that may stay free at the end of the heap, as an int of C can say it

log = logging.getLogger("bench")


class _State:
    """Of this process, as its environment and its allocator are."""

    late = False  # torch had been loaded when its environment was set
    kept = False  # freed memory is kept
    huge_pages = os.environ.get(TUNABLES) == HUGE_PAGES  # it began with them


def set_environment() -> None:
    """Set the variables by which this process, and those that it starts, are set up as said above, where a
    user has not said how. Threads of this process wait so if torch is not loaded yet, for it is read then.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": SPIN_COUNT}
        _State.late = "torch" in sys.modules
    if sys.platform.startswith("linux") and TUNABLES not in os.environ and not _allocator_is_set():
        os.environ[TUNABLES] = HUGE_PAGES


def _allocator_is_set() -> bool:
    """Whether a user has said how memory is allocated, or by whom."""
    tuned = os.environ.get(TUNABLES, "")
    return (
        any(name in os.environ for name in ALLOCATOR)
        or ("glibc.malloc." in tuned and tuned != HUGE_PAGES)
        or "malloc" in os.environ.get("LD_PRELOAD", "")
    )


def keep_memory() -> None:
    """Let this process keep memory that it frees, unless a user has set that, or the allocator is another."""
    if _State.kept or _allocator_is_set():
        return
    libc = _glibc()
    if libc is not None:
        # Not one alone, which makes a step slower: without the other, the heap would be trimmed each time.
        _State.kept = bool(libc.mallopt(M_TRIM_THRESHOLD, KEPT) and libc.mallopt(M_MMAP_MAX, 0))


def release_memory() -> None:
    """Give the system what `keep_memory` kept: what was computed is done."""
    libc = _glibc()
    if _State.kept and libc is not None:
        libc.malloc_trim(0)


def warn_if_late() -> None:
    """Say what could not be set for work in this process."""
    if _State.late:
        log.warning(
            "torch was loaded before bench set how its threads wait for each other (GOMP_SPINCOUNT=%s), so "
            "steps in this process may take longer; call bench.local_environment() before anything imports "
            "torch, or let units run in processes of their own",
            SPIN_COUNT,
        )


def settings() -> dict[str, str]:
    """What this process computes with, for the record."""
    named = [f"{name}={os.environ[name]}" for name in WAITING if name in os.environ]
    waiting = "as it was when torch was loaded" if _State.late else " ".join(named)
    kept = "kept, on huge pages" if _State.huge_pages else "kept"
    return {"threads_wait": waiting or "by default", "freed_memory": kept if _State.kept else "by default"}


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is GNU's; musl's, Apple's and Microsoft's have no such settings."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  # there, or AttributeError
        libc.mallopt, libc.malloc_trim  # noqa: B018
    except (OSError, AttributeError):
        return None
    libc.malloc_trim.argtypes = [ctypes.c_size_t]
    return libc
