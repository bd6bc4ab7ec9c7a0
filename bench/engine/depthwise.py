"""Faster weight gradients on a CPU, of depthwise convolutions with large kernels on small maps.

oneDNN, by which PyTorch computes them, takes six to thirty times as long for the gradient of the weights as
for that of the inputs, if kernels are 5 pixels wide or wider; narrower ones it does fast. On small maps the
product of two shifted maps for each tap of the kernel is faster, the more so the smaller they are: with one
thread, by a quarter on 12 x 12 pixels and about eight times on 3 x 3. With two threads little is won on the
larger of them. The sums are the same, rounded in another order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

TAPS = 5  # least width of a kernel
PIXELS = 12 * 12  # most outputs of a channel: with more of them, oneDNN was as fast or faster

Span = tuple[slice, slice]
"""Along one side, which inputs a tap of the kernel multiplies, and for which outputs."""


def faster_gradients(device: torch.device) -> AbstractContextManager[object]:
    """A context for forward and backward pass, in which these gradients are computed as said above on a CPU
    with oneDNN; elsewhere it changes nothing."""
    return _Depthwise() if applies_on(device) else nullcontext()


def applies_on(device: torch.device) -> bool:
    return device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


class _Depthwise(TorchFunctionMode):
    """Gives the depthwise convolutions that it applies to their own gradient."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d:
            return _conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,  # these are the names of torch.conv2d
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    if not isinstance(padding, str) and _applies(input, weight, groups) and _pair(dilation) == (1, 1):
        strides, paddings = _pair(stride), _pair(padding)
        sides = zip(input.shape[2:], weight.shape[2:], strides, paddings, strict=True)
        height, width = ((side + 2 * pad - taps) // step + 1 for side, taps, step, pad in sides)
        if 0 < height * width <= PIXELS:
            output: Tensor = _Convolution.apply(input, weight, bias, strides, paddings)
            return output
    return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)


def _applies(images: Tensor, weight: Tensor, groups: int) -> bool:
    return (
        images.ndim == 4
        and groups == images.shape[1] == weight.shape[0]  # one kernel for each channel
        and min(weight.shape[2:]) >= TAPS
        and images.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and weight.requires_grad
        and torch.is_grad_enabled()
    )


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1])


class _Convolution(torch.autograd.Function):
    """A depthwise convolution, whose backward pass can be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        return torch.conv2d(images, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        images, weight, bias, ctx.stride, ctx.padding = inputs
        ctx.has_bias = bias is not None
        ctx.save_for_backward(images, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        of_images, of_weight, of_bias = None, None, None
        if ctx.needs_input_grad[0]:
            of_images = torch.ops.aten.convolution_backward(
                gradient,
                images,
                weight,
                bias_sizes=None,
                stride=ctx.stride,
                padding=ctx.padding,
                dilation=(1, 1),
                transposed=False,
                output_padding=(0, 0),
                groups=len(weight),
                output_mask=(True, False, False),
            )[0]
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(gradient, images, weight.shape[2:], ctx.stride, ctx.padding)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_images, of_weight, of_bias, None, None


def weight_gradient(
    gradient: Tensor,
    images: Tensor,
    kernel: Sequence[int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """The gradient (C, 1, k, l) of the weights of a depthwise convolution with kernels of k x l taps.

    `gradient` is that of its outputs (B, C, h, w), and `images` (B, C, H, W) its inputs. For each tap, the
    sum over all images and outputs of the gradient times the input that the tap was multiplied with.
    """
    outputs, inputs = gradient.permute(0, 2, 3, 1), images.permute(0, 2, 3, 1)  # as they lie in memory
    rows, columns = (
        _spans(inputs.shape[i], outputs.shape[i], kernel[i - 1], stride[i - 1], padding[i - 1])
        for i in (1, 2)
    )
    taps = [
        (outputs[:, to_y, to_x] * inputs[:, from_y, from_x]).sum((0, 1, 2))
        for (from_y, to_y), (from_x, to_x) in product(rows, columns)
    ]
    return torch.stack(taps, 1).view(-1, 1, *kernel)


@functools.lru_cache(maxsize=256)
def _spans(inputs: int, outputs: int, taps: int, stride: int, padding: int) -> list[Span]:
    """Of each tap along one side; empty where it meets the padding only."""
    spans = []
    for tap in range(taps):
        first = max(0, -((tap - padding) // stride))  # the first output for which the tap meets an input
        last = min(outputs, (inputs - 1 + padding - tap) // stride + 1)
        start = first * stride + tap - padding
        count = max(0, last - first)
        spans.append((slice(start, start + count * stride, stride), slice(first, first + count)))
    return spans
