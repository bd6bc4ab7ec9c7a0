"""A claim on a unit, so that of several processes on one results folder one works on it.

    scratch/claims/<key>.lock   locked by the operating system, which frees it when the process ends
                   <key>.json   who holds it: host and process; touched every few seconds

A lock of the operating system cannot be held by a dead process, but does not reach across all network file
systems, and some have none. So the second file counts too: a claim from another machine holds as long as it
is touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.files import cannot_write, host_name, is_running

HEARTBEAT = 10.0  # seconds between two touches
STALE = 120.0  # seconds without a touch after which another machine's process is taken to be gone
SETTLING = 0.5  # seconds after which of two machines that took over one claim both see who has it


@dataclass(frozen=True)
class Holder:
    """The process that works on a unit."""

    host: str
    pid: int
    token: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        return f"process {self.pid}" + ("" if self.host == host_name() else f" on {self.host}")


SOMEBODY = Holder("", 0)
"""Who has a lock, and has not yet written down who it is."""


@contextmanager
def claim(scratch: Path, key: str) -> Iterator[Holder | None]:
    """Hold the unit of this key within the block; gives None, or who holds it already.

    Raises StoreError where nothing can be written.
    """
    folder = scratch / "claims"
    lock = contextlib.ExitStack()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{key}.json"
        locked = _lock(folder / f"{key}.lock", lock)
        mine = Holder(host_name(), os.getpid(), uuid.uuid4().hex)
        if locked is False and _is_held(path, mine.host):
            other: Holder | None = _held_by(path) or SOMEBODY
        else:
            other = _take(path, mine, not locked)
    except OSError as error:
        lock.close()
        raise cannot_write(folder, error) from error
    with lock:
        if other is not None:
            yield other
            return
        stop = threading.Event()
        heart = threading.Thread(target=_touch_until, args=(path, stop), name="claim", daemon=True)
        heart.start()
        try:
            yield None
        finally:
            stop.set()
            heart.join()
            if _held_by(path) == mine:
                path.unlink(missing_ok=True)


def holder(scratch: Path, key: str) -> Holder | None:
    """Who works on the unit of this key now; None if nobody does."""
    with claim(scratch, key) as other:
        return other


def forget(scratch: Path, key: str) -> None:
    """Remove the lock of a unit that is done. Who gets the old file locked looks whether it is, and ends."""
    (scratch / "claims" / f"{key}.lock").unlink(missing_ok=True)


def holders(scratch: Path) -> list[Holder]:
    """All processes that hold a claim."""
    found = (holder(scratch, path.stem) for path in sorted((scratch / "claims").glob("*.json")))
    return [other for other in found if other is not None]


def claimed(scratch: Path) -> Iterator[tuple[str, Holder, float, bool]]:
    """Every claim as its file says it, without touching it: key of the unit, who holds it, seconds since it
    was touched by the clock here, and whether its holder is gone."""
    for path in sorted((scratch / "claims").glob("*.json")):
        other = _held_by(path)
        try:
            ago = time.time() - path.stat().st_mtime
        except OSError:  # given back meanwhile
            continue
        if other is not None:
            gone = not is_running(other.pid) if other.host == host_name() else ago > STALE
            yield path.stem, other, ago, gone


def _lock(path: Path, stack: contextlib.ExitStack) -> bool | None:
    """Lock the file until `stack` is closed. False if another process has it; None where the file system
    has no locks."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except (NotImplementedError, OSError):  # what filelock and the system raise where there are no locks
        if not os.access(path.parent, os.W_OK):
            raise
        return None
    stack.callback(lock.release)
    return True


def _is_held(path: Path, here: str) -> bool:
    """Whether a file that another process has locked is held: of a machine that is gone, a lock may stay."""
    other = _held_by(path)
    return other is None or other.host == here or _touched(path)


def _take(path: Path, mine: Holder, without_lock: bool) -> Holder | None:
    """Write down that `mine` holds the claim; gives who does, if that is another living process."""
    if path.exists():
        other = _held_by(path)
        here = other is not None and other.host == mine.host
        # Where locks serve, we have it, so that a holder on this machine is gone.
        if other is not None and (without_lock and is_running(other.pid) if here else _touched(path)):
            return other
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(asdict(mine), file)
    except FileExistsError:  # another machine was faster
        return _held_by(path) or SOMEBODY
    if without_lock:
        time.sleep(SETTLING)
        if (now := _held_by(path)) != mine:
            return now or SOMEBODY
    return None


def _held_by(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # gone, or the write of a killed process
        return None


def _touched(path: Path) -> bool:
    """Whether the file was touched lately, by the clock of the machine that keeps it."""
    clock = path.with_name(f".clock-{host_name()}-{os.getpid()}")
    try:
        clock.touch()
        return clock.stat().st_mtime - path.stat().st_mtime < STALE
    except FileNotFoundError:
        return False
    finally:
        clock.unlink(missing_ok=True)


def _touch_until(path: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT):
        with contextlib.suppress(OSError):
            os.utime(path)
