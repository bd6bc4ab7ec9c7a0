"""The device: which one is meant, deterministic kernels, threads, precision."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NoReturn

import torch

from bench.errors import ConfigError
from bench.parsing import brief
from bench.process import keep_memory

ALL = "cuda:all"
"""Every GPU that PyTorch sees."""


def configure(device: str, threads: int) -> torch.device:
    """Set up this process for reproducible work on `device`, and return the device. Raises ConfigError."""
    # cuBLAS reads this when its context is made; without it, its workspaces make sums nondeterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Deterministic mode also fills every new tensor, which helps only code that reads uninitialised memory,
    # and takes a tenth of a step on a CPU (measured on tf_efficientnet_lite0 at 96 pixels).
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # not in stubs
    torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("high")  # TF32 for what stays float32 on a GPU; no effect on a CPU
    target = check_device(device)
    if target.type == "cuda":
        torch.cuda.set_device(target)
    else:
        keep_memory()
    return target


def parse_devices(text: str) -> tuple[str, ...]:
    """The devices that `--device` names: one, several GPUs with commas between them, or "cuda:all".

    No text means a GPU where PyTorch sees one, else the CPU. Raises ConfigError for a device that cannot
    train or is not there, for a GPU named twice, and for several devices that are not all GPUs.
    """
    text = text or ("cuda" if torch.cuda.is_available() else "cpu")
    if text == ALL:
        count = torch.cuda.device_count()
        return tuple(f"cuda:{i}" for i in range(count)) if count else _absent(ALL)
    names = tuple(name.strip() for name in text.split(","))
    targets = [check_device(name) for name in names]
    if len(names) == 1:
        return names
    if any(target.type != "cuda" for target in targets):
        raise ConfigError(
            f"--device {brief(text)}: only GPUs work beside each other; name one device, or GPUs alone "
            "(cuda:0,cuda:1); --jobs N does several units at once on one"
        )
    indices = [target.index or 0 for target in targets]  # "cuda" is the first one
    if twice := [index for index in indices if indices.count(index) > 1]:
        raise ConfigError(f"--device {brief(text)}: names cuda:{twice[0]} twice; name each GPU once")
    return names


def parse_device(text: str) -> str:
    """The one device that `--device` names, for what works on one. Raises ConfigError as `parse_devices`
    does, and where it names several."""
    names = parse_devices(text)
    if len(names) > 1:
        raise ConfigError(f"--device {brief(text)}: this command works on one device; name one ({names[0]})")
    return names[0]


def check_device(device: str) -> torch.device:
    """The PyTorch device of this name. Raises ConfigError for one that cannot train or is not there."""
    try:
        target = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"--device {brief(device)!r}: not a device; use cpu, cuda or cuda:N") from None
    if target.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {device}: bench trains on cpu and cuda only; use cpu, cuda or cuda:N")
    if target.type == "cpu" and target.index is not None:
        raise ConfigError(f"--device {device}: the CPU is one device; use cpu")
    # PyTorch keeps an index in 8 bits: cuda:256 would be the first GPU.
    if target.type == "cuda" and (str(target) != device or (target.index or 0) >= torch.cuda.device_count()):
        _absent(device)
    return target


def _absent(device: str) -> NoReturn:
    count = torch.cuda.device_count()
    there = {0: "", 1: " or cuda:0"}.get(count, f" or one of cuda:0 to cuda:{count - 1}")
    raise ConfigError(f"--device {device}: this PyTorch sees {count} GPUs; use --device cpu{there}")


def out_of_memory(error: BaseException) -> bool:
    """Whether the device had too little memory; cuBLAS and cuDNN say so in errors of their own."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "ALLOC_FAILED" in str(error)


def device_lost(error: BaseException) -> bool:
    """Whether this process can no longer use its device: after such an error every CUDA call fails."""
    if out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    return "CUDA error" in str(error) and "operation not permitted when stream is capturing" not in str(error)


def free_memory(device: torch.device) -> None:
    """Give back what PyTorch holds on a GPU and nothing uses, after memory ran out there.

    Call it outside the handler of the error, whose traceback holds the tensors of what failed.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def forget_peak(device: torch.device) -> None:
    """Give unused memory of a GPU back, and let its peak begin anew: what was tried, or checked, is over."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Whether `precision` means bf16 autocast on this device; "auto" does so on a GPU that computes in bf16.

    Older GPUs emulate it, which is slower than float32.
    """
    if precision != "auto" or device.type != "cuda":
        return precision == "bf16"
    # Without a GPU the question has no answer; nothing is computed there either.
    return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """A context for forward passes: bf16 autocast if `uses_bf16`, otherwise one that changes nothing."""
    if uses_bf16(precision, device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 matrix products in float32 instead of TF32, within the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def any_order() -> AbstractContextManager[None]:
    """Allow kernels that add in any order, which are faster, within the block.

    For sums that do not depend on the order, such as counts of pixels.
    """
    return _deterministic(False)


def strict() -> AbstractContextManager[None]:
    """Let operators without a deterministic kernel raise, within the block."""
    return _deterministic(True)


@contextmanager
def _deterministic(required: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(required)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
