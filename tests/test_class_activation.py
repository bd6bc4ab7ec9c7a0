"""Class-activation maps: shapes, and the planted patch, whatever form a network's features have.

Needs the extra `explain`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import ConfigError, Context, Model, SizeError
from bench.explain.cam import activation
from bench.registry import installed

pytest.importorskip("captum")

REGISTRY = installed()
BASELINES = [model.name for model in REGISTRY.models.all()]
PATCH = 32  # side of what is planted, pixels
CONTEXT = Context(classes=("without", "with"), size=96)


def built(name: str) -> tuple[Model, nn.Module, int]:
    """A model with random weights, for images of three by three planted patches, or the least it takes."""
    model = REGISTRY.models.get(name)
    size = CONTEXT.size
    try:
        model.check_size(model.params(), size)
    except SizeError as error:
        size = max(error.nearest, 112)
    torch.manual_seed(0)
    net = model.build(model.params(), Context(classes=CONTEXT.classes, size=size))
    return model, net.eval().to(memory_format=torch.channels_last), size  # type: ignore[call-overload]


def planted(count: int, size: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised noise; every other image has a patch of one colour. Images, whether, and where (row, column
    in patches)."""
    random = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(count, 3, size, size, generator=random)
    spots = torch.randint(0, size // PATCH, (count, 2), generator=random)
    has = torch.arange(count) % 2 == 1
    for i in torch.arange(count)[has].tolist():
        row, column = (spots[i] * PATCH).tolist()
        colour = torch.tensor([3.0, -3.0, 3.0])[:, None, None]
        images[i, :, row : row + PATCH, column : column + PATCH] = colour
    return images.contiguous(memory_format=torch.channels_last), has, spots


def taught(model: Model, net: nn.Module, size: int) -> None:
    """Set the weights of class "with" to what best tells, in closed form (ridge regression), a cell of the
    features that shows the patch from all other cells."""
    images, has, spots = planted(32, size, seed=0)
    with torch.no_grad():
        features = torch.cat([model.features(net, part) for part in images.split(16)]).double()  # type: ignore[misc]
    cells = features.permute(0, 2, 3, 1).flatten(0, 2)
    shows = (where(features.shape[-1], size, spots) & has[:, None, None]).flatten().double()
    gram = cells @ cells.T
    ridge = 1e-3 * gram.diagonal().mean() * torch.eye(len(cells), dtype=torch.float64)
    weights = cells.T @ torch.linalg.solve(gram + ridge, shows)
    (prefix,) = model.classifier(net)
    head: Any = net.get_submodule(prefix.removesuffix("."))
    with torch.no_grad():
        head.weight.copy_(torch.stack([torch.zeros_like(weights), weights]).float())
        head.bias.zero_()


def where(side: int, size: int, spots: Tensor) -> Tensor:
    """(B, side, side): which cells of a map have their centre in the patch."""
    patch = ((torch.arange(side) + 0.5) * size / side // PATCH).long()
    return (patch[None, :, None] == spots[:, 0, None, None]) & (patch[None, None] == spots[:, 1, None, None])


def check_planted_patch(name: str) -> None:
    """The shape of the map is that of the features, and in every test image its maximum lies in the patch."""
    model, net, size = built(name)
    taught(model, net, size)
    images, has, spots = planted(16, size, seed=1)
    images, spots = images[has], spots[has]
    maps = activation(net, model.features, images).maps(images, [1] * len(images)).maps  # type: ignore[arg-type]
    with torch.no_grad():
        shape = model.features(net, images).shape  # type: ignore[misc]
    assert maps.shape == (len(images), *shape[2:])
    highest = maps.reshape(len(maps), -1).argmax(axis=1)
    inside = where(maps.shape[-1], size, spots).flatten(1).numpy()
    assert inside[np.arange(len(maps)), highest].all(), name


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0"])
def test_the_planted_patch_is_found(name: str) -> None:
    check_planted_patch(name)


@pytest.mark.long
@pytest.mark.parametrize("name", ["convnext_tiny", *BASELINES])
def test_the_planted_patch_is_found_by_large_networks(name: str) -> None:
    check_planted_patch(name)


def test_there_are_nine_baselines() -> None:
    assert len(BASELINES) == 9


# --- forms of features -------------------------------------------------------------------------------


class Small(nn.Module):
    """Cells of 16 pixels, in one of the forms that networks have; `side` cells in a row of `side` channels,
    so that no shape tells which axis is which."""

    def __init__(self, form: str, side: int = 4) -> None:
        super().__init__()
        self.form, self.side = form, side
        self.embed = nn.Conv2d(3, side, 16, 16)
        self.last = nn.Identity()
        self.head = nn.Linear(side, 2)

    def forward_features(self, images: Tensor) -> Tensor:
        cells = self.embed(images)
        if self.form == "last":
            return self.last(cells.permute(0, 2, 3, 1))
        if self.form == "tokens":
            tokens = cells.flatten(2).transpose(1, 2)
            return self.last(torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1))
        return self.last(cells)

    def cells(self, images: Tensor) -> Tensor:
        """(B, C, h, w)."""
        output = self.forward_features(images)
        if self.form == "last":
            return output.permute(0, 3, 1, 2)
        if self.form == "tokens":
            return output[:, 1:].transpose(1, 2).reshape(len(images), -1, self.side, self.side)
        return output

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.cells(images).mean((2, 3)))
        return logits


