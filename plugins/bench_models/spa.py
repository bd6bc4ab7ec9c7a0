"""SPA-Net small: peripheral attention without softmax, by chained dilated convolutions.

X. Huo et al., "SPA: Self-Peripheral-Attention for central-peripheral interactions in endoscopic image
classification and segmentation", Expert Systems with Applications 245 (2024) 123053.
Parameter names and shapes are those of the authors' code, so that their checkpoints load.
"""

from __future__ import annotations

import torch
from timm.layers import DropPath, LayerNorm2d, Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from bench_models import sizes
from bench_models.layers import drop_rates, init_linear

WIDTHS = (96, 192, 384, 768)
DEPTHS = (2, 2, 6, 2)
LEVELS = (4, 3, 2, 1)  # of periphery
KERNELS = (3, 3, 3, 7)


class PeripheralAttention(nn.Module):
    """v * (Q * k), where Q gathers the query from ever wider surroundings, the first levels centrally."""

    def __init__(self, width: int, levels: int, kernel: int) -> None:
        super().__init__()
        part = width // levels
        self.splits = (part, width, width)
        self.linear = nn.Linear(width, part + 2 * width, bias=False)
        self.peripheral_layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(part, part, kernel, padding=kernel // 2 * d, dilation=d, groups=part),
                LayerNorm2d(part),
            )
            for d in range(1, levels + 1)
        )
        self.interact = nn.Conv2d(width, width, 1)
        self.proj = nn.Linear(width, width)

    def forward(self, grid: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        q, k, v = self.linear(grid).split(self.splits, dim=-1)
        q = q.permute(0, 3, 1, 2)
        outputs = []
        for level, layer in enumerate(self.peripheral_layers, start=1):
            q = layer(q)
            outputs.append(q if level == len(self.peripheral_layers) else keep_centre(q, level))
        query = self.interact(torch.cat(outputs, dim=1)).permute(0, 2, 3, 1)
        out: Tensor = self.proj(v * (query * k))
        return out


def keep_centre(image_map: Tensor, level: int) -> Tensor:
    """Zero all but a centred rectangle, from three quarters of each side (level 1) to almost all of it."""
    top, left = (_margin(side, level) for side in image_map.shape[-2:])
    height, width = image_map.shape[-2:]
    centre = image_map[..., top : height - top, left : width - left]
    return F.pad(centre, (left, left, top, top))


def _margin(side: int, level: int) -> int:
    """Half of what is cut: side // 2^(level + 1), rounded up to an even number."""
    return ((side >> (level + 1)) + 1) // 2


class Block(nn.Module):
    """Pre-norm peripheral attention and MLP."""

    def __init__(self, width: int, levels: int, kernel: int, drop: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.SPA = PeripheralAttention(width, levels, kernel)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)
        self.drop_path = DropPath(drop)

    def forward(self, grid: Tensor) -> Tensor:
        grid = grid + self.drop_path(self.SPA(self.norm1(grid)))
        out: Tensor = grid + self.drop_path(self.mlp(self.norm2(grid)))
        return out


class PatchEmbed(nn.Module):
    """Non-overlapping patches, the map padded with zeros to whole ones, then LayerNorm over channels."""

    def __init__(self, width_in: int, width: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(width_in, width, patch, stride=patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, image_map: Tensor) -> Tensor:
        """(B, C, H, W) to (B, H / patch, W / patch, width)."""
        height, width = image_map.shape[-2:]
        if height % self.patch or width % self.patch:
            image_map = F.pad(image_map, (0, -width % self.patch, 0, -height % self.patch))
        out: Tensor = self.norm(self.proj(image_map).permute(0, 2, 3, 1))
        return out


class Stage(nn.Module):
    """Blocks at one width, and the step to the next width if there is one."""

    def __init__(self, index: int, rates: list[float]) -> None:
        super().__init__()
        width = WIDTHS[index]
        self.blocks = nn.Sequential(*(Block(width, LEVELS[index], KERNELS[index], r) for r in rates))
        if index + 1 < len(WIDTHS):
            self.downsample = PatchEmbed(width, WIDTHS[index + 1], 2)

    def forward(self, grid: Tensor) -> Tensor:
        grid = self.blocks(grid)
        if hasattr(self, "downsample"):
            grid = self.downsample(grid.permute(0, 3, 1, 2))
        return grid


class SPANet(nn.Module):
    """SPA-Net small for images of any size from 32 x 32."""

    def __init__(
        self, classes: int, size: int = 224, drop_path: float = 0.1, depths: tuple[int, ...] = DEPTHS
    ) -> None:
        super().__init__()
        sizes.SPA.check(size)
        self.patch_embed = PatchEmbed(3, WIDTHS[0], 4)
        self.layers = nn.Sequential(
            *(Stage(i, rates) for i, rates in enumerate(drop_rates(drop_path, depths)))
        )
        self.norm = nn.LayerNorm(WIDTHS[-1])
        self.head = nn.Linear(WIDTHS[-1], classes)
        self.apply(init_linear)

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to a map (B, 768, H/32, W/32), sides rounded up at each step."""
        grid: Tensor = self.norm(self.layers(self.patch_embed(images)))
        return grid.permute(0, 3, 1, 2)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.forward_features(images).mean((2, 3)))
        return out
