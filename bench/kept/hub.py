"""Exports as a folder of the Hugging Face hub that timm loads: config.json, model.safetensors, README.md.

`timm.create_model("local-dir:FOLDER", pretrained=True)` loads it from disk,
`timm.create_model("hf-hub:USER/NAME", pretrained=True)` after it was uploaded. Nothing is uploaded here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import ConfigError
from bench.kept.load import Network
from bench.results.kept import CARD
from bench.results.tensors_file import write_tensors

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

CONFIG = "config.json"
WEIGHTS = "model.safetensors"  # as the hub calls them


def write(network: Network, path: Path, about: Mapping[str, str], card: str) -> None:
    """Write the folder. Raises ConfigError for a network that is none of timm's."""
    config = configuration(network, about)
    path.mkdir()
    (path / CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_tensors(path / WEIGHTS, network.net.state_dict(), {"format": "pt", **about})
    (path / CARD).write_text(f"{front_matter(network)}\n{card}", encoding="utf-8")


def configuration(network: Network, about: Mapping[str, str]) -> dict[str, Any]:
    """What timm reads: architecture, classes, arguments, preparation of images. Raises ConfigError."""
    net: Any = network.net
    own = dict(getattr(net, "pretrained_cfg", None) or {})
    architecture = str(own.get("architecture", ""))
    size, classes = network.context.size, network.context.classes
    arguments = _arguments(network, architecture)
    kept_of_own = {name: own[name] for name in ("first_conv", "classifier") if own.get(name)}
    return {
        "architecture": architecture,
        "num_classes": len(classes),
        "num_features": int(net.num_features),
        "label_names": list(classes),
        "model_args": arguments,
        "pretrained_cfg": {
            **kept_of_own,
            "num_classes": len(classes),
            "input_size": [3, size, size],
            "fixed_input_size": bool(own.get("fixed_input_size", False)),
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(network.context.normalization.mean),
            "std": list(network.context.normalization.std),
        },
        "bench": dict(about),
    }


def _arguments(network: Network, architecture: str) -> dict[str, Any]:
    """With what arguments timm builds a network that takes these weights. Raises ConfigError for none."""
    import timm
    import torch

    name, size = network.kept.model.name, network.context.size
    if not architecture or not timm.is_model(architecture):
        raise ConfigError(
            f"{name} is no network of timm, so no folder that timm loads can be made of it; give --to onnx "
            "or --to pt2"
        )
    wanted = {key: value.shape for key, value in network.net.state_dict().items()}
    tries: tuple[dict[str, Any], ...] = ({}, {"img_size": size})  # as an architecture takes it
    for arguments in tries:
        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                built = timm.create_model(architecture, num_classes=len(network.context.classes), **arguments)
        except Exception:  # whatever an architecture raises for an argument that it does not know
            continue
        if {key: value.shape for key, value in built.state_dict().items()} == wanted:
            return arguments
    raise ConfigError(
        f"timm's {architecture} does not take the weights of {name}; give --to onnx or --to pt2"
    )


def front_matter(network: Network) -> str:
    """What the hub reads of a card, as YAML: texts in it are those of JSON, which YAML reads as they are."""
    kept = network.kept
    tags = ["timm", "medical-images", "research-only", kept.dataset, kept.strategy.name]
    name = json.dumps(f"terms of the data set {kept.dataset}, and of the initial weights")
    return "\n".join(
        [
            "---",
            "library_name: timm",
            "pipeline_tag: image-classification",
            "license: other",
            f"license_name: {name}",
            f"tags: {json.dumps(tags)}",
            "---",
            "",
        ]
    )


def run(path: Path, images: torch.Tensor) -> NDArray[np.float32]:
    """Logits of normalised images, by timm as it would be used."""
    import timm
    import torch

    net = timm.create_model(f"local-dir:{path}", pretrained=True).eval()
    with torch.no_grad():
        logits: NDArray[np.float32] = net(images).numpy()
    return logits
