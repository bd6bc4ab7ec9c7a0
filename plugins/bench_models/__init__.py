"""Networks: all of timm by name."""

from collections.abc import Iterable

from bench import Model, ModelFamily, hookimpl


@hookimpl
def register_models() -> Iterable[Model | ModelFamily]:
    """Every network of timm."""
    from bench_models import timm_family

    return [timm_family.OFFER]
