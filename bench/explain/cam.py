"""Class-activation maps: which cells of a network's last features speak for a class.

Grad-CAM (Selvaraju et al., ICCV 2017, arXiv:1610.02391, eq. 1 and 2) by captum's LayerGradCam, behind an
adapter that shows it every network's features as (B, C, h, w):

    alpha_k = mean over cells of d y / d A_k        y: the logit of the class, A: the features
    map     = max(0, sum_k alpha_k A_k)             one value a cell, h x w
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.errors import ConfigError
from bench.explain.layer import MapLayer, find_layer
from bench.registry import DISTRIBUTION

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from bench.explain.layer import Features

HOW_TO_INSTALL = f'pip install "{DISTRIBUTION}[explain]"'


def check_installed() -> None:
    """Raise ConfigError where what `bench explain` needs is not installed."""
    missing = []
    for name in ("captum", "matplotlib"):
        try:
            __import__(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise ConfigError(f"bench explain needs {' and '.join(missing)}: {HOW_TO_INSTALL}")


class Mapped(NamedTuple):
    """Of B images.

    Attributes:
        maps: (B, h, w), none negative: what speaks for the class asked for. All 0 where nothing does. The
            scale of a map means nothing between networks.
        probabilities: (B, K) that the network gave meanwhile.
    """

    maps: NDArray[np.float64]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class Activation:
    """Class-activation maps of one network.

    Attributes:
        net: in evaluation mode; maps normalised images (B, 3, S, S) to logits (B, K).
        layer: whose output the maps are made of.
    """

    net: nn.Module
    layer: MapLayer

    def maps(self, images: Tensor, classes: Sequence[int]) -> Mapped:
        """The maps of normalised images (B, 3, S, S), each for the class of that number."""
        import torch
        from captum.attr import LayerGradCam

        outputs = []

        def forward(inputs: Tensor) -> Tensor:
            logits: Tensor = self.net(inputs)
            outputs.append(logits.detach())
            return logits

        with _tapped(self.layer) as tap, _quiet(), torch.enable_grad():
            target = torch.tensor(classes, device=images.device)
            given = LayerGradCam(forward, tap).attribute(
                images.detach().requires_grad_(), target=target, relu_attributions=True
            )
        maps = given.detach().double().cpu().numpy()[:, 0]
        expected = len(images), self.layer.layout.height, self.layer.layout.width
        assert maps.shape == expected, f"captum gave maps of {maps.shape}, not {expected}"
        return Mapped(maps, outputs[-1].double().softmax(dim=1).cpu().numpy())


def activation(net: nn.Module, features: Features, images: Tensor) -> Activation:
    """What makes maps of `net`, which is left in evaluation mode; `images` are some normalised ones, to find
    the layer with. Raises ConfigError for a network without such a layer."""
    net.eval()
    return Activation(net, find_layer(net, features, images[:1]))


@contextmanager
def _tapped(layer: MapLayer) -> Iterator[nn.Module]:
    """A module through which the layer's output passes as (B, C, h, w), on its way to what follows."""
    from torch import nn

    tap = nn.Identity()

    def through(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return layer.layout.with_map(output, tap(layer.layout.map_of(output)))

    handle = layer.module.register_forward_hook(through)
    try:
        yield tap
    finally:
        handle.remove()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what captum and PyTorch say of hooks, which is nothing a user could act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
