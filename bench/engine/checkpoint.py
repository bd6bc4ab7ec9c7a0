"""Checkpoints of a running training: one file, replaced atomically, deleted when the unit is done.

Training stops only while its state is copied in memory; a thread writes the copy. A checkpoint is due only
when fifty times the cost of the last one has passed, so checkpoints take less than two percent of the time,
however short an epoch is.
"""

from __future__ import annotations

import math
import os
import time
import zipfile
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch

from bench.errors import TrainingError

clock = time.perf_counter


class Writer:
    """Writes the checkpoints of one training to `path`, in a thread, one after another.

    Used in a `with` statement, whose end waits until the last checkpoint is on disk. If a checkpoint cannot
    be written (a full disk), the next call or the end of the block raises TrainingError, unless the training
    itself has failed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self.pending: Future[float] | None = None
        self.last_start = -math.inf  # by `clock`
        self.cost = 0.0  # seconds that the last checkpoint took, copying and writing

    def due(self) -> bool:
        """Whether the last checkpoint is written, and long enough ago. Raises TrainingError."""
        if self.pending is not None and self.pending.done():
            self.settle()
        return self.pending is None and clock() - self.last_start >= 50 * self.cost

    def write(self, state: dict[str, Any]) -> None:
        """Copy `state` now, and write the copy later; training may change `state` meanwhile."""
        self.settle()
        self.last_start = clock()
        copy = snapshot(state)
        self.cost = clock() - self.last_start
        self.pending = self.pool.submit(_timed_save, self.path, copy)

    def settle(self) -> None:
        """Wait until the last checkpoint is on disk. Raises TrainingError if it could not be written."""
        pending, self.pending = self.pending, None
        if pending is None:
            return
        try:
            self.cost += pending.result()
        except OSError as error:
            raise TrainingError(
                f"{self.path}: the checkpoint cannot be written ({error.strerror or error}); free some space "
                "there, or choose another results folder"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.shutdown(wait=True)
        if error is None:
            self.settle()


def snapshot(value: Any) -> Any:
    """A copy of a nested state, its tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {k: snapshot(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(v) for v in value)
    return value


def _timed_save(path: Path, state: dict[str, Any]) -> float:
    started = clock()
    save(path, state)
    return clock() - started


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint. A crash at any moment leaves the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps two runs of the same unit from writing into one temporary file.
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load(path: Path) -> dict[str, Any] | None:
    """The saved state, on the CPU; None if there is none or it is damaged, so that training starts from the
    beginning.

    Only a damaged file is deleted. Memory that runs out and a disk that cannot be read are raised, because
    the file may hold days of work.
    """
    try:
        whole = _is_whole(path)
    except FileNotFoundError:
        return None
    if whole:
        # On the CPU, because a device may have no room for a second copy of the state.
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    path.unlink(missing_ok=True)
    return None


def _is_whole(path: Path) -> bool:
    """Whether the file is an archive as torch.save writes it, with the checksums of all its parts right."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    # The last is what zipfile raises for a method of compression that a damaged header names.
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError):
        return False


class Begun(NamedTuple):
    """What a training was begun with that rounding depends on."""

    device: str  # "cpu", "cuda"
    threads: int


def begun_with(path: Path) -> Begun | None:
    """What the checkpoint says it was begun with; None for one that is damaged, or does not say."""
    try:
        state = _names(path)
        return Begun(str(state["device"]), int(state["threads"]))
    except Exception:  # torch raises many types for a damaged file; the training says so when it loads it
        return None


def memory_format(path: Path) -> str:
    """The memory format in which the training was begun; empty if there is no checkpoint that says so."""
    try:
        return str(_names(path).get("memory_format", ""))
    except Exception:  # as above
        return ""


def _names(path: Path) -> dict[str, Any]:
    """The saved state, of which tensors are not read."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return state


def discard(path: Path) -> None:
    """Delete the checkpoint, and temporary files of killed writers."""
    path.unlink(missing_ok=True)
    for leftover in path.parent.glob(f"{path.stem}.*.tmp"):
        leftover.unlink(missing_ok=True)
