"""Conformance checks of models, families and strategies: ours pass, and each broken promise fails."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import (
    ConfigError,
    Context,
    Model,
    ModelFamily,
    NoParams,
    SizeError,
    Strategy,
    Weights,
    testing,
)
from bench.registry import installed

REGISTRY = installed()
FAMILY: ModelFamily = REGISTRY.models.families["timm"].component
TINY = ("test_convnext", "test_vit", "resnet10t", "tf_efficientnet_lite0")


# --- what conforms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", REGISTRY.strategies.all(), ids=lambda each: each.name)
def test_our_strategies_conform(strategy: Strategy) -> None:
    testing.check_strategy(strategy)


@pytest.mark.parametrize("name", TINY)
def test_timm_conforms(name: str) -> None:
    testing.check_model_family(FAMILY, name)


@pytest.mark.long
@pytest.mark.parametrize("model", REGISTRY.models.all(), ids=lambda model: model.name)
def test_our_models_conform(model: Model) -> None:
    """At the smallest size that each of them takes."""
    try:
        model.check_size(model.params(), 64)
        size = 64
    except SizeError as error:
        size = error.nearest
    testing.check_model(model, context=Context(classes=("a", "b", "c"), size=size))


# --- models ------------------------------------------------------------------------------------------


class Net(nn.Module):
    """A convolution with batch norm and a classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.BatchNorm2d(4), nn.GELU())
        self.head = nn.Linear(4, classes)

    def features(self, images: Tensor) -> Tensor:
        maps: Tensor = self.body(images)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images).mean((2, 3)))
        return logits


def model(net: type[Net] = Net, **changes: Any) -> Model:
    return Model(
        **{
            "name": "net",
            "about": "test",
            "build": lambda params, context: net(len(context.classes)),
            "features": lambda net, images: net.features(images),
            "classifier": lambda net: ("head",),
            "traits": frozenset({"dense"}),
            **changes,
        }
    )


class WithoutClassifier(Net):
    def __init__(self, classes: int) -> None:
        super().__init__(3)


