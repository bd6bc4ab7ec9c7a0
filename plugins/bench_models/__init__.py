"""Networks: all of timm by name, and the baselines of the paper's tables by theirs."""

from collections.abc import Iterable
from typing import Any

from bench import Model, ModelFamily, hookimpl


@hookimpl
def register_models() -> Iterable[Model[Any] | ModelFamily]:
    """Every network of timm, and nine baselines."""
    from bench_models import baselines, timm_family

    return [timm_family.FAMILY, *baselines.BASELINES]
