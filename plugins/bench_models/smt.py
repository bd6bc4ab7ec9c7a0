"""SMT-S: scale-aware modulation in the early stages, attention in the late ones, mixed between.

W. Lin et al., "Scale-Aware Modulation Meet Transformer", ICCV 2023, arXiv:2307.08579.
Parameter names and shapes are those of the authors' code, so that their checkpoints load.
"""

from __future__ import annotations

import torch
from timm.layers import DropPath, use_fused_attn
from torch import Tensor, nn

from bench_models import sizes
from bench_models.layers import (
    DepthwiseMlp,
    attend,
    drop_rates,
    init_conv_fan_out,
    init_linear,
    merge_heads,
    split_heads,
    to_map,
    to_tokens,
)

WIDTHS = (64, 128, 256, 512)
DEPTHS = (3, 4, 18, 2)
MLP_RATIOS = (4, 4, 4, 2)
HEADS = (0, 0, 8, 16)  # of self-attention; a stage with 0 has modulation only
KERNELS = (3, 5, 7, 9)  # of modulation's depthwise convolutions


class Modulation(nn.Module):
    """Values weighed by a map that mixes depthwise convolutions of four kernel sizes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        part = width // len(KERNELS)
        self.v = nn.Linear(width, width)
        self.s = nn.Linear(width, width)
        for i, k in enumerate(KERNELS, start=1):
            self.add_module(f"local_conv_{i}", nn.Conv2d(part, part, k, padding=k // 2, groups=part))
        self.proj0 = nn.Conv2d(width, 2 * width, 1, groups=part)
        self.bn = nn.BatchNorm2d(2 * width)
        self.act = nn.GELU()
        self.proj1 = nn.Conv2d(2 * width, width, 1)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        parts = to_map(self.s(tokens), height, width).chunk(len(KERNELS), dim=1)
        scales = [to_tokens(getattr(self, f"local_conv_{i}")(p)) for i, p in enumerate(parts, start=1)]
        # proj0's groups hold one channel of each scale, so scales are interleaved: (B, N, c, scale).
        mixed = to_map(torch.stack(scales, dim=-1).flatten(2), height, width)
        weights = to_tokens(self.proj1(self.act(self.bn(self.proj0(mixed)))))
        out: Tensor = self.proj(weights * self.v(tokens))
        return out


class Attention(nn.Module):
    """Self-attention with a depthwise convolution of the values added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.fused_attn = use_fused_attn()
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.local_conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        (q,), kv = split_heads(self.q(tokens), 1, self.heads), self.kv(tokens)
        k, v = split_heads(kv, 2, self.heads)
        local = to_tokens(self.local_conv(to_map(kv.chunk(2, dim=-1)[1], height, width)))
        out: Tensor = self.proj(merge_heads(attend(q, k, v, self.fused_attn)) + local)
        return out


class Block(nn.Module):
    """Pre-norm mixing (attention if it has heads, else modulation) and MLP."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, drop: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads) if heads else Modulation(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = DepthwiseMlp(width, mlp_ratio * width)
        self.drop_path = DropPath(drop)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), height, width))
        out: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens), height, width))
        return out


class Stem(nn.Module):
    """Two convolutions of stride 2, then LayerNorm over channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 2, stride=2),
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> tuple[Tensor, int, int]:
        x = self.conv(images)
        return self.norm(to_tokens(x)), x.shape[2], x.shape[3]


class PatchEmbed(nn.Module):
    """Halve the sides by a 3x3 convolution, then LayerNorm over channels."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(width_in, width, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(width)

    def forward(self, image_map: Tensor) -> tuple[Tensor, int, int]:
        x = self.proj(image_map)
        return self.norm(to_tokens(x)), x.shape[2], x.shape[3]


class SMT(nn.Module):
    """SMT-S for images of any size from 32 x 32. In the third stage every second block is attention."""

    def __init__(
        self, classes: int, size: int = 224, drop_path: float = 0.2, depths: tuple[int, ...] = DEPTHS
    ) -> None:
        super().__init__()
        sizes.SMT.check(size)
        rates = drop_rates(drop_path, depths)
        for i, width in enumerate(WIDTHS):
            embed = PatchEmbed(WIDTHS[i - 1], width) if i else Stem(width)
            self.add_module(f"patch_embed{i + 1}", embed)
            heads = [HEADS[i] if i == 3 or j % 2 else 0 for j in range(depths[i])]
            blocks = [Block(width, h, MLP_RATIOS[i], r) for h, r in zip(heads, rates[i], strict=True)]
            self.add_module(f"block{i + 1}", nn.ModuleList(blocks))
            self.add_module(f"norm{i + 1}", nn.LayerNorm(width, eps=1e-6))
        self.head = nn.Linear(WIDTHS[-1], classes)
        self.apply(init_linear)
        self.apply(init_conv_fan_out)

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to a map (B, 512, H/32, W/32), sides rounded up below the stem."""
        x = images
        for i in range(1, 5):
            tokens, height, width = getattr(self, f"patch_embed{i}")(x)
            for block in getattr(self, f"block{i}"):
                tokens = block(tokens, height, width)
            x = to_map(getattr(self, f"norm{i}")(tokens), height, width)
        return x

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.forward_features(images).mean((2, 3)))
        return out
