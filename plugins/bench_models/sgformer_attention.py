"""The three attentions of SG-Former (S. Ren et al., ICCV 2023): plain, hybrid, and guided by significance."""

from __future__ import annotations

import torch
from timm.layers import use_fused_attn
from torch import Tensor, nn
from torch.nn import functional as F

from bench_models.layers import attend, merge_heads, split_heads, to_map, to_tokens

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