class OneLogit(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[:, :1]


class Detached(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).detach().requires_grad_()


class Endless(Net):
    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits if self.training else logits / 0


class Relative(Net):
    """Looks at the whole batch, in evaluation too."""

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits - logits.mean(0)


class Flat(Net):
    """Takes images only as they lie in memory by default."""

    def features(self, images: Tensor) -> Tensor:
        return super().features(images.view(-1).view(images.shape))


def added_to_zeros(values: Tensor) -> Tensor:
    """In float32 alone: `index_add_` wants both of one type, and autocast has made `values` bfloat16."""
    return torch.zeros(values.shape).index_add_(0, torch.arange(len(values)), values)


class OfFullPrecision(Net):
    def features(self, images: Tensor) -> Tensor:
        return added_to_zeros(super().features(images))


class Fixed(Net):
    """Takes one size alone."""

    def features(self, images: Tensor) -> Tensor:
        if images.shape[-1] % 8:
            raise RuntimeError("cannot be cut into patches")
        return super().features(images)


def only_multiples(params: Any, size: int) -> None:
    if size % 8:
        raise SizeError(f"{size} is not a multiple of 8", nearest=size // 8 * 8)


def never_content(params: Any, size: int) -> None:
    if size != 64:
        raise SizeError(f"{size} is refused", nearest=size)


def refuses(params: Any, size: int) -> None:
    raise SizeError(f"{size} is refused", nearest=32)


GENERATOR = torch.Generator()


class OwnNoise(Net):
    """Draws weights from a generator that the core does not seed."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        nn.init.normal_(self.head.weight, generator=GENERATOR)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (model(normalization=lambda params: (0.5, 0.5)), "normalization"),
        (model(pretrained_source=lambda params: "somewhere"), "`pretrained` must load"),
        (model(check_size=refuses), "64 is refused"),
        (model(OwnNoise), "torch's random state alone"),
        (model(WithoutClassifier), "no tensor depends on the number of classes"),
        (model(classifier=lambda net: ("body.0",)), "does not name"),
        (model(OneLogit), "not .2, classes."),
        (model(Detached), "no gradient reaches the weights"),
        (model(Endless), "not finite"),
        (model(Relative), "depend on the others"),
        (model(Flat), "memory format channels_last"),
        (model(OfFullPrecision), "bf16 autocast fails: RuntimeError"),
        (model(features=None), "promises `features`"),
        (model(features=lambda net, images: net.features(images).flatten(2)), "not .B, C, h, w."),
        (model(features=lambda net, images: net.features(images)[:1]), "for 2 images"),
        (model(features=lambda net, images: net.features(images).detach()), "no gradient"),
        (model(Fixed), "check_size must refuse"),
        (model(check_size=never_content), "nearest size that check_size names"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_model_that_breaks_a_promise(broken: Model, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        testing.check_model(broken)


def test_a_model_that_refuses_sizes_or_has_no_dense_features_conforms() -> None:
    testing.check_model(model(Fixed, check_size=only_multiples))
    testing.check_model(model(features=None, traits=frozenset()))


def family(**changes: Any) -> ModelFamily:
    return ModelFamily(
        **{
            "name": "nets",
            "about": "test",
            "find": lambda name: model() if name == "net" else None,
            "names": lambda: ["net"],
            "complete": lambda prefix: [name for name in ["net"] if name.startswith(prefix)],
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (family(find=lambda name: None), "not a Model"),
        (family(find=lambda name: model(name="other") if name == "net" else None), "called 'other'"),
        (family(find=lambda name: model()), "None for an unknown name"),
        (family(names=lambda: ["other"]), "lacks 'net'"),
        (family(complete=lambda prefix: ["net"]), "gives .'net'."),
        (family(complete=lambda prefix: [f"{prefix}et2"]), "lacks|gives"),
        (family(find=lambda name: model(OneLogit) if name == "net" else None), "not .2, classes."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_family_that_breaks_a_promise(broken: ModelFamily, message: str) -> None:
    testing.check_model_family(family(), "net")
    with pytest.raises(AssertionError, match=message):
        testing.check_model_family(broken, "net")


# --- strategies --------------------------------------------------------------------------------------


class Objective(nn.Module):
    """forward(images): how far the dense features are from 1, with noise in them."""

    def __init__(self, encoder: Any, params: Any, context: Context) -> None:
        super().__init__()
        self.net, self.context = encoder.net, context
        self.features = encoder.features

    def forward(self, images: Tensor) -> Tensor:
        noise = torch.randn(images.shape)
        return (self.features(self.net, self.context.normalize(images) + noise) - 1).square().mean()


class Unowned(nn.Module):
    def __init__(self, encoder: Any, params: Any, context: Context) -> None:
        super().__init__()
        self.inner = [Objective(encoder, params, context)]

    def forward(self, images: Tensor) -> Tensor:
        loss: Tensor = self.inner[0](images)
        return loss


class Frozen(Objective):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.scale = nn.Parameter(torch.ones(()))
        self.net.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * self.scale


class Enlarged(Objective):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.net.append(nn.Conv2d(8, 8, 1))


class PerImage(Objective):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).expand(len(images))


class Infinite(Objective):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) / 0


class OwnSeed(Objective):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + float(torch.rand((), generator=GENERATOR))


class Forgetful(Objective):
    """Counts its steps in an attribute, which no checkpoint keeps."""

    steps = 0

    def forward(self, images: Tensor) -> Tensor:
        self.steps += 1
        return super().forward(images) * self.steps


class FullBatches(Objective):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.reshape(4, 3, 64, 64))


class LossOfFullPrecision(Objective):
    def forward(self, images: Tensor) -> Tensor:
        return added_to_zeros(self.features(self.net, self.context.normalize(images))).square().mean()


class Revealing(Objective):
    """Shows the images as they are."""

    def reveal(self, images: Tensor) -> Any:
        return {"input": self.context.normalize(images)}


class RevealsOne(Revealing):
    def reveal(self, images: Tensor) -> Any:
        return self.context.normalize(images)


class RevealsHalf(Revealing):
    def reveal(self, images: Tensor) -> Any:
        return {"input": self.context.normalize(images)[..., ::2]}


class RevealsByChance(Revealing):
    def reveal(self, images: Tensor) -> Any:
        return {"input": self.context.normalize(images) + torch.rand((), generator=GENERATOR)}


class RevealsAndTrains(Revealing):
    def reveal(self, images: Tensor) -> Any:
        next(self.net.parameters()).data.add_(1)
        return super().reveal(images)


def guided(guide: Any) -> Strategy:
    return strategy(guide=guide, guided_by="brightness")


def brightness(images: Tensor, params: Any) -> Tensor:
    """Of patches of 16 pixels."""
    return images.float().mean(1).unfold(1, 16, 16).unfold(2, 16, 16).mean((-1, -2))


def strategy(objective: Any = Objective, **changes: Any) -> Strategy:
    return Strategy(**{"name": "ones", "about": "test", "objective": objective, **changes})


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Unowned, "must own encoder.net"),
        (Frozen, "no gradient reaches the encoder"),
        (Enlarged, "keep their names and shapes"),
        (PerImage, "must be a scalar"),
        (Infinite, "the loss is inf"),
        (OwnSeed, "torch's random state alone"),
        (Forgetful, "must be a parameter or a buffer"),
        (FullBatches, "batch of another size"),
        (LossOfFullPrecision, "bf16 autocast fails: RuntimeError"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_pretraining_that_breaks_a_promise(objective: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        testing.check_strategy(strategy(objective))


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (RevealsOne, "reveal gives Tensor, not pictures by name"),
        (RevealsHalf, "of shape"),
        (RevealsByChance, "reveal gives must depend on torch's random state alone"),
        (RevealsAndTrains, "leave weights and buffers"),
    ],
)
def test_pictures_that_break_a_promise(objective: Any, message: str) -> None:
    testing.check_strategy(strategy(Revealing))
    with pytest.raises(AssertionError, match=message):
        testing.check_strategy(strategy(objective))


@pytest.mark.parametrize(
    ("guide", "message"),
    [
        (lambda images, params: brightness(images, params)[:, None], "not (4, h, w)"),
        (lambda images, params: brightness(images, params)[:, :3], "do not divide 64 pixels"),
        (lambda images, params: brightness(images, params) / 0, "not finite"),
        (lambda images, params: torch.rand(4, 4, 4), "depend on the images alone"),
    ],
)
def test_a_guide_that_breaks_a_promise(guide: Any, message: str) -> None:
    testing.check_strategy(guided(brightness))
    with pytest.raises(AssertionError, match=re.escape(message)):
        testing.check_strategy(guided(guide))


def initialize(net: nn.Module, model: Model, model_params: Any, params: Any) -> str:
    weights: Weights = model.pretrained(net, model_params, params.source)  # type: ignore[misc]
    net.load_state_dict(weights.state)
    return weights.source


@dataclass(frozen=True)
class SourceParams:
    source: str = ""


def freeze(params: SourceParams, model: Model, model_params: Any) -> SourceParams:
    return SourceParams(model.pretrained_source(model_params))


def enlarge(net: nn.Module, model: Model, model_params: Any, params: Any) -> str:
    net.append(nn.Linear(3, 3))  # type: ignore[operator]
    return "nowhere"


def flatten(net: nn.Module, model: Model, model_params: Any, params: Any) -> str:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.view(-1).fill_(0.5)
    return "halves"


def refuse(net: nn.Module, model: Model, model_params: Any, params: Any) -> str:
    raise ConfigError("only for another network")


def initial(**changes: Any) -> Strategy:
    usual = {"initialize": initialize, "freeze": freeze, "params": SourceParams}
    return strategy(None, **{**usual, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initialize": lambda net, model, model_params, params: ""}, "where the weights came from"),
        ({"initialize": lambda net, model, model_params, params: 7}, "gives a int, not a str"),
        ({"initialize": flatten}, "fails on a small network: RuntimeError: view size"),
        ({"initialize": enlarge}, "keep their names and shapes"),
        ({"freeze": lambda params, model, model_params: NoParams()}, "gives NoParams"),
        (
            {"freeze": lambda params, model, model_params: SourceParams(params.source + "x")},
            "must not change",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_initial_weights_that_break_a_promise(changes: dict[str, Any], message: str) -> None:
    testing.check_strategy(initial())
    testing.check_strategy(initial(initialize=refuse))
    with pytest.raises(AssertionError, match=message):
        testing.check_strategy(initial(**changes))
