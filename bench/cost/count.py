"""What a network costs to apply: parameters, and operations counted in two independent ways.

fvcore counts a multiply-add as one operation and also counts normalisation and resampling layers;
torch's counter counts a multiply-add as two, and only convolutions and matrix products. Both are kept, so
that a count which misses something shows as a difference between them.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.results.record import Cost, Skipped

if TYPE_CHECKING:
    from torch import Tensor, nn


def measure(net: nn.Module, size: int) -> Cost:
    """Count `net` on the CPU, in evaluation mode, on one (1, 3, size, size) image.

    Works on a copy, so `net` and the global random state stay as they were. A network that cannot be
    traced gives None and a note, never an error.
    """
    import torch

    parameters = sum(p.numel() for p in net.parameters())
    notes: list[str] = []
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with undisturbed():
        copied = _attempt("the network cannot be copied", notes, lambda: plain_copy(net))
        if copied is None:
            return Cost(params=parameters, size=size, notes=tuple(notes))
        traced = _attempt("fvcore cannot trace the network", notes, lambda: _fvcore(copied, image))
        counted = _attempt("torch cannot count the network", notes, lambda: _torch(copied, image))
    macs, skipped = traced or (None, ())
    flops, classes = counted or (None, None)
    estimated = sum(s.operations for s in skipped)
    return Cost(
        params=parameters,
        macs=macs,
        torch_flops=flops,
        difference=(flops / 2 - macs) / macs if macs and flops is not None else None,
        skipped=skipped,
        skipped_share=estimated / (macs + estimated) if macs else None,
        size=size,
        classes=classes,
        notes=tuple(notes),
    )


def _attempt(failure: str, notes: list[str], count: Callable[[], Any]) -> Any:
    """What `count` returns, or None and a note: a cost is information, it must not end a run."""
    try:
        return count()
    except Exception as error:  # whatever a third-party network raises
        first = next(iter(str(error).strip().splitlines()), "")
        notes.append(f"{failure} ({type(error).__name__}: {first[:200]})")
        return None


def plain_copy(net: nn.Module) -> nn.Module:
    """The network to count: float32, on the CPU, in evaluation mode; `net` stays as it is."""
    import copy

    return copy.deepcopy(net).float().cpu().eval()


@contextmanager
def undisturbed() -> Iterator[None]:
    """No gradients, no change of random state, no warnings, and attention by its plain operators:
    torch's fused encoder layer is one operator that neither counter knows."""
    import torch

    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    log = logging.getLogger("fvcore.nn.jit_analysis")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        log.setLevel(level)
        torch.backends.mha.set_fastpath_enabled(fused)


def _fvcore(net: nn.Module, image: Tensor) -> tuple[int, tuple[Skipped, ...]]:
    """fvcore's operations of one forward pass, and the operators it skipped."""
    from fvcore.nn import FlopCountAnalysis

    first = FlopCountAnalysis(net, image).set_op_handle("aten::scaled_dot_product_attention", _attention)
    macs = int(first.total())
    calls = first.unsupported_ops()
    second = FlopCountAnalysis(net, image).clear_op_handles()
    for operator in calls:
        second.set_op_handle(operator, _elements)
    elements = second.by_operator()  # named without the "aten::" of the first pass
    skipped = [Skipped(op, n, int(elements[op.partition("::")[2]])) for op, n in calls.items()]
    return macs, tuple(sorted(skipped, key=lambda s: (-s.operations, s.operator)))


def _torch(net: nn.Module, image: Tensor) -> tuple[int, int]:
    """torch's operations of one forward pass, and the number of outputs."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # The counter has no rule for the CPU's fused attention kernel; the plain one is matrix products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        logits = net(image)
    return int(counter.get_total_flops()), int(logits.shape[-1])


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of fused attention, by fvcore's rule for its two matrix products.

    Queries (..., L, E), keys (..., S, E), values (..., S, V).
    """
    from fvcore.nn.jit_handles import get_shape

    query, key, value = (get_shape(tensor) for tensor in inputs[:3])
    return int(math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))


def _elements(inputs: list[Any], outputs: list[Any]) -> int:
    from fvcore.nn.jit_handles import get_shape

    return sum(math.prod(shape) for output in outputs if (shape := get_shape(output)))
