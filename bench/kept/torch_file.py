"""Exports of `torch.export`: a graph with its weights, run without the code that built the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.kept.load import Network

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch.export import ExportedProgram

FACTS = "facts.json"
MOST = 4096  # images at once


def exported(network: Network) -> ExportedProgram:
    """The network as a graph for any number of images."""
    import torch

    size = network.context.size
    batch = torch.export.Dim("batch", min=1, max=MOST)
    with torch.no_grad():
        example = (torch.zeros(2, 3, size, size),)
        return torch.export.export(network.net, example, dynamic_shapes=({0: batch},))


def write(network: Network, path: Path, about: Mapping[str, str], card: str) -> None:
    """Write a .pt2 file, with the facts as `facts.json` in it."""
    import torch

    torch.export.save(exported(network), path, extra_files={FACTS: json.dumps(about, ensure_ascii=False)})


def run(path: Path, images: torch.Tensor) -> NDArray[np.float32]:
    """Logits of normalised images."""
    import torch

    with torch.no_grad():
        logits: NDArray[np.float32] = torch.export.load(path).module()(images).numpy()
    return logits
