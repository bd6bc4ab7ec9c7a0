"""Checkpoints of the authors of Swin, ConvNeXt and FocalNet in timm's names."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from torch import Tensor, nn

from bench import WeightsError


def translate(module: str, net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The state in the names of `net`, a network that `timm.models.<module>` defines.

    timm's own mapping, which also resamples position tables to `net`'s windows; timm's names stay as they
    are. Raises WeightsError for a checkpoint it cannot map.
    """
    mapping = import_module(f"timm.models.{module}").checkpoint_filter_fn
    try:
        translated: Mapping[str, Tensor] = mapping(dict(state), net)
    except (AttributeError, KeyError, RuntimeError) as error:  # names or shapes it did not foresee
        raise WeightsError(
            f"the checkpoint is not of this {type(net).__name__}, in its authors' names or timm's "
            f"({type(error).__name__}: {str(error)[:120]}); it begins with {', '.join(list(state)[:3])}"
        ) from None
    return translated
