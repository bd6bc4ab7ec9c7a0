"""How timm builds a network, its features as one map, and what its pretrained configuration says.

timm gives features as maps, maps with channels last, or tokens; here all become (B, C, h, w). Importing this
module loads neither torch nor timm.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from bench import ConfigError, Normalization, SizeError
from bench_models.remembered import remembered

if TYPE_CHECKING:
    from timm.models import PretrainedCfg
    from torch import Tensor, nn


@dataclass(frozen=True)
class BuildTrial:
    """What was learnt by building a network on the meta device, which needs no memory for its weights.

    Attributes:
        arguments: what `timm.create_model` needs for this size beyond the usual arguments.
        dense: whether the features form a map.
    """

    arguments: tuple[tuple[str, Any], ...]
    dense: bool


@dataclass(frozen=True)
class Described:
    """What timm's pretrained configuration says of a network.

    Attributes:
        tag: of its weights; "" if they have none.
        size: side of the images, pixels.
        normalization: mean and standard deviation of the pixels.
        has_weights: whether timm has weights.
        classifies: whether it ends with a classifier.
    """

    tag: str
    size: int
    normalization: Normalization
    has_weights: bool
    classifies: bool


def described(name: str) -> Described:
    """The pretrained configuration of `name`, that of its default tag if it names none. Raises LookupError if
    timm has no such network, or none with that tag."""
    said = read_configuration(name)
    if said is None:
        raise LookupError(f"timm has no {name}")
    mean, std = tuple(said["mean"]), tuple(said["std"])
    normalization = Normalization(mean, std) if len(mean) == len(std) == 3 else Normalization()
    return Described(said["tag"], said["size"], normalization, said["has_weights"], said["classifies"])


@remembered
def read_configuration(name: str) -> dict[str, Any] | None:
    """`described` as JSON."""
    try:
        config = configuration(name)
    except RuntimeError:
        return None
    return {
        "tag": config.tag or "",
        "size": int(config.input_size[-1]),
        "mean": [float(value) for value in config.mean],
        "std": [float(value) for value in config.std],
        "has_weights": config.has_weights,
        "classifies": bool(config.classifier),
    }


def configuration(name: str) -> PretrainedCfg:
    """timm's pretrained configuration of `name`; that of its default tag if it names none. RuntimeError
    if there is none."""
    from timm.models import get_pretrained_cfg

    # Typed as optional, but a name without a configuration raises.
    return cast("PretrainedCfg", get_pretrained_cfg(name, allow_unregistered=False))


# --- building ----------------------------------------------------------------------------------------


def create(name: str, size: int, **arguments: Any) -> nn.Module:
    """`timm.create_model` for square images of `size` pixels.

    The input size of the configuration is what timm takes for `img_size` where an architecture's shape
    depends on it; other architectures do not know that argument.
    """
    import timm

    overlay = {"input_size": (3, size, size)} | arguments.pop("overlay", {})
    net: nn.Module = timm.create_model(name, pretrained_cfg_overlay=overlay, **arguments)
    return net


def check_size(name: str, size: int) -> None:
    """Raise SizeError for a size the network cannot take. timm's networks do not say which they take, so one
    is built on trial; building the real one needs that trial too, and does not repeat it."""
    build_trial(name, size)


def build_trial(name: str, size: int) -> BuildTrial:
    """Learn how `name` is built for `size` and whether its features are dense.

    Raises SizeError for a size the network cannot take.
    """
    learnt = try_building(name, size)
    if "refused" in learnt:
        nearest = learnt["nearest"]
        raise SizeError(
            f"{name} cannot take images of {size}x{size} pixels ({learnt['refused']}); "
            f"its own size is {described(name).size}, and {nearest} is the nearest known to work: "
            "set protocol.size, or choose another model",
            nearest,
        )
    return BuildTrial(tuple(learnt["arguments"].items()), learnt["dense"])


@remembered
def try_building(name: str, size: int) -> dict[str, Any]:
    """`build_trial` as JSON: either arguments and dense, or why the size is refused and the nearest one."""
    failures = []
    # Some architectures need img_size although their configuration does not say so.
    for arguments in ({}, {"img_size": size}):
        try:
            return {"arguments": arguments, "dense": _is_dense_at(name, size, arguments)}
        except Exception as error:  # whatever an architecture raises at a size it cannot take
            failures.append(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    return {"refused": failures[0].rstrip(": ")[:160], "nearest": _working_size(name, size)}


def _working_size(name: str, size: int) -> int:
    """The multiple of 32 nearest to `size` if the network takes it, else its own size. Few strides are
    larger than 32, and trying every size would take minutes."""
    candidate = max(32, round(size / 32) * 32)
    for arguments in ({}, {"img_size": candidate}):
        try:
            _is_dense_at(name, candidate, arguments)
            return candidate
        except Exception:  # as in `build_trial`
            continue
    return int(configuration(name).input_size[-1])


def _is_dense_at(name: str, size: int, arguments: dict[str, Any]) -> bool:
    """Build the network and apply it, on the meta device and without a trace in torch's generators; whether
    its features are dense."""
    import torch

    with (
        torch.random.fork_rng(devices=[]),
        torch.device("meta"),
        torch.no_grad(),
        warnings.catch_warnings(action="ignore"),  # the real network gives the same ones
    ):
        net = create(name, size, **arguments).eval()
        image = torch.empty(1, 3, size, size)
        net(image)
        return _forms_map(net, image)


def _forms_map(net: nn.Module, image: Tensor) -> bool:
    """Whether features form a map of more than one cell: one cell is pooling, not a dense feature."""
    try:
        feature_map = features(net, image)
    except ConfigError:
        return False
    return feature_map.shape[2] * feature_map.shape[3] > 1


# --- features and classifier -------------------------------------------------------------------------


def features(net: nn.Module, images: Tensor) -> Tensor:
    """Features before pooling as a map: images (B, 3, S, S) -> (B, C, h, w). Differentiable.

    Maps with channels last are turned, and tokens without their prefix (class, register) become the
    square grid they came from. Raises ConfigError where that cannot be done.
    """
    timm_net: Any = net  # its attributes are timm's, unknown to nn.Module's types
    output = timm_net.forward_features(images)
    shape = tuple(getattr(output, "shape", ()))
    if len(shape) == 4:
        return _channels_first(timm_net, output)
    if len(shape) == 3:
        return _grid(timm_net, output)
    raise ConfigError(
        f"{type(net).__name__} gives features of the form {shape or type(output).__name__}, "
        "of which no map (B, C, h, w) can be made; choose a network with dense features"
    )


def _channels_first(net: Any, output: Tensor) -> Tensor:
    last = getattr(net, "output_fmt", "NCHW") == "NHWC" or output.shape[1] != net.num_features
    return output.permute(0, 3, 1, 2) if last and output.shape[3] == net.num_features else output


def _grid(net: Any, tokens: Tensor) -> Tensor:
    """Tokens (B, prefix + h * w, C), h = w, row by row -> (B, C, h, w)."""
    count = tokens.shape[1]
    prefix = getattr(net, "num_prefix_tokens", None)
    if prefix is None:  # a class token is the one prefix of the networks that do not say
        prefix = 0 if math.isqrt(count) ** 2 == count else 1
    side = math.isqrt(count - prefix)
    if side == 0 or side**2 != count - prefix:
        raise ConfigError(
            f"{type(net).__name__} gives {count} tokens, {prefix} of them prefix, which form no square "
            "grid; choose a network with dense features"
        )
    return tokens[:, prefix:].transpose(1, 2).reshape(len(tokens), -1, side, side)


def classifier(net: nn.Module) -> tuple[str, ...]:
    """State-dict prefixes of the final classifier, each ending with a dot."""
    timm_net: Any = net
    names = timm_net.pretrained_cfg["classifier"]
    return tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))
