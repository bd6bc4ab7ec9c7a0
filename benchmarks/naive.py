"""The five networks written here in their obvious form, to time ours against.

Heads, windows and groups of merged tokens are Python loops, maps are contiguous copies (B, C, H, W),
attention is written out, tokens are sorted once for either half of the heads, and nothing is kept between
batches.
Parameters and results are the same (tests/test_naive.py), so that only the formulation is compared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from bench_models import cmt, layers, pervit, sgformer, smt, spa


def naive(net: nn.Module) -> nn.Module:
    """A copy of `net`, one of the five networks, that computes the same in the obvious way."""
    copied = copy.deepcopy(net)
    for module in copied.modules():
        if forward := FORWARDS.get(type(module)):
            module.forward = MethodType(forward, module)
    if isinstance(copied, pervit.PerViT):
        copied.positions = copied._positions  # anew for every batch
    return copied


def _map(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens (B, N, C) copied to a contiguous map (B, C, H, W)."""
    return tokens.transpose(1, 2).contiguous().view(len(tokens), -1, height, width)


def _tokens(image_map: Tensor) -> Tensor:
    """A map (B, C, H, W) copied to contiguous tokens (B, N, C)."""
    return image_map.flatten(2).transpose(1, 2).contiguous()


def _head(tokens: Tensor, head: int, heads: int) -> Tensor:
    return tokens.chunk(heads, dim=-1)[head]


