"""SG-Former-S: attention that spends its tokens where an earlier attention found significance.

S. Ren et al., "SG-Former: Self-guided Transformer with Evolving Token Reallocation", ICCV 2023,
arXiv:2308.12216. Parameter names and shapes are those of the authors' code, so that their checkpoints
load. Tokens are sorted by significance, which makes the network discontinuous: compare in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from timm.layers import DropPath, resample_abs_pos_embed, use_fused_attn
from torch import Tensor, nn
from torch.nn import functional as F

from bench_models import sizes
from bench_models.layers import (
    DepthwiseMlp,
    attend,
    check_images,
    drop_rates,
    init_conv_fan_out,
    init_linear,
    merge_heads,
    split_heads,
    to_map,
    to_tokens,
)

WIDTHS = (64, 128, 256, 512)
HEADS = (2, 4, 8, 16)
REDUCTIONS = (8, 4, 2, 1)
DEPTHS = (2, 4, 16, 1)
WINDOW = 7
MERGED = {8: (196, 56, 28), 4: (49, 14, 7), 2: (2, 1)}  # tokens merged into one, least significant first


class Attention(nn.Module):
    """What all three attentions share: heads, the output projection, and a local term added before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.fused_attn = use_fused_attn()
        self.lepe_linear = nn.Linear(width, width)
        self.lepe_conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.proj = nn.Linear(width, width)

    def project(self, values: Tensor, tokens: Tensor, height: int, width: int) -> Tensor:
        local = to_tokens(self.lepe_conv(to_map(self.lepe_linear(tokens), height, width)))
        out: Tensor = self.proj(values + local)
        return out


class PlainAttention(Attention):
    """Self-attention over all tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)

    def forward(
        self, tokens: Tensor, height: int, width: int, significance: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        (q,) = split_heads(self.q(tokens), 1, self.heads)
        k, v = split_heads(self.kv(tokens), 2, self.heads)
        values = merge_heads(attend(q, k, v, self.fused_attn))
        return self.project(values, tokens, height, width), None


class HybridAttention(Attention):
    """Half the heads attend to a reduced map, half within 7x7 windows. How much each token was attended to in
    both is the significance (B, H, W) that guides the next block."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__(width, heads)
        self.sr = nn.Conv2d(width, width, reduction, stride=reduction)
        self.norm = nn.LayerNorm(width)
        self.act = nn.GELU()
        self.q1 = nn.Linear(width, width // 2)
        self.kv1 = nn.Linear(width, width)
        self.q2 = nn.Linear(width, width // 2)
        self.kv2 = nn.Linear(width, width)

    def forward(
        self, tokens: Tensor, height: int, width: int, significance: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        reduced = self.sr(to_map(tokens, height, width))
        context = self.act(self.norm(to_tokens(reduced)))
        everywhere, received = _attend_with_shares(self.q1(tokens), self.kv1(context), self.heads // 2)
        coarse = received.view(-1, 1, *reduced.shape[2:])
        windows = to_windows(torch.unflatten(tokens, 1, (height, width)))
        nearby, received = _attend_with_shares(self.q2(windows), self.kv2(windows), self.heads // 2)
        fine = from_windows(received.unsqueeze(-1), height, width).squeeze(-1)
        nearby = from_windows(nearby, height, width).flatten(1, 2)
        significance = F.interpolate(coarse, (height, width)).squeeze(1) + fine
        values = torch.cat([everywhere, nearby], dim=-1)
        return self.project(values, tokens, height, width), significance


class GuidedAttention(Attention):
    """All tokens attend to few, merged from many where significance is low and from few where it is high.

    The authors sort the tokens twice, once from the rows and once from the columns of the map, each for
    half the heads. Both give one order, but for exact ties, so here they are sorted and merged once.
    """

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__(width, heads)
        self.q = nn.Linear(width, width)
        self.kv1 = nn.Linear(width, width)
        self.kv2 = nn.Linear(width, width)
        self.merged = MERGED[reduction]
        for i, count in enumerate(self.merged, start=1):
            self.add_module(f"f{i}", nn.Linear(count, 1))

    def forward(
        self, tokens: Tensor, height: int, width: int, significance: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        assert significance is not None  # a hybrid block comes before every guided one
        merged = self.merge(tokens, significance.flatten(1).argsort(dim=1))
        k1, v1 = split_heads(self.kv1(merged), 2, self.heads // 2)
        k2, v2 = split_heads(self.kv2(merged), 2, self.heads // 2)
        (q,) = split_heads(self.q(tokens), 1, self.heads)
        k, v = torch.cat([k1, k2], dim=1), torch.cat([v1, v2], dim=1)
        values = merge_heads(attend(q, k, v, self.fused_attn))
        return self.project(values, tokens, height, width), None

    def merge(self, tokens: Tensor, order: Tensor) -> Tensor:
        """Tokens (B, N, C) in this order (B, N), merged group by group to (B, M, C)."""
        ordered = tokens.gather(1, order.unsqueeze(-1).expand_as(tokens))
        parts = ordered.split_with_sizes(self._part_lengths(tokens.shape[1]), dim=1)
        merged = []
        for i, part in enumerate(parts, start=1):
            linear = getattr(self, f"f{i}")
            groups = torch.unflatten(part, 1, (-1, linear.in_features)).transpose(2, 3)
            merged.append(linear(groups).squeeze(-1))
        return torch.cat(merged, dim=1)

    def _part_lengths(self, tokens: int) -> list[int]:
        """Quarter, half and quarter of the tokens, or two halves, in whole groups."""
        if len(self.merged) == 2:
            least = tokens // 2 // self.merged[0] * self.merged[0]
            return [least, tokens - least]
        return [tokens // 4, tokens // 2, tokens // 4]


def _attend_with_shares(queries: Tensor, keys_values: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Attention, and the share of it that each key received, without gradient.

    Queries (B, N, C) and keys with values (B, M, 2C) give tokens (B, N, C) and shares (B, M). Written out,
    since torch's kernel does not give the weights.
    """
    (q,), (k, v) = split_heads(queries, 1, heads), split_heads(keys_values, 2, heads)
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
    return merge_heads(weights @ v), weights.detach().mean((1, 2))


def to_windows(grid: Tensor) -> Tensor:
    """(B, H, W, C) to the tokens of its 7x7 windows (B * windows, 49, C)."""
    batch, height, width, channels = grid.shape
    cut = grid.reshape(batch, height // WINDOW, WINDOW, width // WINDOW, WINDOW, channels)
    return cut.transpose(2, 3).reshape(-1, WINDOW * WINDOW, channels)


def from_windows(windows: Tensor, height: int, width: int) -> Tensor:
    """Tokens of 7x7 windows (B * windows, 49, C) to (B, H, W, C)."""
    cut = windows.reshape(-1, height // WINDOW, width // WINDOW, WINDOW, WINDOW, windows.shape[-1])
    return cut.transpose(2, 3).reshape(-1, height, width, windows.shape[-1])


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
