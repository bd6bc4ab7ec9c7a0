"""The layer of a network whose output class-activation maps are made of, whatever form that output has.

Networks hold their last features as maps (B, C, h, w), as maps with channels last (B, h, w, C), as Swin and
FocalNet do, or as tokens (B, prefix + h w, C), as ViT does with its class token. captum's LayerGradCam takes
the first form for granted: of Swin's (B, 7, 7, 768) it makes 7 x 768 "maps" without an error. So the layer is
searched for by what the model says its dense features are, and read through `Layout`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

    Features = Callable[[nn.Module, Tensor], Tensor]

MOST_PREFIX = 16
"""Tokens before those of the grid, at most: a class token, and registers."""


@dataclass(frozen=True)
class Layout:
    """How an output holds C features of h x w cells.

    Attributes:
        kind: "first" (B, C, h, w), "last" (B, h, w, C) or "tokens" (B, prefix + h w, C).
        height: h.
        width: w.
        prefix: tokens before those of the cells.
    """

    kind: str
    height: int
    width: int
    prefix: int = 0

    def map_of(self, output: Tensor) -> Tensor:
        """(B, C, h, w)."""
        if self.kind == "first":
            return output
        if self.kind == "last":
            return output.permute(0, 3, 1, 2)
        cells = output[:, self.prefix :].transpose(1, 2)
        return cells.reshape(len(output), -1, self.height, self.width)

    def with_map(self, output: Tensor, cells: Tensor) -> Tensor:
        """`output` with the map (B, C, h, w) in the place of its cells."""
        import torch

        if self.kind == "first":
            return cells
        if self.kind == "last":
            return cells.permute(0, 2, 3, 1)
        return torch.cat([output[:, : self.prefix], cells.flatten(2).transpose(1, 2)], dim=1)


@dataclass(frozen=True)
class MapLayer:
    """A module of a network, and how its output holds a map.

    Attributes:
        name: of the module, as `named_modules` has it.
        module: the module.
        layout: of its output.
    """

    name: str
    module: nn.Module
    layout: Layout


def find_layer(net: nn.Module, features: Features, images: Tensor) -> MapLayer:
    """The last layer that holds the cells of the model's dense features and on whose cells the logits depend.

    `features(net, images)` are these features, (B, C, h, w); `images` (B, 3, S, S) are normalised. For most
    networks the layer gives these very features. Where a class token alone is classified, nothing depends
    on the cells behind the last attention: then it is the layer before that (for ViT the norm of the last
    block, as is usual). The network must be in evaluation mode. Raises ConfigError where there is none.
    """
    import torch

    with torch.no_grad():
        wanted = features(net, images)
    seen, logits = _outputs(net, images)
    weights = torch.linspace(1, 2, logits.shape[1], device=logits.device, dtype=logits.dtype)
    total = (logits * weights).sum()
    for name, output in reversed(seen):
        for layout in _layouts(output, wanted):
            (gradient,) = torch.autograd.grad(total, output, retain_graph=True, allow_unused=True)
            if gradient is not None and layout.map_of(gradient).abs().sum() > 0:
                return MapLayer(name, dict(net.named_modules())[name], layout)
    raise ConfigError(
        f"{type(net).__name__}: no layer gives the {wanted.shape[2]}x{wanted.shape[3]} cells of its dense "
        f"features, {wanted.shape[1]} values each, in a form that is known (channels first, channels last, "
        "tokens), so there is no class-activation map of it; leave this model out"
    )


def _outputs(net: nn.Module, images: Tensor) -> tuple[list[tuple[str, Tensor]], Tensor]:
    """The outputs of all modules that are called once, in the order in which they end, and the logits. All
    are parts of one graph, in which the images have a gradient."""
    import torch

    calls: dict[str, int] = {}
    seen: list[tuple[str, Tensor]] = []

    def remember(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(output, torch.Tensor) and output.requires_grad:
                seen.append((name, output))

        return hook

    handles = [m.register_forward_hook(remember(name)) for name, m in net.named_modules() if name]
    try:
        with torch.enable_grad():
            logits = net(images.detach().requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    return [(name, output) for name, output in seen if calls[name] == 1], logits


def _layouts(output: Tensor, wanted: Tensor) -> Iterator[Layout]:
    """The layouts in which `output` holds cells like those of `wanted`, (B, C, h, w).

    Where its shape fits several (C = h = w), only one that gives `wanted` itself counts.
    """
    import torch

    _, channels, height, width = wanted.shape
    shape = tuple(output.shape[1:])
    fitting = []
    if shape == (channels, height, width):
        fitting.append(Layout("first", height, width))
    if shape == (height, width, channels):
        fitting.append(Layout("last", height, width))
    if len(shape) == 2 and shape[1] == channels and 0 <= shape[0] - height * width <= MOST_PREFIX:
        fitting.append(Layout("tokens", height, width, shape[0] - height * width))
    if len(fitting) == 1:
        yield fitting[0]
        return
    for layout in fitting:
        if torch.allclose(layout.map_of(output), wanted, rtol=1e-4, atol=1e-5):
            yield layout
