"""Any timm network by its own name: `resnet18`, `convnext_tiny`, `vit_tiny_patch16_224.augreg_in21k`.

R. Wightman, "PyTorch Image Models", doi:10.5281/zenodo.4414861. timm gives the architecture and the
pretrained configuration; this module adds dense features of one shape, (B, C, h, w), for all of them.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from bench import (
    ConfigError,
    Context,
    LocalWeights,
    Model,
    ModelFamily,
    Normalization,
    SizeError,
    Weights,
    WeightsError,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")  # architecture, or architecture.tag
LICENCE = "timm: Apache-2.0; pretrained weights carry their own licences"


@dataclass(frozen=True)
class TimmParams(LocalWeights):
    """`drop_path` is the stochastic depth rate in training; None is the architecture's own default."""

    drop_path: Annotated[float, Interval(ge=0, lt=1)] | None = None


@dataclass(frozen=True)
class BuildTrial:
    """What building a network without memory for its weights told."""

    arguments: tuple[tuple[str, Any], ...]  # for timm.create_model, beyond the usual ones
    dense: bool


@cache
def find(name: str) -> Model[TimmParams] | None:
    """The timm network called `name`, or None if timm has none (or not with that tag)."""
    if not NAME.fullmatch(name) or name.partition(".")[0] not in architectures():
        return None
    try:
        size = int(configuration(name).input_size[-1])
    except RuntimeError:  # the architecture exists, the tag does not
        return None
    return Model(
        name=name,
        about=f"timm's {name}",
        citation="doi:10.5281/zenodo.4414861",
        licence=LICENCE,
        params=TimmParams,
        build=partial(build, name),
        check_size=lambda params, size: check_size(name, size),
        features=features,
        classifier=classifier,
        normalization=lambda params: normalization(name),
        pretrained_source=lambda params: pretrained_source(name),
        pretrained=partial(pretrained, name),
        traits=frozenset({"dense"}) if _is_dense(name, size) else frozenset(),
    )


@cache
def architectures() -> frozenset[str]:
    """Names of all timm classifiers, without tags. Deprecated aliases and bare encoders are left out."""
    import timm

    return frozenset(name for name in timm.list_models() if configuration(name).classifier)


def configuration(name: str) -> Any:
    """timm's pretrained configuration of `name`; that of its default tag if it names none. RuntimeError
    if there is none."""
    from timm.models import get_pretrained_cfg

    return get_pretrained_cfg(name, allow_unregistered=False)


def normalization(name: str) -> Normalization:
    """Mean and standard deviation that the pretrained configuration names."""
    found = configuration(name)
    mean, std = (tuple(float(v) for v in values) for values in (found.mean, found.std))
    return Normalization(mean, std) if len(mean) == len(std) == 3 else Normalization()


# --- building ----------------------------------------------------------------------------------------


