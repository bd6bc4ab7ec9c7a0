"""Models: networks with a classifier head and dense features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.interfaces.component import Component, P

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Normalization:
    """What is subtracted from the pixels of each channel, and what they are divided by.

    Attributes:
        mean: of red, green and blue, of pixels scaled to 0..1.
        std: the standard deviation, likewise.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a network or a pretraining objective is built for, and the normalisation of its images.

    Attributes:
        classes: names of the classes.
        size: side of the square input, pixels.
        normalization: what the network expects of its pixels.
    """

    classes: tuple[str, ...]
    size: int
    normalization: Normalization = Normalization()
    _moments: dict[Any, tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 images (B, 3, H, W) to float32 with this context's mean and std."""
        import torch

        mean, std = self._on(images.device)
        return images.to(torch.float32).sub(mean).div(std)

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and std in 8-bit levels, (1, 3, 1, 1) each, on `device`.

        They are moved once, because moving them with every batch would make a GPU wait.
        """
        import torch

        if device not in self._moments:
            with torch.inference_mode(False):  # training could not use tensors made during an evaluation
                self._moments[device] = tuple(  # type: ignore[assignment]  # two of them
                    torch.tensor(values, dtype=torch.float32, device=device).mul(255).view(1, 3, 1, 1)
                    for values in (self.normalization.mean, self.normalization.std)
                )
        return self._moments[device]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Pretrained weights.

    Attributes:
        state: tensors by name.
        source: where they came from; identifies them in the record.
    """

    state: Mapping[str, Tensor]
    source: str


@dataclass(frozen=True, kw_only=True)
class Model(Component[P]):
    """A network with a classifier head and dense features.

    Attributes:
        build: `build(params, context)` gives a randomly initialised network; its forward maps normalised
            images (B, 3, S, S) to logits (B, classes).
        check_size: `check_size(params, size)` raises SizeError for a size that `build` would refuse, without
            building, so that a plan can show the cell as n/a.
        features: `features(net, images)` gives dense features (B, C, h, w), differentiable; needed if
            "dense" is among the traits.
        classifier: `classifier(net)` names the modules of the final classifier, which pretraining never
            sets.
        normalization: `normalization(params)` is that of the network's pretrained configuration.
        pretrained_source: `pretrained_source(params)` identifies the ImageNet weights that `pretrained`
            would give on this machine ("" if it has none). It is part of the key, so that one study does
            not silently mix two files.
        pretrained: `pretrained(net, params, source)` gives the ImageNet weights called `source`, in `net`'s
            names. Raises WeightsError.
        translate: `translate(net, state)` converts a checkpoint that has its authors' names, or is for
            another image size, to the names and shapes of `net`; unknown entries stay as they are. Raises
            WeightsError.
        traits: what strategies can rely on, such as "dense"; "baseline" makes it a row of
            `--baselines all`.
        published_as: its name in published tables (`results/reported`), if it is in any.
    """

    build: Callable[[P, Context], nn.Module]
    check_size: Callable[[P, int], None] = lambda params, size: None
    features: Callable[[nn.Module, Tensor], Tensor] | None = None
    classifier: Callable[[nn.Module], tuple[str, ...]]
    normalization: Callable[[P], Normalization] = lambda params: Normalization()
    pretrained_source: Callable[[P], str] = lambda params: ""
    pretrained: Callable[[nn.Module, P, str], Weights] | None = None
    translate: Callable[[nn.Module, Mapping[str, Tensor]], Mapping[str, Tensor]] = lambda net, state: state
    traits: frozenset[str] = frozenset()
    published_as: str = ""


def no_names(prefix: str) -> Iterable[str]:
    """The `complete` of a family that cannot list names quickly."""
    return ()


@dataclass(frozen=True, kw_only=True)
class ModelFamily(Component[P]):
    """Many models by their own names (all of timm, for example), each made when its name is looked up.

    Attributes:
        find: `find(name)` returns the model, or None if the family has no such name.
        names: `names()` lists them for suggestions; it may be slow.
        complete: `complete(prefix)` lists those that begin with `prefix`, for completion in a shell: it must
            answer within a tenth of a second, so without importing torch.
    """

    find: Callable[[str], Model | None]
    names: Callable[[], Iterable[str]]
    complete: Callable[[str], Iterable[str]] = no_names


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A network under pretraining, as a strategy sees it.

    Attributes:
        net: the network.
        features: `features(net, images)` gives dense features (B, width, S / stride, S / stride).
        stride: input pixels per feature cell.
        width: feature channels.
    """

    net: nn.Module
    features: Callable[[nn.Module, Tensor], Tensor]
    stride: int
    width: int


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a state-dict name belongs to one of the modules called `prefixes`."""
    return any(name.startswith(prefix.removesuffix(".") + ".") for prefix in prefixes)
