"""Random numbers of the CPU for work on another device, to compare the two.

Generators of a CPU and of a GPU give other numbers for one seed, so that a corruption, a mask or a dropout
differs, and with it the loss. Within `HostRandom`, whatever draws is done on the CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map


class HostRandom(TorchDispatchMode):  # type: ignore[no-untyped-call]  # not in PyTorch's stubs
    """Within this block, operators that draw random numbers run on the CPU, on copies of their tensors.

    Attention is left alone: it counts as random for its dropout, which cannot be told from outside.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        draws = torch.Tag.nondeterministic_seeded in func.tags and "_sdp" not in func.name()
        if not draws or "scaled_dot_product" in func.name():
            return func(*args, **kwargs)
        given = (args, kwargs)
        devices = [v.device if isinstance(v, Tensor) else v for v in tree_leaves(given)]
        target = next(
            (d for d in devices if isinstance(d, torch.device) and d.type not in ("cpu", "meta")), None
        )
        if target is None:
            return func(*args, **kwargs)
        host_args, host_kwargs = tree_map(_on_host, given)
        drawn = func(*host_args, **host_kwargs)
        if func._schema.is_mutable:  # such as uniform_, which fills its first argument
            return args[0].copy_(drawn)
        return tree_map(lambda v: v.to(target) if isinstance(v, Tensor) else v, drawn)


def _on_host(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, torch.device):
        return torch.device("cpu")
    return None if isinstance(value, torch.Generator) else value
