"""What models and families of models promise."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bench.errors import SizeError
from bench.interfaces.component import P
from bench.interfaces.model import Context, Model, ModelFamily, Normalization
from bench.testing.component import check_component, works

if TYPE_CHECKING:
    from torch import nn

CONTEXT = Context(classes=("a", "b", "c"), size=64)
TOLERANCE = 1e-4  # of logits, for sums in another order


def check_model(model: Model[P], params: P | None = None, context: Context = CONTEXT) -> None:
    """Logits, weights, sizes, the classifier's names and dense features are what the core relies on.

    In particular: `build` draws its weights from torch's random state alone; logits are (B, classes) in
    training, with a gradient; in evaluation an image's logits do not depend on the others of its batch; the
    network works in the memory format channels_last and under bf16 autocast; `classifier` names every tensor
    that depends on the number of classes; `check_size` refuses exactly what `build` would refuse (tried:
    `context.size` and one pixel more); and a model with the trait "dense" has features (B, C, h, w) with a
    gradient.
    """
    import torch

    check_component(model)
    name = model.name
    params = model.params() if params is None else params
    assert isinstance(model.normalization(params), Normalization), f"{name}: normalization() gives none"
    if model.pretrained_source(params):
        assert model.pretrained, f"{name}: pretrained_source() names weights, which `pretrained` must load"
    with works(name):
        model.check_size(params, context.size)  # must not refuse what `build` takes
        net, same, more = (_build(model, params, context, classes) for classes in (3, 3, 5))
    state = net.state_dict()
    equal = all(torch.equal(value, same.state_dict()[n]) for n, value in state.items())
    assert equal, f"{name}: weights must depend on torch's random state alone"
    _check_classifier(model, net, more)
    _check_logits(name, net, context.size)
    _check_features(model, net, context.size)
    _check_next_size(model, params, context)


def _build(model: Model[P], params: P, context: Context, classes: int) -> nn.Module:
    import torch

    torch.manual_seed(0)
    net = model.build(params, dataclasses.replace(context, classes=("x",) * classes))
    return net.to(memory_format=torch.channels_last)


def _check_classifier(model: Model, net: nn.Module, more: nn.Module) -> None:
    shapes = {name: value.shape for name, value in more.state_dict().items()}
    changed = {name for name, value in net.state_dict().items() if value.shape != shapes[name]}
    prefixes = tuple(prefix.removesuffix(".") + "." for prefix in model.classifier(net))
    assert changed, f"{model.name}: no tensor depends on the number of classes"
    assert all(n.startswith(prefixes) for n in changed), f"{model.name}: classifier() does not name {changed}"


def _check_logits(name: str, net: nn.Module, size: int) -> None:
    import torch

    images = torch.randn(2, 3, size, size).contiguous(memory_format=torch.channels_last)
    with works(f"{name}: images in the memory format channels_last fail"):
        logits = net.train()(images)
    assert logits.shape == (2, 3), f"{name}: logits are {tuple(logits.shape)}, not (2, classes)"
    logits.square().sum().backward()
    assert any(p.grad is not None for p in net.parameters()), f"{name}: no gradient reaches the weights"
    net.eval()
    with torch.no_grad():
        together, alone = net(images), net(images[:1])
        assert torch.isfinite(together).all(), f"{name}: logits are not finite"
        close = torch.allclose(together[:1], alone, atol=TOLERANCE)
        assert close, f"{name}: in evaluation an image's logits depend on the others of its batch"
        bf16 = torch.autocast("cpu", dtype=torch.bfloat16)
        with bf16, works(f"{name}: bf16 autocast fails"):
            assert torch.isfinite(net(images)).all(), f"{name}: logits are not finite under bf16"


def _check_features(model: Model, net: nn.Module, size: int) -> None:
    import torch

    if "dense" not in model.traits:
        return
    assert model.features, f"{model.name}: the trait 'dense' promises `features`"
    maps = model.features(net, torch.randn(2, 3, size, size))
    assert maps.ndim == 4, f"{model.name}: features are {tuple(maps.shape)}, not (B, C, h, w)"
    assert len(maps) == 2, f"{model.name}: features are {tuple(maps.shape)} for 2 images"
    assert maps.requires_grad, f"{model.name}: features carry no gradient"


def _check_next_size(model: Model[P], params: P, context: Context) -> None:
    """A size that many networks cannot take: refused beforehand, or taken."""
    import torch

    size = context.size + 1
    try:
        model.check_size(params, size)
    except SizeError as error:
        with works(f"{model.name}: the nearest size that check_size names, {error.nearest}, is refused too"):
            model.check_size(params, error.nearest)
        return
    try:
        net = _build(model, params, dataclasses.replace(context, size=size), 3).eval()
        with torch.no_grad():
            net(torch.randn(1, 3, size, size))
    except Exception as error:
        raise AssertionError(
            f"{model.name}: {size} pixels fail with {type(error).__name__}: {error}; check_size must refuse "
            "such a size with a SizeError, so that a plan can say so"
        ) from error


def check_model_family(family: ModelFamily, name: str, context: Context = CONTEXT) -> None:
    """The family has the model `name`, which conforms, and does not claim names that it does not have.

    In particular: `find` gives a model of exactly that name, and None for a name that does not exist; `names`
    has it (a name with a dot may stand there without what follows the dot); and `complete` gives names of the
    family that begin with what was typed.
    """
    check_component(family)
    model = family.find(name)
    assert isinstance(model, Model), f"{family.name}: find({name!r}) gives {model!r}, not a Model"
    assert model.name == name, f"{family.name}: find({name!r}) gives a model called {model.name!r}"
    absent = "no model is called so"
    assert family.find(absent) is None, f"{family.name}: find() must give None for an unknown name"
    names = set(family.names())
    assert name in names or name.partition(".")[0] in names, f"{family.name}: names() lacks {name!r}"
    for typed in (name[:1], name, absent):
        foreign = [n for n in family.complete(typed) if not n.startswith(typed)]
        assert not foreign, f"{family.name}: complete({typed!r}) gives {foreign[:3]}"
    unknown = [n for n in family.complete(name[:1]) if n not in names]
    assert not unknown, f"{family.name}: complete() gives {unknown[:3]}, which names() lacks"
    check_model(model, context=context)
