"""CMT-S: convolution and attention in every block, with reduced keys and values.

J. Guo et al., "CMT: Convolutional Neural Networks Meet Vision Transformers", CVPR 2022, arXiv:2107.06263.
Parameter names and shapes are those of the authors' code, so that their checkpoints load.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from timm.layers import DropPath, use_fused_attn
from torch import Tensor, nn
from torch.nn import functional as F

from bench_models import sizes
from bench_models.layers import (
    attend,
    check_images,
    drop_rates,
    init_linear,
    merge_heads,
    split_heads,
    to_map,
    to_tokens,
)

WIDTHS = (64, 128, 256, 512)
HEADS = (1, 2, 4, 8)
REDUCTIONS = (8, 4, 2, 1)  # of keys and values, per side
DEPTHS = (3, 3, 16, 3)
STAGES = ("a", "b", "c", "d")


class Attention(nn.Module):
    """Attention from all tokens to a map reduced by a strided depthwise convolution."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.fused_attn = use_fused_attn()
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)
        self.sr = nn.Sequential()
        if reduction > 1:
            reduce = nn.Conv2d(width, width, reduction, stride=reduction, groups=width)
            self.sr = nn.Sequential(reduce, nn.BatchNorm2d(width))

    def forward(self, tokens: Tensor, height: int, width: int, bias: Tensor) -> Tensor:
        (q,) = split_heads(self.q(tokens), 1, self.heads)
        if len(self.sr):
            tokens = to_tokens(self.sr(to_map(tokens, height, width)))
        (k,) = split_heads(self.k(tokens), 1, self.heads)
        (v,) = split_heads(self.v(tokens), 1, self.heads)
        out: Tensor = self.proj(merge_heads(attend(q, k, v, self.fused_attn, bias)))
        return out


class InvertedResidualMlp(nn.Module):
    """1x1 expansion, 3x3 depthwise convolution with a shortcut, 1x1 contraction; on maps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = 4 * width
        self.conv1 = nn.Sequential(nn.Conv2d(width, hidden, 1), nn.GELU(), nn.BatchNorm2d(hidden))
        self.proj = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.proj_act = nn.GELU()
        self.proj_bn = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Sequential(nn.Conv2d(hidden, width, 1), nn.BatchNorm2d(width))

    def forward(self, image_map: Tensor) -> Tensor:
        hidden = self.conv1(image_map)
        out: Tensor = self.conv2(self.proj_bn(self.proj_act(self.proj(hidden) + hidden)))
        return out


class Block(nn.Module):
    """Local perception (3x3 depthwise), attention, inverted residual MLP."""

    def __init__(self, width: int, heads: int, reduction: int, drop: float) -> None:
        super().__init__()
        self.proj = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, reduction)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = InvertedResidualMlp(width)
        self.drop_path = DropPath(drop)

    def forward(self, image_map: Tensor, bias: Tensor) -> Tensor:
        height, width = image_map.shape[-2:]
        tokens = to_tokens(self.proj(image_map) + image_map)
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), height, width, bias))
        mlp = self.drop_path(self.mlp(to_map(self.norm2(tokens), height, width)))
        out: Tensor = to_map(tokens, height, width) + mlp
        return out


class PatchEmbed(nn.Module):
    """Halve the sides by a 2x2 convolution, then LayerNorm over channels."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(width_in, width, 2, stride=2)
        self.norm = nn.LayerNorm(width)

    def forward(self, image_map: Tensor) -> Tensor:
        image_map = self.proj(image_map)
        return to_map(self.norm(to_tokens(image_map)), *image_map.shape[-2:])


class CMT(nn.Module):
    """CMT-S for `size` x `size` images; the attention of each stage shares one table of position biases.

    A table is (heads, queries, keys) over the whole stage, so it ties the network to its image size.
    """

    def __init__(
        self, classes: int, size: int = 224, drop_path: float = 0.1, depths: tuple[int, ...] = DEPTHS
    ) -> None:
        super().__init__()
        sizes.CMT.check(size)
        self.size = size
        for i, width_in in enumerate((3, 32, 32), start=1):
            stride = 2 if i == 1 else 1
            self.add_module(f"stem_conv{i}", nn.Conv2d(width_in, 32, 3, stride=stride, padding=1))
            self.add_module(f"stem_norm{i}", nn.BatchNorm2d(32))
        self.stem_act = nn.GELU()
        rates, keys = drop_rates(drop_path, depths), (size // 32) ** 2
        for i, (stage, width) in enumerate(zip(STAGES, WIDTHS, strict=True)):
            queries = (size // 2 ** (i + 2)) ** 2
            table = nn.Parameter(torch.randn(HEADS[i], queries, keys))
            self.register_parameter(f"relative_pos_{stage}", table)
            self.add_module(f"patch_embed_{stage}", PatchEmbed(WIDTHS[i - 1] if i else 32, width))
            blocks = [Block(width, HEADS[i], REDUCTIONS[i], rate) for rate in rates[i]]
            self.add_module(f"blocks_{stage}", nn.ModuleList(blocks))
        self._fc = nn.Conv2d(WIDTHS[-1], 1280, 1)
        self._bn = nn.BatchNorm2d(1280)
        self.act = nn.SiLU()
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(1280, classes)
        self.apply(init_linear)
        self.apply(_init_conv)

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) to a map (B, 1280, S/32, S/32)."""
        check_images("cmt", images, self.size)
        x = images
        for i in (1, 2, 3):
            x = getattr(self, f"stem_norm{i}")(self.stem_act(getattr(self, f"stem_conv{i}")(x)))
        for stage in STAGES:
            x = getattr(self, f"patch_embed_{stage}")(x)
            for block in getattr(self, f"blocks_{stage}"):
                x = block(x, getattr(self, f"relative_pos_{stage}"))
        return self.act(self._bn(self._fc(x)))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.drop(self.forward_features(images).mean((2, 3))))
        return out

    def no_weight_decay(self) -> set[str]:
        """The position tables: shrinking a bias towards 0 regularises nothing."""
        return {f"relative_pos_{stage}" for stage in STAGES}


def _init_conv(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def fit_tables(net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The state with position tables made for another image size resampled to `net`'s."""
    wanted = net.state_dict()
    names = {f"relative_pos_{stage}" for stage in STAGES}
    return {
        name: _resample_table(value, wanted[name].shape) if name in names and value.ndim == 3 else value
        for name, value in state.items()
    }


def _resample_table(table: Tensor, shape: torch.Size) -> Tensor:
    """Position biases (heads, queries, keys) on other square grids: bicubic over keys, then over queries."""
    for positions in (shape[2], shape[1]):
        sides = [math.isqrt(table.shape[2]), math.isqrt(positions)]
        if sides[0] != sides[1]:
            grids = table.reshape(-1, 1, sides[0], sides[0])
            grids = F.interpolate(grids, (sides[1], sides[1]), mode="bicubic")
            table = grids.reshape(*table.shape[:2], -1)
        table = table.transpose(1, 2)
    return table