@pytest.mark.parametrize("form", ["first", "last", "tokens"])
def test_all_forms_of_features_give_the_map_of_the_definition(form: str) -> None:
    """max(0, sum_k alpha_k A_k) with alpha_k = w_k / cells for a mean and a linear head."""
    torch.manual_seed(0)
    net = Small(form).eval()
    images = torch.randn(3, 3, 64, 64)
    made = activation(net, lambda net, images: net.cells(images), images)  # type: ignore[operator]
    assert made.layer.layout.kind == form
    classes = [0, 1, 1]
    given = made.maps(images, classes)
    with torch.no_grad():
        cells = net.cells(images).double()
        expected = torch.einsum("bchw,bc->bhw", cells, net.head.weight[classes].double()) / 16
        probabilities = net(images).double().softmax(1)
    np.testing.assert_allclose(given.maps, expected.clamp_min(0).numpy(), atol=1e-6)
    np.testing.assert_allclose(given.probabilities, probabilities.numpy(), atol=1e-6)


def test_captum_alone_would_be_wrong_on_channels_last() -> None:
    """So that the adapter is not removed as needless: 4x5 cells of 8 channels become something else."""
    from captum.attr import LayerGradCam

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.last, self.head = nn.Conv2d(3, 8, 16, 16), nn.Identity(), nn.Linear(8, 2)

        def cells(self, images: Tensor) -> Tensor:
            output: Tensor = self.last(self.embed(images).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            return output

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.head(self.cells(images).mean((2, 3)))
            return logits

    torch.manual_seed(0)
    net, images = Last().eval(), torch.randn(1, 3, 64, 80)
    naive = LayerGradCam(net, net.last).attribute(images.requires_grad_(), target=0)
    assert tuple(naive.shape) == (1, 1, 5, 8)
    made = activation(net, lambda net, images: net.cells(images), images)  # type: ignore[operator]
    assert made.maps(images, [0]).maps.shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("name", "layer"), [("test_vit", "blocks."), ("resnet10t", "layer4"), ("test_convnext", "")]
)
def test_timm_networks(name: str, layer: str) -> None:
    """A class token alone is classified: behind the last attention the cells have no gradient, and a map of
    them would be 0. So the layer before it counts."""
    model = REGISTRY.models.get(name)
    torch.manual_seed(0)
    net = model.build(model.params(), Context(classes=("a", "b"), size=160)).eval()
    images = torch.randn(2, 3, 160, 160)
    made = activation(net, model.features, images)  # type: ignore[arg-type]
    given = made.maps(images, [0, 1]).maps
    assert made.layer.name.startswith(layer), made.layer.name
    assert given.shape[1:] == tuple(model.features(net, images).shape[2:])  # type: ignore[misc]
    assert given.any()


def test_maps_leave_the_network_as_it_was() -> None:
    torch.manual_seed(0)
    net, images = Small("last").eval(), torch.randn(2, 3, 64, 64)
    before = net(images)
    made = activation(net, lambda net, images: net.cells(images), images)  # type: ignore[operator]
    made.maps(images, [0, 1])
    assert torch.equal(net(images), before)
    assert not any(module._forward_hooks for module in net.modules())


def test_a_network_without_such_a_layer_is_one_clear_error() -> None:
    class Hidden(Small):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.head(images.mean((2, 3)).repeat(1, 2)[:, :4])
            return logits

    net, images = Hidden("first").eval(), torch.randn(1, 3, 64, 64)
    with pytest.raises(ConfigError, match="Hidden: no layer gives the 4x4 cells of its dense features"):
        activation(net, lambda net, images: net.cells(images), images)  # type: ignore[operator]
