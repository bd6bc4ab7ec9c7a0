"""Operations by the convention of published tables, so that their figures can be checked.

All checkable figures of Florindo and Moura (arXiv:2605.21970) are what the PyTorch backend of ptflops 0.7.5
gives for the authors' networks. It counts convolutions, linear layers with their bias, activations,
normalisation and torch.matmul, but not matrix products written `@`, so most attention is missing.
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

if TYPE_CHECKING:
    from torch import nn

    from bench.comparison.reported import ReportedRow

SIZE = 224  # side of the images, pixels, that published figures are for
HOW_TO_INSTALL = 'pip install "bench[cost]"'


@dataclass(frozen=True)
class Published:
    """A model's cost as a publication prints it: billions of operations, millions of parameters."""

    gmacs: float | None
    mparams: float | None
    source: str


def figures(rows: Sequence[ReportedRow], published_as: str) -> Published | None:
    """The first published cost of the model that tables call `published_as`, or None."""
    for row in rows:
        if published_as and row.model == published_as and (row.gmacs or row.mparams):
            return Published(row.gmacs, row.mparams, row.source)
    return None


def can_count() -> bool:
    """Whether ptflops, of the extra "cost", is installed."""
    return find_spec("ptflops") is not None


def count(net: nn.Module, size: int) -> int:
    """Operations of one (1, 3, size, size) image by ptflops, the network in evaluation mode.

    Works on a copy. Attention is written out in operators where the network has timm's switch for it, as
    the authors' networks have it. Raises BenchError if the network cannot be counted.
    """
    from ptflops import get_model_complexity_info

    told = io.StringIO()
    with undisturbed(), redirect_stdout(told), redirect_stderr(told):
        plain = plain_copy(net)
        switched: list[Any] = [m for m in plain.modules() if getattr(m, "fused_attn", False)]
        for module in switched:
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
        reason = next((line for line in told.getvalue().splitlines() if "Error" in line), "no reason given")
        raise BenchError(f"ptflops cannot count the network ({reason[:200]})")
    return operations


def _hooks_of_subclasses(net: nn.Module) -> dict[type[Any], Any]:
    """ptflops knows layers by their exact class; timm's norms and convolutions are subclasses of torch's, and
    count as those do in the authors' networks."""
    from ptflops.pytorch_ops import MODULES_MAPPING

    classes = {type(module) for module in net.modules()} - MODULES_MAPPING.keys()
    return {
        cls: next(MODULES_MAPPING[base] for base in cls.__mro__ if base in MODULES_MAPPING)
        for cls in classes
        if any(base in MODULES_MAPPING for base in cls.__mro__)
    }
