"""Weight gradients of depthwise convolutions on small maps are PyTorch's, and a step on a CPU uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv2d

from bench.engine import depthwise
from bench.engine.depthwise import faster_gradients
from bench.engine.job import Budget, Job
from bench.engine.step import Step, make_optimizer, train_step

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(not depthwise.applies_on(CPU), reason="this PyTorch has no oneDNN")


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the gradients that are computed by shifts."""
    seen: list[tuple[int, ...]] = []
    real = depthwise.weight_gradient

    def noted(gradient: Tensor, *args: Any) -> Tensor:
        seen.append(tuple(gradient.shape))
        return real(gradient, *args)

    monkeypatch.setattr(depthwise, "weight_gradient", noted)
    return seen


@settings(deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
def test_gradients_are_those_of_pytorch_in_double_precision(
    images: int,
    channels: int,
    side: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:
    if any(s + 2 * p < k for s, p, k in zip(side, padding, kernel, strict=True)):
        return  # no outputs
    generator = torch.Generator().manual_seed(images * 10 + channels)
    x = torch.randn(images, channels, *side, generator=generator, dtype=torch.float64)
    weight = torch.zeros(channels, 1, *kernel, dtype=torch.float64, requires_grad=True)
    output = conv2d(x, weight, None, stride, padding, groups=channels)
    gradient = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    output.backward(gradient)
    ours = depthwise.weight_gradient(gradient, x, kernel, stride, padding)
    assert ours.shape == weight.shape
    torch.testing.assert_close(ours, weight.grad)


def both(net: nn.Module, *images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Output and gradients of inputs and parameters: as always, and with faster ones."""
    found = []
    for context in (torch.enable_grad(), faster_gradients(CPU)):
        leaves = [image.clone().requires_grad_() for image in images]
        net.zero_grad()
        with context:
            output = net(*leaves)
            output.square().sum().backward()
        gradients = [leaf.grad for leaf in leaves] + [p.grad.clone() for p in net.parameters()]
        found.append([output.detach(), *gradients])
    return found[0], found[1]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("taps", "stride", "padding"), [(5, 1, 2), (5, 2, 0), (7, 1, 3), (7, 3, "valid")])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_a_layer_has_the_gradients_it_has_without(
    taps: int, stride: int, padding: Any, bias: bool, memory_format: torch.memory_format
) -> None:
    torch.manual_seed(0)
    net = nn.Conv2d(6, 6, taps, stride, padding, groups=6, bias=bias).to(memory_format=memory_format)
    images = torch.randn(4, 6, 9, 9).to(memory_format=memory_format)
    always, faster = both(net, images)
    assert torch.equal(always[0], faster[0])  # forward passes are the same
    assert torch.equal(always[1], faster[1])  # and the gradients of inputs
    for one, other in zip(always, faster, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def net(taps: int = 5, side: int = 12, **options: Any) -> tuple[nn.Module, Tensor]:
    channels = options.pop("channels", 4)
    groups = options.pop("groups", channels)
    return (
        nn.Conv2d(channels, 4, taps, padding=taps // 2, groups=groups, **options),
        torch.randn(2, channels, side, side),
    )


@pytest.mark.parametrize(
    ("made", "applies"),
    [
        (net(), True),
        (net(7), True),
        (net(3), False),  # oneDNN does it fast
        (net(side=13), False),  # likewise
        (net(groups=2), False),  # not depthwise
        (net(channels=2, groups=2), False),  # two kernels for each channel
        (net(dtype=torch.float64), False),
        (net(dilation=2), False),
    ],
)
def test_it_applies_to_large_kernels_on_small_maps(
    made: tuple[nn.Module, Tensor], applies: bool, shapes: list[tuple[int, ...]]
) -> None:
    module, images = made
    dtype = next(module.parameters()).dtype
    both(module, images.to(dtype))
    assert bool(shapes) == applies


def test_it_applies_neither_under_autocast_nor_without_gradients(shapes: list[tuple[int, ...]]) -> None:
    module, images = net()
    with faster_gradients(CPU):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            module(images).float().sum().backward()
        with torch.no_grad():
            assert not module(images).requires_grad
        module.requires_grad_(False)
        module(images.requires_grad_()).sum().backward()
    assert not shapes
    assert isinstance(faster_gradients(torch.device("cuda")), type(faster_gradients(torch.device("mps"))))
    assert type(faster_gradients(torch.device("cuda"))) is not type(faster_gradients(CPU))


def test_gradients_can_be_differentiated_again_and_vectorised() -> None:
    torch.manual_seed(0)
    weight = torch.randn(2, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    images = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    apply = depthwise._Convolution.apply

    def layer(x: Tensor, w: Tensor) -> Tensor:
        output: Tensor = apply(x, w, None, (1, 1), (2, 2))  # type: ignore[no-untyped-call]
        return output

    assert torch.autograd.gradcheck(layer, (images, weight))
    assert torch.autograd.gradgradcheck(layer, (images, weight))
    alone = torch.func.grad(lambda w, x: layer(x[None], w).square().sum())
    each = torch.func.vmap(alone, (None, 0))(weight.detach(), images.detach())
    torch.testing.assert_close(each[1], alone(weight.detach(), images.detach()[1]))


BUDGET = Budget(1, 1, 0.1, (0.9, 0.999), 0.0)


def job_of(folder: Path, **options: Any) -> Job:
    return Job("unit", "fine-tune", 0, CPU, folder / "checkpoint.pt", lambda progress: None, **options)


class Small(nn.Module):
    """A loss with one depthwise convolution, which is done once more in the backward pass if `again`."""

    def __init__(self, again: bool = False) -> None:
        super().__init__()
        self.net = nn.Conv2d(3, 3, 5, padding=2, groups=3)
        self.again = again

    def forward(self, images: Tensor) -> Tensor:
        if self.again:
            from torch.utils.checkpoint import checkpoint

            return checkpoint(self.net, images, use_reentrant=False).square().mean()  # type: ignore[no-any-return]
        loss: Tensor = self.net(images).square().mean()
        return loss


@pytest.mark.parametrize("again", [False, True])
def test_a_step_on_a_cpu_computes_them_so(again: bool, shapes: list[tuple[int, ...]], tmp_path: Path) -> None:
    module = Small(again)
    job = job_of(tmp_path)
    step = Step(module, make_optimizer(module, BUDGET), job)
    step((torch.randn(4, 3, 6, 6, requires_grad=again),), 0.1)
    assert shapes == [(4, 3, 6, 6)]
    assert step.choices["depthwise"] == "weight gradients on small maps by shifts"


def test_a_compiled_step_keeps_its_own_kernels(shapes: list[tuple[int, ...]], tmp_path: Path) -> None:
    module = Small()
    job = job_of(tmp_path, compile=True)
    train_step(module, make_optimizer(module, BUDGET), (torch.randn(4, 3, 6, 6),), job)
    assert not shapes
    assert "depthwise" not in Step(module, make_optimizer(module, BUDGET), job).choices