def _attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Attention of tokens (B, N, C) to (B, M, C) head by head, and the weights (B, N, M) of each."""
    values, kept = [], []
    for h in range(heads):
        query, key, value = (_head(t, h, heads) for t in (q, k, v))
        logits = query @ key.transpose(1, 2) * query.shape[-1] ** -0.5
        weights = (logits if bias is None else logits + bias[h]).softmax(dim=-1)
        values.append(weights @ value)
        kept.append(weights)
    return torch.cat(values, dim=-1), kept


# --- CMT ---------------------------------------------------------------------------------------------


def _cmt_attention(self: Any, tokens: Tensor, height: int, width: int, bias: Tensor) -> Tensor:
    q = self.q(tokens)
    if len(self.sr):
        tokens = _tokens(self.sr(_map(tokens, height, width)))
    return self.proj(_attention(q, self.k(tokens), self.v(tokens), self.heads, bias)[0])


def _cmt_block(self: Any, image_map: Tensor, bias: Tensor) -> Tensor:
    height, width = image_map.shape[-2:]
    tokens = _tokens(self.proj(image_map) + image_map)
    tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), height, width, bias))
    mlp = self.drop_path(self.mlp(_map(self.norm2(tokens), height, width)))
    return _map(tokens, height, width) + mlp


def _cmt_patch_embed(self: Any, image_map: Tensor) -> Tensor:
    image_map = self.proj(image_map)
    return _map(self.norm(_tokens(image_map)), *image_map.shape[-2:])


# --- SMT ---------------------------------------------------------------------------------------------


def _depthwise_mlp(self: Any, tokens: Tensor, height: int, width: int) -> Tensor:
    hidden = self.fc1(tokens)
    local = _tokens(self.dwconv["dwconv"](_map(hidden, height, width)))
    return self.fc2(self.act(hidden + local))


def _smt_modulation(self: Any, tokens: Tensor, height: int, width: int) -> Tensor:
    parts = _map(self.s(tokens), height, width).chunk(len(smt.KERNELS), dim=1)
    scales = [getattr(self, f"local_conv_{i}")(p.contiguous()) for i, p in enumerate(parts, start=1)]
    mixed = torch.stack(scales, dim=2).flatten(1, 2)  # channel by channel, the four scales of each
    weights = _tokens(self.proj1(self.act(self.bn(self.proj0(mixed)))))
    return self.proj(weights * self.v(tokens))


def _smt_attention(self: Any, tokens: Tensor, height: int, width: int) -> Tensor:
    k, v = self.kv(tokens).chunk(2, dim=-1)
    local = _tokens(self.local_conv(_map(v, height, width)))
    return self.proj(_attention(self.q(tokens), k, v, self.heads)[0] + local)


def _smt_stem(self: Any, images: Tensor) -> tuple[Tensor, int, int]:
    x = self.conv(images)
    return self.norm(_tokens(x)), x.shape[2], x.shape[3]


def _smt_patch_embed(self: Any, image_map: Tensor) -> tuple[Tensor, int, int]:
    x = self.proj(image_map.contiguous())
    return self.norm(_tokens(x)), x.shape[2], x.shape[3]


# --- PerViT ------------------------------------------------------------------------------------------


def _pervit_attention(self: Any, tokens: Tensor, position: Tensor) -> Tensor:
    q, k, v = self.to_qkv(tokens).chunk(3, dim=-1)
    values = []
    for h in range(pervit.HEADS):
        query, key, value = (_head(t, h, pervit.HEADS) for t in (q, k, v))
        weights = (query @ key.transpose(1, 2) * query.shape[-1] ** -0.5).exp() * position[:, h].exp()
        values.append(weights / weights.sum(dim=-1, keepdim=True) @ value)
    return self.proj(torch.cat(values, dim=-1))


def _pervit_block(self: Any, tokens: Tensor, side: int, position: Tensor) -> Tensor:
    encoded = _tokens(self.conv["proj"](_map(tokens, side, side)))
    tokens = tokens + self.drop_path(self.attn(self.norm1(encoded), position))
    return self.res_path(tokens) + self.drop_path(self.mlp(self.norm2(tokens)))


# --- SG-Former ---------------------------------------------------------------------------------------


def _sg_project(self: Any, values: Tensor, tokens: Tensor, height: int, width: int) -> Tensor:
    return self.proj(values + _tokens(self.lepe_conv(_map(self.lepe_linear(tokens), height, width))))


def _sg_plain(
    self: Any, tokens: Tensor, height: int, width: int, significance: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    values, _ = _attention(self.q(tokens), *self.kv(tokens).chunk(2, dim=-1), self.heads)
    return _sg_project(self, values, tokens, height, width), None


def _sg_hybrid(
    self: Any, tokens: Tensor, height: int, width: int, significance: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    heads, side = self.heads // 2, sgformer.WINDOW
    reduced = self.sr(_map(tokens, height, width))
    context = self.act(self.norm(_tokens(reduced)))
    everywhere, weights = _attention(self.q1(tokens), *self.kv1(context).chunk(2, dim=-1), heads)
    coarse = sum(w.detach().mean(1) for w in weights).view(-1, 1, *reduced.shape[2:]) / heads
    significance = nn.functional.interpolate(coarse, (height, width)).squeeze(1)
    grid = tokens.view(-1, height, width, tokens.shape[-1])
    nearby = tokens.new_zeros(len(tokens), height, width, tokens.shape[-1] // 2)
    for top in range(0, height, side):
        for left in range(0, width, side):
            rows, columns = slice(top, top + side), slice(left, left + side)
            window = grid[:, rows, columns].reshape(len(tokens), side * side, -1)
            values, weights = _attention(self.q2(window), *self.kv2(window).chunk(2, dim=-1), heads)
            nearby[:, rows, columns] = values.view(len(tokens), side, side, -1)
            received = sum(w.detach().mean(1) for w in weights).view(-1, side, side) / heads
            significance[:, rows, columns] += received
    values = torch.cat([everywhere, nearby.flatten(1, 2)], dim=-1)
    return _sg_project(self, values, tokens, height, width), significance


def _sg_guided(
    self: Any, tokens: Tensor, height: int, width: int, significance: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    assert significance is not None
    q, values = self.q(tokens), []
    grid = tokens.view(-1, height, width, tokens.shape[-1])
    for half, kv in enumerate((self.kv1, self.kv2)):  # by rows, then by columns
        if half:
            grid, significance = grid.transpose(1, 2), significance.transpose(1, 2)
        order = significance.flatten(1).argsort(dim=1)
        ordered = torch.stack([t[o] for t, o in zip(grid.flatten(1, 2), order, strict=True)])
        merged = _merge(self, ordered)
        keys_values = kv(merged).chunk(2, dim=-1)
        values.append(_attention(q.chunk(2, dim=-1)[half], *keys_values, self.heads // 2)[0])
    return _sg_project(self, torch.cat(values, dim=-1), tokens, height, width), None


def _merge(self: Any, ordered: Tensor) -> Tensor:
    """Sorted tokens (B, N, C) merged group by group to (B, M, C)."""
    merged, start = [], 0
    for i, length in enumerate(self._part_lengths(ordered.shape[1]), start=1):
        linear = getattr(self, f"f{i}")
        for _ in range(length // linear.in_features):
            group = ordered[:, start : start + linear.in_features]
            merged.append(linear(group.transpose(1, 2)).transpose(1, 2))
            start += linear.in_features
    return torch.cat(merged, dim=1)


# --- SPA ---------------------------------------------------------------------------------------------


def _spa_attention(self: Any, grid: Tensor) -> Tensor:
    q, k, v = self.linear(grid).permute(0, 3, 1, 2).contiguous().split(self.splits, dim=1)
    outputs, last = [], len(self.peripheral_layers)
    for level, layer in enumerate(self.peripheral_layers, start=1):
        q = layer(q)
        outputs.append(q if level == last else q * _centre(q, level))
    query = self.interact(torch.cat(outputs, dim=1))
    return self.proj((v * (query * k)).permute(0, 2, 3, 1).contiguous())


def _centre(q: Tensor, level: int) -> Tensor:
    """1 in the centred rectangle that `level` keeps, 0 around it."""
    mask = torch.zeros_like(q)
    height, width = q.shape[-2:]
    top, left = spa._margin(height, level), spa._margin(width, level)
    mask[..., top : height - top, left : width - left] = 1
    return mask


def _spa_patch_embed(self: Any, image_map: Tensor) -> Tensor:
    height, width = image_map.shape[-2:]
    if height % self.patch or width % self.patch:
        padding = (0, -width % self.patch, 0, -height % self.patch)
        image_map = nn.functional.pad(image_map, padding)
    return self.norm(self.proj(image_map.contiguous()).permute(0, 2, 3, 1).contiguous())


FORWARDS: Mapping[type[nn.Module], Callable[..., Any]] = {
    cmt.Attention: _cmt_attention,
    cmt.Block: _cmt_block,
    cmt.PatchEmbed: _cmt_patch_embed,
    layers.DepthwiseMlp: _depthwise_mlp,
    smt.Modulation: _smt_modulation,
    smt.Attention: _smt_attention,
    smt.Stem: _smt_stem,
    smt.PatchEmbed: _smt_patch_embed,
    pervit.Attention: _pervit_attention,
    pervit.Block: _pervit_block,
    sgformer.PlainAttention: _sg_plain,
    sgformer.HybridAttention: _sg_hybrid,
    sgformer.GuidedAttention: _sg_guided,
    spa.PeripheralAttention: _spa_attention,
    spa.PatchEmbed: _spa_patch_embed,
}
