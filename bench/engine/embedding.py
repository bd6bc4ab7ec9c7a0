"""Nearest neighbours of images in the feature space of a pretrained network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from bench.engine.batches import ImageSequence
from bench.interfaces.model import Context

NEIGHBOURS = 4  # per image
INPUT = 128  # side at which the network sees an image, pixels
BATCH = 64


@torch.inference_mode()
def nearest(
    view: ImageSequence, features: Callable[[Tensor], Tensor], context: Context, device: torch.device
) -> NDArray[np.int64]:
    """Pairs (P, 2), first < second, of every image with its NEIGHBOURS nearest images.

    Nearness is the cosine of pooled features. `features` maps normalised images (B, 3, INPUT, INPUT) to dense
    features (B, C, h, w).
    """
    features_of_batches = []
    for start in range(0, len(view), BATCH):
        images = torch.cat([_square(view[i]) for i in range(start, min(start + BATCH, len(view)))])
        pooled = features(context.normalize(images.to(device))).mean(dim=(2, 3))
        features_of_batches.append(normalize(pooled.float(), dim=1))
    embedded = torch.cat(features_of_batches)
    pairs = []
    for start in range(0, len(embedded), 1024):
        cosine = embedded[start : start + 1024] @ embedded.T
        rows = torch.arange(start, start + len(cosine), device=device)
        cosine[torch.arange(len(cosine)), rows] = -2.0  # no image is a neighbour of itself
        neighbours = cosine.topk(min(NEIGHBOURS, len(embedded) - 1), dim=1).indices
        pairs.append(torch.stack([rows[:, None].expand_as(neighbours), neighbours], dim=2).reshape(-1, 2))
    ordered: NDArray[np.int64] = torch.cat(pairs).sort(dim=1).values.cpu().numpy()
    return np.unique(ordered, axis=0)


def _square(pixels: NDArray[np.uint8]) -> Tensor:
    image = torch.from_numpy(np.array(pixels))[None].expand(-1, 3, -1, -1)
    return interpolate(image, size=(INPUT, INPUT), mode="bilinear", antialias=True)
