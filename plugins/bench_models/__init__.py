"""Networks: all of timm by name, and the baselines of the paper's tables by theirs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bench import Model, ModelFamily, hookimpl

if TYPE_CHECKING:
    from bench_models.baselines import BaselineParams


@hookimpl
def register_models() -> Iterable[Model[BaselineParams] | ModelFamily]:
    """Every network of timm, and nine baselines."""
    from bench_models import baselines, timm_family

    return [timm_family.FAMILY, *baselines.BASELINES]
