"""How the device is set up: deterministic kernels, threads, autocast."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from bench.errors import ConfigError


def configure(device: str, threads: int) -> torch.device:
    """Set up this process for reproducible work on `device` and return it. Raises ConfigError."""
    # cuBLAS reads this when its context is made; without it, its workspaces make sums nondeterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Deterministic mode would fill every new tensor, for code that reads uninitialised memory: a tenth of a
    # step on a CPU (measured on tf_efficientnet_lite0 at 96 pixels), for nothing.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # not in stubs
    torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("high")  # TF32 for what stays float32 on a GPU; no effect on a CPU
    return check(device)


def check(device: str) -> torch.device:
    """The device called so. Raises ConfigError if there is none such here."""
    try:
        target = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"--device {device!r}: not a device; use cpu, cuda or cuda:N") from None
    if target.type == "cuda" and (target.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"--device {device}: this PyTorch sees {torch.cuda.device_count()} GPUs; use --device cpu"
        )
    return target


def default_device() -> str:
    """ "cuda" where PyTorch sees a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Whether `precision` means bf16 autocast here: "auto" does on a GPU."""
    return precision == "bf16" or (precision == "auto" and device.type == "cuda")


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """bf16 autocast, or nothing."""
    if uses_bf16(precision, device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
