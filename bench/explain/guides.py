"""What pretrainings go by and what they show: through what their strategies offer, whichever they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.comparison.again import runs_of
from bench.comparison.methods import Method
from bench.errors import BenchError, PluginError, failure_of
from bench.identity import Ref, derive_seed
from bench.interfaces.strategy import Revealing
from bench.registry import Registry

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from bench.explain.grids import Grid
    from bench.interfaces.model import Normalization
    from bench.kept.load import Objective


@dataclass(frozen=True)
class Guide:
    """What a strategy goes by.

    Attributes:
        method: how its row is called.
        caption: what the values are.
        strategy: with its parameters.
    """

    method: str
    caption: str
    strategy: Ref


def guides_of(methods: Sequence[Method], registry: Registry) -> list[Guide]:
    """Of the pretrainings of these rows that go by something, each once."""
    found: dict[str, Guide] = {}
    for method in methods:
        for run in runs_of(method.units[0].record):
            if method.is_ensemble or run.start is None:
                continue
            strategy = registry.strategies.get(run.strategy.name)
            if strategy.guide is not None:
                key = f"{run.strategy.name} {sorted(run.strategy.params.items())}"
                found.setdefault(key, Guide(method.label.method, strategy.guided_by, run.strategy))
    return list(found.values())


def guide_maps(guide: Guide, images: Tensor, registry: Registry) -> list[Grid]:
    """(h, w) of each of B uint8 images (B, 3, S, S). Raises PluginError where the strategy gives no such."""
    import torch

    strategy = registry.strategies.get(guide.strategy.name)
    owner = registry.strategies.entry(strategy.name).plugin
    what = f"strategy {strategy.name!r}: guide"
    assert strategy.guide is not None
    try:
        with torch.no_grad():
            given = strategy.guide(images, registry.strategies.params(guide.strategy))
    except BenchError:
        raise
    except Exception as error:  # whatever a third-party function raises
        raise failure_of(what, error, registry.plugins, "repair the plugin", owner) from error
    if fault := guide_fault(given, images):
        raise PluginError(f"{what} gave {fault}; repair the plugin {owner}")
    return list(given.double().cpu().numpy())


def guide_fault(given: object, images: Tensor) -> str:
    """What is wrong with what a guide gave for uint8 images (B, 3, S, S); "" if nothing."""
    import torch

    count, side = len(images), images.shape[-1]
    if not isinstance(given, torch.Tensor) or given.ndim != 3 or len(given) != count:
        shape = tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__
        return f"{shape}, not ({count}, h, w)"
    if side % given.shape[1] or side % given.shape[2]:
        return f"{given.shape[1]}x{given.shape[2]} patches, which do not divide {side} pixels"
    return "" if bool(torch.isfinite(given.double()).all()) else "values that are not finite"


def revealed(
    objective: Objective, images: Tensor, ids: Sequence[str], seed: int, registry: Registry
) -> list[dict[str, NDArray[np.uint8]]]:
    """The named pictures, uint8 (3, S, S), that a pretraining's objective reveals of each of B uint8 images
    (B, 3, S, S); empty where it reveals none.

    Random numbers are drawn anew for each image from its id and `seed`, so that strategies that draw alike
    draw the same. Raises PluginError where it fails or gives something else.
    """
    module = objective.module
    if not isinstance(module, Revealing):
        return [{} for _ in ids]
    owner = registry.strategies.entry(objective.strategy.name).plugin
    what = f"strategy {objective.strategy.name!r}: reveal"
    pictures = []
    for image, id_ in zip(images, ids, strict=True):
        try:
            given = _reveal(module, image[None], derive_seed(seed, "reveal", id_))
        except BenchError:
            raise
        except Exception as error:  # whatever a third-party module raises
            raise failure_of(what, error, registry.plugins, "repair the plugin", owner) from error
        if fault := reveal_fault(given, image[None]):
            raise PluginError(f"{what} gave {fault}; repair the plugin {owner}")
        normalization = objective.context.normalization
        pictures.append({name: as_pixels(each[0], normalization) for name, each in given.items()})
    return pictures


def _reveal(module: Revealing, image: Tensor, seed: int) -> Mapping[str, Tensor]:
    import torch

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        return module.reveal(image)


def reveal_fault(given: object, images: Tensor) -> str:
    """What is wrong with what an objective reveals of images (B, 3, S, S); "" if nothing."""
    import torch

    if not isinstance(given, Mapping) or not given:
        return f"{type(given).__name__}, not pictures by name" if not isinstance(given, Mapping) else "none"
    for name, picture in given.items():
        if not isinstance(name, str) or not isinstance(picture, torch.Tensor):
            return f"{name!r}: {type(picture).__name__}, not a tensor by name"
        if picture.shape != images.shape:
            return f"{name!r} of shape {tuple(picture.shape)}, not {tuple(images.shape)}"
        if not bool(torch.isfinite(picture.float()).all()):
            return f"{name!r} with values that are not finite"
    return ""


def as_pixels(picture: Tensor, normalization: Normalization) -> NDArray[np.uint8]:
    """Normalised (3, S, S) to uint8; what is darker than black or brighter than white is cut off."""
    values = picture.double().cpu().numpy()
    mean, std = (np.array(each)[:, None, None] for each in (normalization.mean, normalization.std))
    pixels: NDArray[np.uint8] = ((values * std + mean) * 255).round().clip(0, 255).astype(np.uint8)
    return pixels
