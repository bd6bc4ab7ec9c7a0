"""Processes that share a GPU. Without NVIDIA's multi-process service (MPS) they take turns on it: the kernels
of one wait while those of another run, so that several at once get no more done than one after another.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

START = "nvidia-cuda-mps-control -d"
"""What starts MPS."""

PIPES = "/tmp/nvidia-mps"  # where MPS is by default

log = logging.getLogger("bench")


def mps_runs() -> bool:
    """Whether NVIDIA's MPS is there: its control pipe lies in $CUDA_MPS_PIPE_DIRECTORY or /tmp/nvidia-mps."""
    return (Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or PIPES) / "control").exists()


def warn_of_turns(devices: Sequence[str], at_once: int) -> None:
    """Warn that nothing is gained by so many processes at once on these devices (names as of --device), if
    some share a GPU and take turns."""
    gpus = [device for device in devices if device.startswith("cuda")]
    if not gpus or at_once <= len(devices) or mps_runs():
        return
    log.warning(
        "%d units at once on %s: without NVIDIA's MPS they take turns, so that this gains nothing over "
        "--jobs %d; start MPS (%s), or leave out --jobs",
        at_once,
        "one GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs",
        len(devices),
        START,
    )
