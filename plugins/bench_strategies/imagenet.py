"""Fine-tuning from ImageNet weights: branch A of the paper (section 3.1).

The weights are the model's own (timm's hub, or a package), or a local file: `model.NAME.weights`, or
`strategy.imagenet.weights` for every model that names none of its own. Every tensor but the classifier
must fit by name and shape, so that no part of the network stays silently random.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import ConfigError, LocalWeights, Model, Strategy, Weights, WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

# Keys under which checkpoints keep their weights; the first one present is used. Weights averaged over
# training ("ema") come before the last ones, because published scores are those of the averaged weights.
WRAPPERS = ("state_dict_ema", "model_ema", "model", "state_dict")


@dataclass(frozen=True)
class ImagenetParams:
    """Which weights fine-tuning starts from; by default the model's own.

    Attributes:
        weights: a checkpoint file (.safetensors or .pth) to start from instead of the model's own weights,
            for every model of the study that is not given a file by model.NAME.weights.
        weights_sha256: checksum of that file. Filled in when a study is planned; set it to refuse any other
            file.
        source: which of the model's own weights are meant, as "timm:resnet18.a1_in1k". Filled in when a study
            is planned; set it, in a study of one model, to choose another tag of the same timm network.
    """

    weights: str = field(default="", metadata={"identity": False})
    weights_sha256: str = ""
    source: str = ""


def freeze(params: ImagenetParams, model: Model, model_params: Any) -> ImagenetParams:
    """Fix which weights are meant, by the file's checksum or the name of the model's own. ConfigError."""
    setting, file = _named_file(params, model, model_params)
    if not file:
        if params.weights_sha256:
            raise ConfigError(f"strategy.imagenet.weights_sha256 is set without {setting}; name the file too")
        return dataclasses.replace(params, source=params.source or model.pretrained_source(model_params))
    path = Path(file).expanduser().absolute()
    if not path.is_file():
        raise ConfigError(f"{setting} = {file!r}: no such file; give its path")
    sha256 = _sha256(path)
    if params.weights_sha256 not in ("", sha256):
        raise ConfigError(
            f"{setting} = {file!r} has sha256 {sha256}, "
            f"not {params.weights_sha256} as strategy.imagenet.weights_sha256 says; correct one of them"
        )
    return ImagenetParams(weights=str(path), weights_sha256=sha256)


def _named_file(params: ImagenetParams, model: Model, model_params: Any) -> tuple[str, str]:
    """The parameter that names this model's file, or could, and the file ("" if none is named)."""
    if isinstance(model_params, LocalWeights) and (model_params.weights or not params.weights):
        return f"model.{model.name}.weights", model_params.weights
    return "strategy.imagenet.weights", params.weights


def initialize(net: nn.Module, model: Model, model_params: Any, params: ImagenetParams) -> str:
    """Load the weights into `net`, which keeps its own classifier. Raises WeightsError."""
    setting, _ = _named_file(ImagenetParams(), model, model_params)
    if params.weights_sha256 or params.weights:
        weights = _from_file(params, setting)
    elif params.source and model.pretrained:
        weights = model.pretrained(net, model_params, params.source)
    else:
        raise WeightsError(
            f"{model.name} has no ImageNet weights of its own; give a file with "
            f"--set {setting}=FILE, or leave out the strategy imagenet"
        )
    _load(net, model, weights)
    return f"{weights.source}, new classifier"


def _from_file(params: ImagenetParams, setting: str) -> Weights:
    path = Path(params.weights)
    if not params.weights or not path.is_file():
        raise WeightsError(
            f"the weights file {params.weights or ''} with sha256 {params.weights_sha256} is not there; "
            f"give its path with --set {setting}=FILE"
        )
    sha256 = _sha256(path)
    if sha256 != params.weights_sha256:
        raise WeightsError(
            f"{path} has changed since the study was planned: sha256 {sha256}, not "
            f"{params.weights_sha256 or 'recorded'}; restore it, or plan again to use the new one"
        )
    return Weights(state=read_checkpoint(path), source=f"file {path.name}, sha256 {sha256}")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, out of the usual wrappings. Raises WeightsError.

    Only safetensors, and pickles that hold nothing but tensors and plain values: loading any other
    pickle runs whatever code is in it.
    """
    content = _open(path)
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path} holds a {type(content).__name__}; a mapping of names to tensors is needed"
        )
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    others = [str(name) for name, value in content.items() if not hasattr(value, "shape")]
    if others or not content:
        raise WeightsError(
            f"{path} is not a state dict (its entries: {', '.join(others[:5]) or 'none'}); save the "
            f"network's state_dict(), bare or under {' or '.join(WRAPPERS)}"
        )
    names = [str(name) for name in content]
    prefix = "module." if all(name.startswith("module.") for name in names) else ""
    return {name.removeprefix(prefix): value for name, value in zip(names, content.values(), strict=True)}


def _open(path: Path) -> object:
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(str(path))
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path} is not a checkpoint of tensors only (torch.load with weights_only=True refuses it); "
            "save the network's state_dict() alone, best as .safetensors"
        ) from None
    except (SafetensorError, RuntimeError, ValueError, EOFError, OSError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise WeightsError(f"{path} cannot be read as a checkpoint ({first}); is it complete?") from None


def _load(net: nn.Module, model: Model, weights: Weights) -> None:
    """Copy every tensor but the classifier's into `net`, or none. Raises WeightsError."""
    classifier = model.classifier(net)
    state = model.translate(net, weights.state)
    loaded = {name: value for name, value in state.items() if not name.startswith(classifier)}
    needed = {name: value for name, value in net.state_dict().items() if not name.startswith(classifier)}
    shapes = [
        f"{name} {tuple(loaded[name].shape)}, needs {tuple(needed[name].shape)}"
        for name in needed.keys() & loaded.keys()
        if loaded[name].shape != needed[name].shape
    ]
    misfits = {
        "missing": sorted(needed.keys() - loaded.keys()),
        "unexpected": sorted(loaded.keys() - needed.keys()),
        "of another shape": sorted(shapes),
    }
    problems = [f"{len(names)} {what} ({_few(names)})" for what, names in misfits.items() if names]
    if problems:
        raise WeightsError(
            f"{weights.source} does not fit {model.name}, which has {len(needed)} tensors before its "
            f"classifier: {'; '.join(problems)}; give weights of this very architecture and image size"
        )
    net.load_state_dict(loaded, strict=False)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


REFERENCE = """
@article{russakovsky2015imagenet,
  author = {Russakovsky, Olga and Deng, Jia and Su, Hao and Krause, Jonathan and Satheesh, Sanjeev and Ma, Sean and Huang, Zhiheng and Karpathy, Andrej and Khosla, Aditya and Bernstein, Michael and Berg, Alexander C. and Fei-Fei, Li},
  title = {{ImageNet} Large Scale Visual Recognition Challenge},
  journal = {International Journal of Computer Vision},
  volume = {115},
  number = {3},
  pages = {211--252},
  year = {2015},
  doi = {10.1007/s11263-015-0816-y}
}
"""  # noqa: E501

STRATEGY = Strategy(
    name="imagenet",
    about="ImageNet weights: the model's own, or a file",
    citation="Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, International Journal "
    "of Computer Vision 115:211-252, 2015. doi:10.1007/s11263-015-0816-y",
    bibtex=REFERENCE,
    params=ImagenetParams,
    initialize=initialize,
    freeze=freeze,
)
