"""Checkpoints of a training under way: one file, replaced atomically, deleted when the unit is done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


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


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The saved state, or None if there is none that can be read (training then starts afresh)."""
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        return None
    except Exception:  # torch raises many types for a damaged file; scratch may always be discarded
        path.unlink(missing_ok=True)
        return None
    return state


def discard(path: Path) -> None:
    """Delete the checkpoint and what killed writers left beside it."""
    path.unlink(missing_ok=True)
    for leftover in path.parent.glob(f"{path.stem}.*.tmp"):
        leftover.unlink(missing_ok=True)
