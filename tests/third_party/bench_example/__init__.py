"""A data set, a strategy and a metric in a package of their own.

`bench list` imports this module, so torch and numpy are imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from bench import Context, Dataset, Encoder, Index, Metric, Predictions, Sample, Strategy, hookimpl

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class StripesParams:
    """Parameters of the data set `stripes`.

    Attributes:
        images: how many to generate per class.
    """

    images: Annotated[int, Ge(6)] = 12


def stripes(root: Path, params: StripesParams) -> Index:
    """Horizontal or vertical stripes under noise, two images per group."""
    import numpy as np

    rng = np.random.Generator(np.random.PCG64(5))
    samples = []
    for label in ("horizontal", "vertical"):
        for i in range(params.images):
            image = np.tile(np.arange(40) // 4 % 2 * 90.0, (40, 1)) + rng.integers(0, 120, (40, 40))
            array = (image if label == "vertical" else image.T).astype(np.uint8)
            samples.append(Sample(id=f"{label}-{i}", label=label, group=f"{label}-{i // 2}", array=array))
    return Index(classes=("horizontal", "vertical"), samples=tuple(samples))


@dataclass(frozen=True)
class BlurParams:
    """Parameters of the strategy `blur`.

    Attributes:
        window: side of the square over which pixels are averaged, pixels.
    """

    window: Annotated[int, Ge(2)] = 4


def blur(encoder: Encoder, params: BlurParams, context: Context) -> nn.Module:
    """Pretrain by predicting the blurred image from the dense features."""
    from bench_example.blur import Blur

    return Blur(encoder, params.window, context)


def top2(predictions: Predictions) -> float:
    """Share of images whose class is among the two most probable."""
    best = predictions.probabilities.argsort(1)[:, -2:]
    return float((best == predictions.labels[:, None]).any(1).mean())


@hookimpl
def register_datasets() -> Iterable[Dataset[StripesParams]]:
    return [Dataset(name="stripes", about="two kinds of stripes", params=StripesParams, index=stripes)]


@hookimpl
def register_strategies() -> Iterable[Strategy[BlurParams]]:
    return [
        Strategy(
            name="blur",
            about="predict the blurred image",
            params=BlurParams,
            needs=frozenset({"dense"}),
            objective=blur,
        )
    ]


@hookimpl
def register_metrics() -> Iterable[Metric]:
    return [Metric(name="top2", about="top-2 accuracy", title="Top-2", score=top2, default=False)]
