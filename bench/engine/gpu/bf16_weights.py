"""The weights in bf16, all refreshed at once, in the place of the casts that autocast does layer by layer.

Under bf16 autocast every linear layer and convolution casts its float32 weight and bias, and its backward
pass casts their gradients back: one kernel for each. Here all weights are copied into bf16 tensors by one
operator at the beginning of a step, the layers are handed these, and one operator copies the gradients back.
A step does the same arithmetic, so it has the same bits.

The copies take the place of weights where autocast does: at the call of an operator that it casts for,
whatever layer makes it. Weights that are read in another way too (a tied embedding, a standardised or
parametrised weight, a layer scale) are left to autocast. Which those are is seen in an ordinary step
(`Uses`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

CAST: frozenset[Any] = frozenset(
    {
        F.linear,
        F.conv1d,
        F.conv2d,
        F.conv3d,
        F.conv_transpose1d,
        F.conv_transpose2d,
        F.conv_transpose3d,
    }
)
"""Operators that autocast computes in bf16, on a GPU and on a CPU, and that have weights."""

_DESCRIBING = ("shape", "dtype", "device", "layout", "ndim", "is_cuda", "is_leaf", "requires_grad")
HARMLESS: frozenset[Any] = frozenset(
    {
        *(getattr(Tensor, name).__get__ for name in _DESCRIBING),
        *(
            getattr(Tensor, name)
            for name in ("size", "dim", "numel", "stride", "is_floating_point", "__len__")
        ),
    }
)
"""What reads of a tensor how it is made, not its numbers."""

Forward = Callable[..., Tensor]


class Uses:
    """How a step's forward passes use `parameters`.

    `replaceable` are those that were used by operators of `CAST` alone, each time as autocast casts a weight
    once for all: within bf16 autocast, with its cache and with gradients.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        given = list(parameters)
        self.count = len(given)
        self.parameters = [p for p in given if _has_cast(p)]
        self.cast: set[int] = set()  # numbers of parameters
        self.others: set[int] = set()

    def watched(self, forward: Forward) -> Forward:
        """`forward`, which does the same and is watched."""

        def watched(*batch: Tensor) -> Tensor:
            with _Watching(self):
                return forward(*batch)

        return watched

    @property
    def replaceable(self) -> list[Tensor]:
        return [self.parameters[number] for number in sorted(self.cast - self.others)]


class Bf16Weights:
    """bf16 copies of float32 `weights`, laid out as these."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.weights = list(weights)
        self.copies = [torch.empty_like(w, dtype=torch.bfloat16, requires_grad=True) for w in self.weights]
        self.by_identity = dict(zip(map(id, self.weights), self.copies, strict=True))

    def refresh(self) -> None:
        """Copy the weights; to be done in each step before its forward pass."""
        with torch.no_grad():
            torch._foreach_copy_(self.copies, self.weights)
        for copy in self.copies:
            copy.grad = None

    def used_by(self, forward: Forward) -> Forward:
        """`forward`, whose layers are handed the copies."""

        def using(*batch: Tensor) -> Tensor:
            with _Replacing(self.by_identity):
                return forward(*batch)

        return using

    def return_gradients(self) -> None:
        """Add the gradients of the copies to those of the weights; to be done after each backward pass."""
        used = [
            (weight, copy, copy.grad)
            for weight, copy in zip(self.weights, self.copies, strict=True)
            if copy.grad is not None
        ]
        if not used:
            return
        cast = [torch.empty_like(weight) for weight, _, _ in used]
        sums: list[Tensor] = []
        added: list[Tensor] = []
        with torch.no_grad():
            torch._foreach_copy_(cast, [gradient for _, _, gradient in used])
            for (weight, copy, _), gradient in zip(used, cast, strict=True):
                copy.grad = None
                if weight.grad is None:
                    weight.grad = gradient
                else:  # of an earlier part of the batch, or of a branch that has read the weight itself
                    sums.append(weight.grad)
                    added.append(gradient)
            if sums:
                torch._foreach_add_(sums, added)


def _has_cast(p: Tensor) -> bool:
    """Whether autocast keeps a cast of it, and nothing else hangs on its gradient."""
    return (
        type(p) is nn.Parameter
        and p.dtype == torch.float32
        and p.requires_grad
        and p.is_leaf
        and not p._is_view()
        and p.layout == torch.strided
        and not p._backward_hooks
        and not getattr(p, "_post_accumulate_grad_hooks", None)
    )


def _cast_by_autocast(func: object, parameter: Tensor) -> bool:
    device = parameter.device.type
    return (
        func in CAST
        and torch.is_autocast_enabled(device)
        and torch.get_autocast_dtype(device) == torch.bfloat16
        and torch.is_autocast_cache_enabled()
        and torch.is_grad_enabled()
    )


class _Watching(TorchFunctionMode):
    """Notes each use of a parameter by a function of PyTorch."""

    def __init__(self, uses: Uses) -> None:
        self.uses = uses
        self.numbers = {id(p): number for number, p in enumerate(uses.parameters)}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [v for v in tree_leaves((args, kwargs)) if id(v) in self.numbers]
        if given and func not in HARMLESS:
            kind = self.uses.cast if _cast_by_autocast(func, given[0]) else self.uses.others
            kind.update(self.numbers[id(v)] for v in given)
        return func(*args, **kwargs)


class _Replacing(TorchFunctionMode):
    """Hands the copies to the operators that autocast would cast for."""

    def __init__(self, copies: dict[int, Tensor]) -> None:
        self.copies = copies

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in CAST:
            weight = next((v for v in (*args, *kwargs.values()) if id(v) in self.copies), None)
            if weight is not None and _cast_by_autocast(func, weight):
                args = tuple(self.copies.get(id(v), v) for v in args)
                kwargs = {name: self.copies.get(id(v), v) for name, v in kwargs.items()}
        return func(*args, **kwargs)
