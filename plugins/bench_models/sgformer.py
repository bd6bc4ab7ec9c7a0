"""SG-Former-S: attention that spends its tokens where an earlier attention found significance.

S. Ren et al., "SG-Former: Self-guided Transformer with Evolving Token Reallocation", ICCV 2023,
arXiv:2308.12216. Parameter names and shapes are those of the authors' code, so that their checkpoints
load. Tokens are sorted by significance, which makes the network discontinuous: compare in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from timm.layers import DropPath, resample_abs_pos_embed
from torch import Tensor, nn

from bench_models import sizes
from bench_models.layers import (
    DepthwiseMlp,
    check_images,
    drop_rates,
    init_conv_fan_out,
    init_linear,
    to_map,
    to_tokens,
)
from bench_models.sgformer_attention import Attention, GuidedAttention, HybridAttention, PlainAttention

WIDTHS = (64, 128, 256, 512)
HEADS = (2, 4, 8, 16)
REDUCTIONS = (8, 4, 2, 1)
DEPTHS = (2, 4, 16, 1)


class Block(nn.Module):
    """Pre-norm attention and MLP. The significance of tokens comes from, or goes to, its neighbour."""

    def __init__(self, attention: Attention, width: int, drop: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = attention
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = DepthwiseMlp(width, 4 * width)
        self.drop_path = DropPath(drop)

    def forward(
        self, tokens: Tensor, height: int, width: int, significance: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        attended, significance = self.attn(self.norm1(tokens), height, width, significance)
        tokens = tokens + self.drop_path(attended)
        return tokens + self.drop_path(self.mlp(self.norm2(tokens), height, width)), significance


class ConvNorm(nn.Module):
    """Convolution without bias, then GroupNorm over all channels."""

    def __init__(
        self, width_in: int, width: int, kernel: int, stride: int = 1, depthwise: bool = False
    ) -> None:
        super().__init__()
        groups = width if depthwise else 1
        self.c = nn.Conv2d(width_in, width, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.GroupNorm(1, width)

    def forward(self, image_map: Tensor) -> Tensor:
        out: Tensor = self.bn(self.c(image_map))
        return out


class Stem(nn.Module):
    """Three 3x3 convolutions, a quarter of the sides, then LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            ConvNorm(3, width, 3, stride=2),
            nn.GELU(),
            ConvNorm(width, width, 3),
            nn.GELU(),
            ConvNorm(width, width, 3, stride=2),
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> tuple[Tensor, int, int]:
        x = self.conv(images)
        return self.norm(to_tokens(x)), x.shape[2], x.shape[3]


class PatchEmbed(nn.Module):
    """Expand the channels, halve the sides by a depthwise convolution, mix the channels."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width_in, width, 1)
        self.conv2 = ConvNorm(width, width, 3, stride=2, depthwise=True)
        self.conv3 = ConvNorm(width, width, 1)
        self.act = nn.GELU()

    def forward(self, image_map: Tensor) -> tuple[Tensor, int, int]:
        x = self.conv3(self.act(self.conv2(self.act(self.conv1(image_map)))))
        return to_tokens(x), x.shape[2], x.shape[3]


class SGFormer(nn.Module):
    """SG-Former-S for `size` x `size` images. Blocks alternate, hybrid and guided; the last stage is plain.

    Windows of 7 at strides 4 to 16, and merges of fixed length, ask for a size that is a multiple of 112.
    """

    def __init__(
        self, classes: int, size: int = 224, drop_path: float = 0.1, depths: tuple[int, ...] = DEPTHS
    ) -> None:
        super().__init__()
        sizes.SGFORMER.check(size)
        self.size = size
        self.pos_embed = nn.Parameter(sine_positions(size // 4, WIDTHS[0]))
        rates = drop_rates(drop_path, depths)
        for i, width in enumerate(WIDTHS):
            self.add_module(f"patch_embed{i + 1}", PatchEmbed(WIDTHS[i - 1], width) if i else Stem(width))
            blocks = [Block(_attention(i, j), width, rate) for j, rate in enumerate(rates[i])]
            self.add_module(f"block{i + 1}", nn.ModuleList(blocks))
            self.add_module(f"norm{i + 1}", nn.LayerNorm(width, eps=1e-6))
        self.head = nn.Linear(WIDTHS[-1], classes)
        self.apply(init_linear)
        self.apply(init_conv_fan_out)

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) to a map (B, 512, S/32, S/32), sides rounded up."""
        check_images("sgformer", images, self.size)
        x = images
        for i in range(1, 5):
            tokens, height, width = getattr(self, f"patch_embed{i}")(x)
            if i == 1:
                tokens = tokens + self.pos_embed
            significance = None
            for block in getattr(self, f"block{i}"):
                tokens, significance = block(tokens, height, width, significance)
            x = to_map(getattr(self, f"norm{i}")(tokens), height, width)
        return x

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.forward_features(images).mean((2, 3)))
        return out

    def no_weight_decay(self) -> set[str]:
        """The position table."""
        return {"pos_embed"}


def _attention(stage: int, block: int) -> Attention:
    width, heads, reduction = WIDTHS[stage], HEADS[stage], REDUCTIONS[stage]
    if reduction == 1:
        return PlainAttention(width, heads)
    return (GuidedAttention if block % 2 else HybridAttention)(width, heads, reduction)


def sine_positions(side: int, width: int) -> Tensor:
    """Sine and cosine position code (1, side*side, width): half from the column, half from the row."""
    rates = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * rates
    code = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width / 2)
    columns = code.expand(side, side, -1)
    return torch.cat([columns, columns.transpose(0, 1)], dim=2).flatten(0, 1).unsqueeze(0).float()


def fit_positions(net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The state with a position table made for another image size resampled to `net`'s."""
    table, wanted = state.get("pos_embed"), net.state_dict()["pos_embed"].shape
    if table is None or table.shape == wanted or table.ndim != 3:
        return state
    side = math.isqrt(wanted[1])
    return {**state, "pos_embed": resample_abs_pos_embed(table, [side, side], num_prefix_tokens=0)}
