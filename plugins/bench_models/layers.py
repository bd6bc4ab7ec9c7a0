"""Building blocks that several baselines share, where their mathematics is the same.

Between layers a "map" is (B, C, H, W) and "tokens" are (B, N, C) with N = H*W in row-major order. Tokens
that are contiguous are a channels_last map in memory, so `to_map` and `to_tokens` copy nothing.
"""

from __future__ import annotations

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn
from torch.nn import functional as F

from bench import ConfigError


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens (B, H*W, C) as a map (B, C, H, W), a view in channels_last."""
    return torch.unflatten(tokens.transpose(1, 2), 2, (height, width))


def to_tokens(image_map: Tensor) -> Tensor:
    """A map (B, C, H, W) as tokens (B, H*W, C), a view if the map is channels_last."""
    return image_map.flatten(2).transpose(1, 2)


def split_heads(tokens: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Tokens (B, N, parts*heads*d), parts outermost, as `parts` tensors (B, heads, N, d)."""
    return torch.unflatten(tokens, -1, (parts, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def merge_heads(values: Tensor) -> Tensor:
    """(B, heads, N, d) as tokens (B, N, heads*d)."""
    if torch.compiler.is_exporting():  # a view would hold for this kernel's strides, not for ONNX's
        return torch.cat(values.unbind(1), dim=-1)
    return values.transpose(1, 2).flatten(2)


def attend(q: Tensor, k: Tensor, v: Tensor, fused: bool, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v for q (B, h, N, d) and k, v (B, h, M, d).

    `fused` takes torch's kernel, which never holds the (N, M) weights; without it every product is an
    operator that cost counters see (timm's switch `set_fused_attn` decides when a network is built).
    """
    if fused:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias.to(q.dtype))
    logits: Tensor = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    return (logits if bias is None else logits + bias).softmax(dim=-1) @ v


class DepthwiseMlp(nn.Module):
    """Linear, GELU(u + dw3x3(u)), Linear: the MLP of SMT and SG-Former."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        # The extra level is in the authors' parameter names.
        self.dwconv = nn.ModuleDict({"dwconv": nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)})
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        hidden = self.fc1(tokens)
        local = to_tokens(self.dwconv["dwconv"](to_map(hidden, height, width)))
        out: Tensor = self.fc2(self.act(hidden + local))
        return out


def init_linear(module: nn.Module) -> None:
    """Truncated normal weights (std 0.02) and zero biases for Linear; for use with `Module.apply`."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def init_conv_fan_out(module: nn.Module) -> None:
    """N(0, 2 / fan_out) weights and zero biases for Conv2d, fan_out = kh*kw*C_out/groups."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels / module.groups
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def drop_rates(highest: float, depths: tuple[int, ...]) -> list[list[float]]:
    """Stochastic-depth rates per stage and block, rising linearly from 0 over all blocks."""
    last = max(sum(depths) - 1, 1)
    rates = iter([highest * k / last for k in range(sum(depths))])
    return [[next(rates) for _ in range(depth)] for depth in depths]


def check_images(model: str, images: Tensor, size: int) -> None:
    """Raise ConfigError unless the images have the size that the network's tables were made for."""
    if images.shape[-2] != size or images.shape[-1] != size:
        height, width = images.shape[-2:]
        raise ConfigError(
            f"this {model!r} network was built for {size} x {size} images and was given {height} x {width}; "
            "build it for that size"
        )
