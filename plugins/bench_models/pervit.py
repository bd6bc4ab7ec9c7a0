"""PerViT-S: multi-head attention weighed by peripheral regions that a network learns from distances.

J. Min et al., "Peripheral Vision Transformer", NeurIPS 2022, arXiv:2206.06801.
Parameter names and shapes are those of the authors' code, so that their checkpoints load.
"""

from __future__ import annotations

from typing import cast

import torch
from timm.layers import DropPath, Mlp, use_fused_attn
from torch import Tensor, nn
from torch.nn import functional as F

from bench_models import sizes
from bench_models.layers import (
    check_images,
    drop_rates,
    init_linear,
    merge_heads,
    split_heads,
    to_map,
    to_tokens,
)

WIDTHS = (272, 272, 320, 320, 368, 368, 368, 368, 368, 368, 464, 464)
STEM = (64, 128, 192, 272)
HEADS = 8
POSITION_WIDTH = 32
BORDER = 2  # cells around the grid that the two unpadded 3x3 convolutions use up


class PositionNetwork(nn.Module):
    """How much each query attends to each key for their distance alone, as a logarithm, for one block.

    Two 3x3 convolutions over the map of keys, queries as the batch. Nothing here depends on the images.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(POSITION_WIDTH, POSITION_WIDTH, 3)
        self.gn1 = nn.GroupNorm(POSITION_WIDTH, POSITION_WIDTH)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(POSITION_WIDTH, HEADS, 3)
        self.gn2 = nn.GroupNorm(HEADS, HEADS)

    def forward(self, distances: Tensor) -> Tensor:
        """Projected distances (N, 32, n+4, n+4), N = n*n, to log weights (1, heads, N, N)."""
        x = self.gn2(self.conv2(self.relu(self.gn1(self.conv1(distances)))))
        return F.logsigmoid(x.flatten(2).transpose(0, 1).unsqueeze(0))

    def init_weights(self, scale: float, shift: float) -> None:
        """The authors' start: weights fall with distance, sharply in the first block, hardly in the last."""
        for conv in (self.conv1, self.conv2):
            nn.init.constant_(conv.weight, 0.02)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.gn2.weight, scale)
        nn.init.constant_(self.gn2.bias, shift)


class Attention(nn.Module):
    """Attention whose weights are multiplied by the position network's before they are normalised."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fused_attn = use_fused_attn()
        self.activation = PositionNetwork()
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        # The product with exp(logits), divided by its sum, is the softmax of logits + log weights.
        q, k, v = split_heads(self.to_qkv(tokens), 3, HEADS)
        if self.fused_attn:
            values = F.scaled_dot_product_attention(q, k, v, attn_mask=position.to(q.dtype))
        else:  # torch.matmul, as in the authors' code, because ptflops counts it and not the operator @
            logits = torch.matmul(q, k.transpose(-2, -1)) * q.shape[-1] ** -0.5
            values = torch.matmul(F.softmax(logits + position, dim=-1), v)
        out: Tensor = self.proj(merge_heads(values))
        return out


class Block(nn.Module):
    """Convolutional position encoding and attention, then an MLP that may change the width."""

    def __init__(self, width: int, width_out: int, drop: float) -> None:
        super().__init__()
        # The extra level is in the authors' parameter names.
        self.conv = nn.ModuleDict({"proj": nn.Conv2d(width, width, 3, padding=1, groups=width)})
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, 4 * width, width_out)
        self.res_path = nn.Linear(width, width_out) if width != width_out else nn.Identity()
        self.drop_path = DropPath(drop)

    def forward(self, tokens: Tensor, side: int, position: Tensor) -> Tensor:
        encoded = to_tokens(self.conv["proj"](to_map(tokens, side, side)))
        tokens = tokens + self.drop_path(self.attn(self.norm1(encoded), position))
        out: Tensor = self.res_path(tokens) + self.drop_path(self.mlp(self.norm2(tokens)))
        return out


class Stem(nn.Module):
    """Four 3x3 convolutions of stride 2, then one 1x1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1), nn.BatchNorm2d(o), nn.ReLU())
                for i, o in zip((3, *STEM), STEM, strict=False)
            )
        )
        self.conv1x1 = nn.Conv2d(STEM[-1], STEM[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.conv1x1(self.conv_layers(images))
        return out


class PerViT(nn.Module):
    """PerViT-S for `size` x `size` images: 12 blocks on one grid of ceil(size / 16) cells per side."""

    distances: Tensor

    def __init__(
        self, classes: int, size: int = 224, drop_path: float = 0.1, widths: tuple[int, ...] = WIDTHS
    ) -> None:
        super().__init__()
        sizes.PERVIT.check(size)
        self.size, self.side = size, -(-size // 16)
        self.conv_layers = Stem()
        self.rpe_proj = nn.Linear(1, POSITION_WIDTH)
        self.register_buffer("distances", _distances(self.side), persistent=False)
        (rates,) = drop_rates(drop_path, (len(widths),))
        following = (*widths[1:], widths[-1])
        self.blocks = nn.ModuleList(Block(*a) for a in zip(widths, following, rates, strict=True))
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.head = nn.Linear(widths[-1], classes)
        self._init_weights()

    def _init_weights(self) -> None:
        self.head.apply(init_linear)
        for name, module in self.blocks.named_modules():
            if not name.endswith("res_path"):
                init_linear(module)
        nn.init.constant_(self.rpe_proj.weight, -0.02)
        nn.init.zeros_(self.rpe_proj.bias)
        networks = self._position_networks()
        for i, network in enumerate(networks):
            depth = i / max(len(networks) - 1, 1)
            network.init_weights(scale=3.0 - 2.99 * depth, shift=-5.0 + 9.0 * depth)

    def positions(self) -> list[Tensor]:
        """Each block's log position weights (1, heads, N, N), computed anew in every forward."""
        projected = self.rpe_proj(self.distances).permute(0, 3, 1, 2)
        return [network(projected) for network in self._position_networks()]

    def _position_networks(self) -> list[PositionNetwork]:
        return [cast(Block, block).attn.activation for block in self.blocks]

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) to a map (B, 464, ceil(S/16), ceil(S/16))."""
        check_images("pervit", images, self.size)
        return self.attend_map(self.conv_layers(images))

    def attend_map(self, image_map: Tensor) -> Tensor:
        """The stem's map (B, 272, n, n) through all blocks."""
        tokens = to_tokens(image_map)
        for block, position in zip(self.blocks, self.positions(), strict=True):
            tokens = block(tokens, self.side, position)
        return to_map(self.norm(tokens), self.side, self.side)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.forward_features(images).mean((2, 3)))
        return out


def _distances(side: int) -> Tensor:
    """Distance from each cell of a grid over [-1, 1]^2 to each cell of the grid with its border.

    (N, n+4, n+4, 1) float32, N = n*n queries in row-major order.
    """
    step = 2 / (side - 1)
    axis = torch.linspace(-1 - BORDER * step, 1 + BORDER * step, side + 2 * BORDER, dtype=torch.float64)
    square = (axis[BORDER:-BORDER, None] - axis).square()  # (queries, keys) of one axis
    distances = (square[:, None, :, None] + square[None, :, None, :]).sqrt()
    return distances.flatten(0, 1).unsqueeze(-1).float()
