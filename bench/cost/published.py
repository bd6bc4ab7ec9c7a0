"""Count operations as published tables do, so that their figures can be checked.

All figures of Florindo and Moura (arXiv:2605.21970) that can be checked are those of the PyTorch backend of
ptflops 0.7.5 for the authors' networks. It counts convolutions, linear layers with their bias, activations,
normalisation and torch.matmul. It does not count matrix products written as `@`, so it misses most attention.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from bench.cost.count import plain_copy, undisturbed
from bench.errors import BenchError
from bench.registry import DISTRIBUTION

if TYPE_CHECKING:
    from torch import nn

    from bench.comparison.reported import ReportedRow

SIZE = 224  # side of the images of published figures, pixels
HOW_TO_INSTALL = f'pip install "{DISTRIBUTION}[cost]"'


@dataclass(frozen=True)
class PublishedCost:
    """The cost of a model as a publication prints it."""

    gmacs: float | None  # billions of operations
    mparams: float | None  # millions of parameters
    source: str  # the publication


def published_cost(rows: Sequence[ReportedRow], published_as: str) -> PublishedCost | None:
    """The cost in the first of `rows` that has one for the model called `published_as`; None without any."""
    for row in rows:
        if published_as and row.model == published_as and (row.gmacs or row.mparams):
            return PublishedCost(row.gmacs, row.mparams, row.source)
    return None


def has_ptflops() -> bool:
    """Whether ptflops is installed, which is in the extra "cost"."""
    return find_spec("ptflops") is not None


def count_by_ptflops(net: nn.Module, size: int) -> int:
    """Operations for one (1, 3, size, size) image as ptflops counts them, in evaluation mode.

    Works on a copy. Fused attention is switched off in networks that have timm's switch for it, because the
    authors' networks do not use it. Raises BenchError if the network cannot be counted.
    """
    from ptflops import get_model_complexity_info

    printed = io.StringIO()
    with undisturbed(), redirect_stdout(printed), redirect_stderr(printed):
        plain = plain_copy(net)
        fused: list[Any] = [module for module in plain.modules() if getattr(module, "fused_attn", False)]
        for module in fused:
            module.fused_attn = False
        operations, _ = get_model_complexity_info(
            plain,
            (3, size, size),
            as_strings=False,
            print_per_layer_stat=False,
            backend="pytorch",
            custom_modules_hooks=_hooks_of_subclasses(plain),
        )
    if not isinstance(operations, int):  # ptflops prints what went wrong and returns None
        reason = next(
            (line for line in printed.getvalue().splitlines() if "Error" in line), "no reason given"
        )
        raise BenchError(f"ptflops cannot count the network ({reason[:200]})")
    return operations


def _hooks_of_subclasses(net: nn.Module) -> dict[type[Any], Any]:
    """The counting functions of ptflops, for subclasses of the layers that it knows.

    ptflops looks at the exact class of a layer. timm's norms and convolutions are subclasses of torch's, and
    must count as torch's do in the authors' networks.
    """
    from ptflops.pytorch_ops import MODULES_MAPPING

    classes = {type(module) for module in net.modules()} - MODULES_MAPPING.keys()
    return {
        cls: next(MODULES_MAPPING[base] for base in cls.__mro__ if base in MODULES_MAPPING)
        for cls in classes
        if any(base in MODULES_MAPPING for base in cls.__mro__)
    }