def build(name: str, params: TimmParams, context: Context) -> nn.Module:
    """A randomly initialised network for images of `context.size`. Raises ConfigError."""
    arguments = dict(probe(name, context.size).arguments)
    if params.drop_path is not None:
        arguments["drop_path_rate"] = params.drop_path
    try:
        return create(name, context.size, num_classes=len(context.classes), **arguments)
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        raise ConfigError(
            f"model.{name}.drop_path = {params.drop_path}: {name} has no stochastic depth; leave it unset"
        ) from None


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
    is tried out, without memory or arithmetic; `build` needs that too, and does not repeat it."""
    probe(name, size)


@cache
def probe(name: str, size: int) -> BuildTrial:
    """Find out, without memory or arithmetic, how `name` is built for `size` and if its features are dense.

    Raises SizeError for a size the network cannot take.
    """
    failures = []
    # Some architectures need img_size although their configuration does not say so.
    for arguments in ({}, {"img_size": size}):
        try:
            return BuildTrial(tuple(arguments.items()), _try_out(name, size, arguments))
        except Exception as error:  # whatever an architecture raises at a size it cannot take
            failures.append(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    own, nearest = int(configuration(name).input_size[-1]), _working_size(name, size)
    raise SizeError(
        f"{name} cannot take images of {size}x{size} pixels ({failures[0].rstrip(': ')[:160]}); its own size "
        f"is {own}, and {nearest} is the nearest known to work: set protocol.size, or choose another model",
        nearest,
    )


def _working_size(name: str, size: int) -> int:
    """The multiple of 32 nearest to `size` if the network takes it, else its own size. Few strides are
    larger than 32, and trying every size would take minutes."""
    candidate = max(32, round(size / 32) * 32)
    for arguments in ({}, {"img_size": candidate}):
        try:
            _try_out(name, candidate, arguments)
            return candidate
        except Exception:  # as in `probe`
            continue
    return int(configuration(name).input_size[-1])


def _try_out(name: str, size: int, arguments: dict[str, Any]) -> bool:
    """Apply the network on the meta device, leaving no trace; whether its features are dense."""
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


def _is_dense(name: str, size: int) -> bool:
    try:
        return probe(name, size).dense
    except ConfigError:  # not even at its own size: building it says why
        return False


def _forms_map(net: nn.Module, image: Tensor) -> bool:
    """Whether features form a map of more than one cell: one cell is pooling, not a dense feature."""
    try:
        found = features(net, image)
    except ConfigError:
        return False
    return found.shape[2] * found.shape[3] > 1


# --- features and classifier -------------------------------------------------------------------------


def features(net: nn.Module, images: Tensor) -> Tensor:
    """Features before pooling as a map: images (B, 3, S, S) -> (B, C, h, w). Differentiable.

    Maps with channels last are turned, and tokens without their prefix (class, register) become the
    square grid they came from. Raises ConfigError where that cannot be done.
    """
    net_: Any = net
    found = net_.forward_features(images)
    shape = tuple(getattr(found, "shape", ()))
    if len(shape) == 4:
        return _channels_first(net_, found)
    if len(shape) == 3:
        return _grid(net_, found)
    raise ConfigError(
        f"{type(net).__name__} gives features of the form {shape or type(found).__name__}, "
        "of which no map (B, C, h, w) can be made; choose a network with dense features"
    )


def _channels_first(net: Any, found: Tensor) -> Tensor:
    last = getattr(net, "output_fmt", "NCHW") == "NHWC" or found.shape[1] != net.num_features
    return found.permute(0, 3, 1, 2) if last and found.shape[3] == net.num_features else found


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
    net_: Any = net
    names = net_.pretrained_cfg["classifier"]
    return tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))


# --- ImageNet weights --------------------------------------------------------------------------------


def pretrained_source(name: str) -> str:
    """The weights used when none are named: a package for the untagged Lite network where it is installed,
    otherwise timm's; "" where timm has none."""
    from bench_models import packaged

    if name == packaged.ARCHITECTURE and (source := packaged.source()):
        return source
    found = configuration(name)
    return f"timm:{full_name(name)}" if found.has_weights else ""


def full_name(name: str) -> str:
    """`name` with its tag."""
    tag = configuration(name).tag
    return f"{name.partition('.')[0]}.{tag}" if tag else name


def pretrained(name: str, net: nn.Module, params: TimmParams, source: str) -> Weights:
    """The weights called `source`, in the names and for the image size of `net`. Raises WeightsError."""
    from bench_models import hub, packaged

    architecture = name.partition(".")[0]
    kind, _, what = source.partition(":")
    if kind == "package" and architecture == packaged.ARCHITECTURE:
        return packaged.load(source)
    if kind == "timm" and what.partition(".")[0] == architecture:
        _check_normalization(name, what)
        return hub.load(what, net)
    raise WeightsError(
        f"{name} has no ImageNet weights called {source!r}; "
        f"it has {pretrained_source(name) or 'none: give a file with --set model.NAME.weights=FILE'}"
    )


def _check_normalization(name: str, tagged: str) -> None:
    """Weights of another tag must have seen pixels of the same scale as `name` will be given."""
    try:
        same = normalization(tagged) == normalization(name)
    except RuntimeError:
        raise WeightsError(f"timm has no weights called {tagged}; `--models {name}` uses its own") from None
    if not same:
        raise WeightsError(
            f"timm:{tagged} was trained with another pixel normalisation than {name} names; "
            f"use the model {tagged} by its full name"
        )


FAMILY = ModelFamily(
    name="timm",
    about="any network of timm by its name, with or without a tag",
    citation="doi:10.5281/zenodo.4414861",
    licence=LICENCE,
    find=find,
    names=lambda: sorted(architectures()),
)
