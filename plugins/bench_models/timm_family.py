"""Any timm network by its own name: `resnet18`, `convnext_tiny`, `vit_tiny_patch16_224.augreg_in21k`.

R. Wightman, "PyTorch Image Models", doi:10.5281/zenodo.4414861. timm gives the architecture, its pretrained
configuration and its weights. Importing this module loads neither torch nor timm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from bench import ConfigError, Context, LocalWeights, Model, ModelFamily, Weights, WeightsError
from bench_models import references, timm_names, timm_networks
from bench_models.remembered import remembered

if TYPE_CHECKING:
    from torch import nn

LICENCE = "timm: Apache-2.0; pretrained weights carry their own licences"


@dataclass(frozen=True)
class TimmParams(LocalWeights):
    """Parameters of every timm network.

    Attributes:
        drop_path: rate of stochastic depth in training, the probability that a block is skipped; nothing
            leaves it to the architecture, most of which have 0.
    """

    drop_path: Annotated[float, Interval(ge=0, lt=1)] | None = None


@cache
def find(name: str) -> Model[TimmParams] | None:
    """The timm network called `name`, or None if timm has none (or not with that tag)."""
    if not timm_names.NAME.fullmatch(name) or name.partition(".")[0] not in architectures():
        return None
    try:
        described = timm_networks.described(name)
    except LookupError:  # the architecture exists, the tag does not
        return None
    return Model(
        name=name,
        about=f"timm's {name}",
        citation="doi:10.5281/zenodo.4414861",
        bibtex=references.TIMM,
        licence=LICENCE,
        params=TimmParams,
        build=partial(build, name),
        check_size=lambda params, size: timm_networks.check_size(name, size),
        features=timm_networks.features,
        classifier=timm_networks.classifier,
        normalization=lambda params: described.normalization,
        pretrained_source=lambda params: pretrained_source(name),
        pretrained=lambda net, params, source: pretrained(name, net, source),
        traits=frozenset({"dense"}) if _is_dense(name, described.size) else frozenset(),
    )


@cache
def architectures() -> frozenset[str]:
    """Names of all timm classifiers, without tags. Deprecated aliases and bare encoders are left out."""
    return frozenset(classifiers())


@remembered
def classifiers() -> list[str]:
    """`architectures` as JSON."""
    import timm

    return [name for name in timm.list_models() if timm_networks.configuration(name).classifier]


def build(name: str, params: TimmParams, context: Context) -> nn.Module:
    """A randomly initialised network for images of `context.size`. Raises ConfigError."""
    arguments = dict(timm_networks.build_trial(name, context.size).arguments)
    if params.drop_path is not None:
        arguments["drop_path_rate"] = params.drop_path
    try:
        return timm_networks.create(name, context.size, num_classes=len(context.classes), **arguments)
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        raise ConfigError(
            f"model.{name}.drop_path = {params.drop_path}: {name} has no stochastic depth; leave it unset"
        ) from None


def _is_dense(name: str, size: int) -> bool:
    try:
        return timm_networks.build_trial(name, size).dense
    except ConfigError:  # not even at its own size: building it says why
        return False


# --- ImageNet weights --------------------------------------------------------------------------------


def pretrained_source(name: str) -> str:
    """The weights used when none are named: a package for the untagged Lite network where it is installed,
    otherwise timm's; "" where timm has none."""
    from bench_models import packaged

    if name == packaged.ARCHITECTURE and (source := packaged.installed_source()):
        return source
    return f"timm:{full_name(name)}" if timm_networks.described(name).has_weights else ""


def full_name(name: str) -> str:
    """`name` with its tag."""
    tag = timm_networks.described(name).tag
    return f"{name.partition('.')[0]}.{tag}" if tag else name


def pretrained(name: str, net: nn.Module, source: str) -> Weights:
    """The weights called `source`, in the names and for the image size of `net`. Raises WeightsError."""
    from bench_models import hub, packaged

    architecture = name.partition(".")[0]
    kind, _, weights_name = source.partition(":")
    if kind == "package" and architecture == packaged.ARCHITECTURE:
        return packaged.package_weights(source)
    if kind == "timm" and weights_name.partition(".")[0] == architecture:
        _check_normalization(name, weights_name)
        return hub.hub_weights(weights_name, net)
    raise WeightsError(
        f"{name} has no ImageNet weights called {source!r}; "
        f"it has {pretrained_source(name) or 'none: give a file with --set model.NAME.weights=FILE'}"
    )


def _check_normalization(name: str, tagged: str) -> None:
    """Weights of another tag must have seen pixels of the same scale as `name` will be given."""
    try:
        scale = timm_networks.described(tagged).normalization
    except LookupError:
        raise WeightsError(f"timm has no weights called {tagged}; `--models {name}` uses its own") from None
    if scale != timm_networks.described(name).normalization:
        raise WeightsError(
            f"timm:{tagged} was trained with another pixel normalisation than {name} names; "
            f"use the model {tagged} by its full name"
        )


FAMILY = ModelFamily(
    name="timm",
    about="any network of timm by its name, with or without a tag",
    citation="doi:10.5281/zenodo.4414861",
    bibtex=references.TIMM,
    licence=LICENCE,
    find=find,
    names=lambda: sorted(architectures()),
    complete=timm_names.complete,
)
