"""What a strategy promises."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.interfaces.component import LocalWeights, P
from bench.interfaces.model import Context, Encoder, Model, Weights
from bench.interfaces.strategy import Revealing, Strategy
from bench.testing.component import check_component, works
from bench.testing.model import CONTEXT

if TYPE_CHECKING:
    from torch import Tensor, nn

STRIDE, WIDTH = 16, 8  # of the network that strategies are tried on


def check_strategy(strategy: Strategy[P], params: P | None = None, context: Context = CONTEXT) -> None:
    """A strategy that pretrains, or one that gives initial weights, does so on a small network, whose
    convolutions are in the memory format channels_last, as the core's networks are.

    Pretraining: the module owns `encoder.net` and leaves the names and shapes of its tensors alone; the loss
    is a finite scalar, under bf16 autocast too and for a batch of another size; its gradient reaches the
    encoder; it depends on torch's random state alone; and a module that is given the `state_dict` of another
    goes on as that one does, so that an interrupted training can be resumed. Where it offers `reveal`, that
    gives pictures by name, (B, 3, S, S), by torch's random state alone, and leaves the module as it was.

    Guide, where there is one: finite values (B, h, w) that depend on the images alone.

    Initial weights: a line says where they came from, and the names and shapes of the network's tensors stay;
    `freeze` gives parameters of the same kind, and the same again when given its own. A refusal by a
    BenchError, because the strategy needs weights that the small network does not have, is as good.
    """
    check_component(strategy)
    params = strategy.params() if params is None else params
    _check_guide(strategy, params, context)
    if strategy.objective is None:
        _check_initialize(strategy, params, context)
    else:
        _check_objective(strategy, params, context)


# --- pretraining -------------------------------------------------------------------------------------


def _check_objective(strategy: Strategy[P], params: P, context: Context) -> None:
    import torch

    name = strategy.name
    torch.manual_seed(0)
    images = torch.randint(0, 256, (4, 3, context.size, context.size), dtype=torch.uint8)
    net, module = _objective(strategy, params, context)
    before = _shapes(_tiny_net())
    assert any(part is net for part in module.modules()), f"{name}: the objective must own encoder.net"
    loss = _loss(name, module, images)
    loss.backward()  # type: ignore[no-untyped-call]
    first = float(loss.detach())
    reached = [p for p in net.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert reached, f"{name}: no gradient reaches the encoder"
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.01 * parameter.grad)
    assert _shapes(net) == before, f"{name}: the encoder's tensors must keep their names and shapes"
    again = float(_loss(name, _objective(strategy, params, context)[1], images).detach())
    assert first == again, f"{name}: the loss must depend on torch's random state alone"
    _check_resumed(strategy, params, context, module, images)
    with works(f"{name}: a batch of another size fails"):
        _loss(name, module, images[:2])
    with torch.autocast("cpu", dtype=torch.bfloat16), works(f"{name}: bf16 autocast fails"):
        _loss(name, module, images)
    _check_revealed(name, module, images)


def _check_revealed(name: str, module: nn.Module, images: Tensor) -> None:
    import torch

    from bench.explain.guides import reveal_fault

    if not isinstance(module, Revealing):
        return
    before = {key: value.clone() for key, value in module.eval().state_dict().items()}
    given = []
    for batch in (images, images, images[:1]):
        torch.manual_seed(2)
        with torch.no_grad(), works(f"{name}: reveal fails"):
            pictures = module.reveal(batch.clone())
        fault = reveal_fault(pictures, batch)
        assert not fault, f"{name}: reveal gives {fault}"
        given.append(pictures)
    same = all(torch.equal(given[0][key], given[1][key]) for key in given[0])
    assert same, f"{name}: what reveal gives must depend on torch's random state alone"
    kept = all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert kept, f"{name}: reveal must leave weights and buffers as they are"


def _check_guide(strategy: Strategy[P], params: P, context: Context) -> None:
    import torch

    from bench.explain.guides import guide_fault

    if strategy.guide is None:
        return
    images = torch.randint(0, 256, (4, 3, context.size, context.size), dtype=torch.uint8)
    given = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        with torch.no_grad(), works(f"{strategy.name}: guide fails"):
            given.append(strategy.guide(images.clone(), params))
        fault = guide_fault(given[-1], images)
        assert not fault, f"{strategy.name}: guide gives {fault}"
    assert torch.equal(*given), f"{strategy.name}: what guide gives must depend on the images alone"


def _check_resumed(
    strategy: Strategy[P], params: P, context: Context, module: nn.Module, images: Tensor
) -> None:
    _, resumed = _objective(strategy, params, context)
    resumed.load_state_dict(module.state_dict())
    expected, actual = (float(_loss(strategy.name, each, images).detach()) for each in (module, resumed))
    assert expected == actual, (
        f"{strategy.name}: a module with the state_dict of a trained one gives another loss; what changes "
        "in training must be a parameter or a buffer"
    )


def _objective(strategy: Strategy[P], params: P, context: Context) -> tuple[nn.Module, nn.Module]:
    import torch

    assert strategy.objective
    torch.manual_seed(0)
    net = _tiny_net()
    encoder = Encoder(net=net, features=_tiny_features, stride=STRIDE, width=WIDTH)
    return net, strategy.objective(encoder, params, context).train()


def _loss(name: str, module: nn.Module, images: Tensor) -> Tensor:
    import torch

    torch.manual_seed(1)
    loss: Tensor = module(images.clone())
    assert loss.ndim == 0, f"{name}: the loss has shape {tuple(loss.shape)}; it must be a scalar"
    assert math.isfinite(float(loss.detach())), f"{name}: the loss is {float(loss.detach())}"
    return loss


# --- initial weights ---------------------------------------------------------------------------------


def _check_initialize(strategy: Strategy[P], params: P, context: Context) -> None:
    assert strategy.initialize
    name, model, net = strategy.name, _tiny_model(), _tiny_net(len(context.classes))
    before = _shapes(net)
    model_params = model.params()
    with works(f"{name}: fails on a small network"):
        try:
            if strategy.freeze:
                params = _frozen(strategy, params, model)
            origin = strategy.initialize(net, model, model_params, params)
        except BenchError:
            return
    assert origin, f"{name}: initialize() must say where the weights came from"
    assert isinstance(origin, str), f"{name}: initialize() gives a {type(origin).__name__}, not a str"
    assert _shapes(net) == before, f"{name}: the network's tensors must keep their names and shapes"


def _frozen(strategy: Strategy[P], params: P, model: Model) -> P:
    assert strategy.freeze
    frozen = strategy.freeze(params, model, model.params())
    kind = type(frozen).__name__
    assert isinstance(frozen, strategy.params), f"{strategy.name}: freeze() gives {kind}"
    again = strategy.freeze(frozen, model, model.params())
    assert again == frozen, f"{strategy.name}: freeze() must not change parameters that it has filled in"
    return frozen


# --- a small network ---------------------------------------------------------------------------------


def _shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def _tiny_net(classes: int = 0) -> nn.Module:
    """A patch embedding, with a linear classifier if there are classes, in memory as the core's networks."""
    import torch
    from torch import nn

    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, classes)] if classes else []
    net = nn.Sequential(nn.Conv2d(3, WIDTH, STRIDE, STRIDE), nn.GELU(), *head)
    return net.to(memory_format=torch.channels_last)


def _tiny_features(net: nn.Module, images: Tensor) -> Tensor:
    maps: Tensor = net(images)
    return maps


def _tiny_model() -> Model[LocalWeights]:
    """A model that has pretrained weights at hand."""
    return Model(
        name="tiny",
        about="a small network to try strategies on",
        params=LocalWeights,
        build=lambda params, context: _tiny_net(len(context.classes)),
        classifier=lambda net: ("4",),
        pretrained_source=lambda params: "tiny:weights",
        pretrained=lambda net, params, source: Weights(state=_tiny_net(3).state_dict(), source=source),
    )
