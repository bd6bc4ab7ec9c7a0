"""Count the parameters of a network, and its operations in two independent ways.

fvcore counts a multiply-add as one operation, and also counts normalisation and resampling layers. The
counter of torch counts a multiply-add as two, and counts only convolutions and matrix products. Both are
kept: if one of them misses something, the two differ.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from bench.results.record import Cost, Skipped

if TYPE_CHECKING:
    from torch import Tensor, nn

Result = TypeVar("Result")


def count_cost(net: nn.Module, size: int) -> Cost:
    """Count `net` on the CPU, in evaluation mode, on one (1, 3, size, size) image.

    Works on a copy, so `net` and the global random state do not change. For a network that cannot be traced
    the count is None, with a note; nothing is raised.
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
    not_counted = sum(s.operations for s in skipped)
    return Cost(
        params=parameters,
        macs=macs,
        torch_flops=flops,
        difference=(flops / 2 - macs) / macs if macs and flops is not None else None,
        skipped=skipped,
        skipped_share=not_counted / (macs + not_counted) if macs else None,
        size=size,
        classes=classes,
        notes=tuple(notes),
    )


def _attempt(failure: str, notes: list[str], count: Callable[[], Result]) -> Result | None:
    """The result of `count`. If it raises, None and a note, because a failed count must not end a run."""
    try:
        return count()
    except Exception as error:  # a third-party network may raise anything
        first = next(iter(str(error).strip().splitlines()), "")
        notes.append(f"{failure} ({type(error).__name__}: {first[:200]})")
        return None


def plain_copy(net: nn.Module) -> nn.Module:
    """A copy to count: float32, on the CPU, in evaluation mode."""
    import copy

    return copy.deepcopy(net).float().cpu().eval()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Count within this block: without gradients or warnings, and without changing random states.

    Encoder layers run by their plain operators, because neither counter knows torch's fused layer.
    """
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
    """The multiply-adds of one forward pass by fvcore, and the operators that it skipped."""
    from fvcore.nn import FlopCountAnalysis

    first = FlopCountAnalysis(net, image).set_op_handle("aten::scaled_dot_product_attention", _attention)
    macs = int(first.total())
    calls = first.unsupported_ops()
    second = FlopCountAnalysis(net, image).clear_op_handles()
    for operator in calls:
        second.set_op_handle(operator, _elements)
    elements = second.by_operator()  # by operator without the prefix "aten::" that `calls` has
    skipped = [Skipped(op, n, int(elements[op.partition("::")[2]])) for op, n in calls.items()]
    return macs, tuple(sorted(skipped, key=lambda s: (-s.operations, s.operator)))


def _torch(net: nn.Module, image: Tensor) -> tuple[int, int]:
    """The operations of one forward pass by torch, and the number of outputs."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # The counter has no rule for the fused attention kernel of CPUs, but counts the matrix products of the
    # plain one.
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
    """One operation per element of the output: what a skipped operator does at least."""
    from fvcore.nn.jit_handles import get_shape

    return sum(math.prod(shape) for output in outputs if (shape := get_shape(output)))
