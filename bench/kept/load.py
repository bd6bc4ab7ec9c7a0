"""Kept weights as networks again: a fine-tuned classifier, or a pretraining's objective with its decoder.

Both are built by the model's plugin from the stored parameters, and given weights by name: safetensors alone,
nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bench.errors import ConfigError, PluginError, StoreError, UnknownName, checked, describe
from bench.interfaces.component import Component
from bench.interfaces.model import Context, Model
from bench.interfaces.strategy import Strategy
from bench.results import kept as kept_store
from bench.results.kept import Kept

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from bench.identity import Ref
    from bench.registry import Components, Registry
    from bench.results.record import Record


Offered = TypeVar("Offered", bound=Component)


class Network(NamedTuple):
    """A fine-tuned network, in evaluation mode.

    Attributes:
        net: maps normalised images (B, 3, S, S) to logits (B, classes).
        context: classes, size and normalisation; `context.normalize` takes uint8 images (B, 3, S, S).
        model: the component that the network is an instance of.
        kept: what is known of the weights.
    """

    net: nn.Module
    context: Context
    model: Model
    kept: Kept


class Objective(NamedTuple):
    """A pretraining's objective with the weights it ended with, in evaluation mode.

    Attributes:
        module: what was trained: `module(images) -> loss` of uint8 images (B, 3, S, S); what else it offers,
            its strategy says.
        context: size and normalisation.
        model: the component of the encoder.
        strategy: the component that made the objective.
        kept: what is known of the weights.
    """

    module: nn.Module
    context: Context
    model: Model
    strategy: Strategy
    kept: Kept


def load_network(results: Path, record: Record, registry: Registry, device: torch.device) -> Network:
    """The fine-tuned network of a stored run, on `device`. Raises StoreError if it was not kept, belongs to
    another result of the run, or is damaged; ConfigError where its model is not installed."""
    return open_network(_folder_of(results, record), registry, device)


def load_objective(results: Path, record: Record, registry: Registry, device: torch.device) -> Objective:
    """The objective of a stored pretraining, on `device`. Raises as `load_network`."""
    return open_objective(_folder_of(results, record), registry, device)


def _folder_of(results: Path, record: Record) -> Path:
    """The folder of what was kept of a record's unit. Raises StoreError."""
    folder = kept_store.path_of(results, record.spec)
    kind = kept_store.kind_of(record.spec)
    if kind is None:
        raise StoreError(f"{record.spec.label}: an ensemble keeps nothing itself; its members do")
    if not folder.exists():
        raise StoreError(
            f"{record.spec.label}: its {kind} was not kept; repeat the command that made it "
            f"with --keep {kind}"
        )
    if kept_store.read(folder).result != kept_store.result_of(record):
        raise StoreError(
            f"{folder}: belongs to another result than the stored one of {record.spec.label}; "
            f"delete {folder} and repeat the command that made it with --keep {kind}"
        )
    return folder


def open_network(folder: Path, registry: Registry, device: torch.device) -> Network:
    """The fine-tuned network that is kept in `folder`, which needs nothing beside it. Raises as
    `load_network`."""
    kept = kept_store.read(folder)
    if kept.kind != "model":
        raise StoreError(f"{folder}: holds a pretraining with its decoder, not a fine-tuned model")
    model, context, net = _build(kept, registry)
    _give(net, kept_store.read_weights(folder, kept), folder, kept)
    return Network(_placed(net, kept, device), context, model, kept)


def open_objective(folder: Path, registry: Registry, device: torch.device) -> Objective:
    """The objective that is kept in `folder`. Raises as `load_network`."""
    import torch
    from torch import nn

    from bench.execution.prepare import as_encoder

    kept = kept_store.read(folder)
    if kept.kind != "decoder":
        raise StoreError(f"{folder}: holds a fine-tuned model, not a pretraining with its decoder")
    model, context, net = _build(kept, registry)
    strategy = installed_component(registry.strategies, kept.strategy, kept.label)
    if strategy.objective is None or model.features is None:
        raise StoreError(f"{folder}: strategy {kept.strategy.name} no longer pretrains {kept.model.name}")
    params = registry.strategies.params(kept.strategy)
    encoder = as_encoder(model, net, kept.size, torch.device("cpu"))
    owner = registry.strategies.entry(kept.strategy.name).plugin
    what = f"strategy {kept.strategy.name!r}: objective"
    module = checked(strategy.objective(encoder, params, context), nn.Module, what, owner)
    _give(module, kept_store.read_weights(folder, kept), folder, kept)
    return Objective(_placed(module, kept, device), context, model, strategy, kept)


def _build(kept: Kept, registry: Registry) -> tuple[Model, Context, nn.Module]:
    """The network with random weights; what torch draws elsewhere is not disturbed."""
    import torch
    from torch import nn

    model = installed_component(registry.models, kept.model, kept.label)
    context = Context(classes=kept.classes, size=kept.size, normalization=kept.normalization)
    owner = registry.models.entry(kept.model.name).plugin
    params = registry.models.params(kept.model)
    with torch.random.fork_rng(devices=[]):
        net = checked(model.build(params, context), nn.Module, f"model {model.name!r}: build", owner)
    return model, context, net


def installed_component(components: Components[Offered], ref: Ref, label: str) -> Offered:
    """The installed component that kept weights are of. Raises ConfigError where it is not there, or is of
    another revision, whose weights may mean something else."""
    kind = components.kind.singular
    try:
        component = components.get(ref.name)
    except (UnknownName, PluginError) as error:
        raise ConfigError(
            f"{label} was made with the {kind} {ref.name}: {error}; install its plugin"
        ) from None
    if component.revision != ref.revision:
        raise ConfigError(
            f"{label} was made with revision {ref.revision} of the {kind} {ref.name}, and revision "
            f"{component.revision} is installed; install the version of its plugin that made it"
        )
    return component


def _give(module: nn.Module, state: Mapping[str, Tensor], folder: Path, kept: Kept) -> None:
    """Give the module these weights, all of them. Raises StoreError where they do not fit."""
    remedy = "the package that builds it is another version than the one it was made with"
    made = ", ".join(
        f"{name} {kept.packages[name]}" for name in ("medbench", "timm") if name in kept.packages
    )
    try:
        outcome = module.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a tensor of another shape
        raise StoreError(
            f"{folder}: its weights do not fit {kept.model.name} ({describe(error)[:300]}); {remedy} ({made})"
        ) from None
    if lost := [*outcome.missing_keys, *outcome.unexpected_keys]:
        raise StoreError(
            f"{folder}: its weights do not fit {kept.model.name}: {', '.join(lost[:3])}; {remedy} ({made})"
        )


def _placed(module: nn.Module, kept: Kept, device: torch.device) -> nn.Module:
    """The module on `device`, laid out as it was trained, because that decides how sums are rounded."""
    import torch

    formats = {"channels_last": torch.channels_last, "contiguous_format": torch.contiguous_format}
    placed: nn.Module = module.to(device=device, memory_format=formats[kept.memory_format])  # type: ignore[call-overload]
    return placed.eval()
