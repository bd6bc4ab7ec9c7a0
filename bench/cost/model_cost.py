"""What one model costs: parameters, operations by two conventions beside the published figure, speed here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.cost import published
from bench.cost.count import measure
from bench.cost.published import Published
from bench.errors import BenchError, SizeError
from bench.interfaces.model import Context, Model
from bench.results.record import Cost

if TYPE_CHECKING:
    from torch import nn

    from bench.comparison.reported import ReportedRow
    from bench.engine.speed import Timing

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class CostRequest:
    """What to find out. `batches` may be empty: then nothing is timed."""

    classes: int
    size: int  # side of the square image, pixels
    batches: tuple[int, ...]
    train: bool
    device: str
    seconds: float = 1.0  # of repeats for each timing, at least


@dataclass(frozen=True)
class ModelCost:
    """The costs of one model. A figure is None where it could not be had, and `notes` say why.

    Attributes:
        model: its name.
        size: the size asked for, or the nearest one that the network takes, pixels.
        classes: outputs of the classifier.
        cost: multiply-adds and parameters for one image, with `classes` outputs.
        params_imagenet: parameters with 1000 outputs.
        convention: multiply-adds for one image as published tables count them (ptflops).
        published: the figures of a publication.
        latency: time of a forward pass at batch 1.
        forward: times of a forward pass, per batch size.
        training: times of a training step, per batch size.
        notes: what could not be had, and why.
    """

    model: str
    size: int
    classes: int
    cost: Cost
    params_imagenet: int
    convention: int | None
    published: Published | None
    latency: Timing | None
    forward: tuple[Timing, ...]
    training: tuple[Timing, ...]
    notes: tuple[str, ...]

    @property
    def difference(self) -> float | None:
        """(convention - published) / published; None at another image size than the published."""
        known = self.published is not None and self.published.gmacs
        if self.convention is None or not known or self.size != published.SIZE:
            return None
        return self.convention / 1e9 / known - 1

    @property
    def flat(self) -> dict[str, Any]:
        """One line of a csv file; the units are in the names."""
        known = self.published
        row = {
            "model": self.model,
            "size": self.size,
            "classes": self.classes,
            "params": self.cost.params,
            "params_1000_classes": self.params_imagenet,
            "macs": self.cost.macs,
            "not_counted_share": self.cost.skipped_share,
            "macs_by_ptflops": self.convention,
            "published_gmacs": known.gmacs if known else None,
            "published_mparams": known.mparams if known else None,
            "difference": self.difference,
            "latency_s": self.latency.seconds if self.latency else None,
        }
        for kind, timings in (("forward", self.forward), ("training", self.training)):
            for timing in timings:
                row[f"{kind}_images_per_s_at_{timing.batch}"] = timing.images_per_s
                row[f"{kind}_peak_bytes_at_{timing.batch}"] = timing.peak_bytes
        row["notes"] = "; ".join(self.notes)
        return row


def measure_model(
    model: Model[Any],
    request: CostRequest,
    rows: Sequence[ReportedRow],
    tell: Callable[[str], None] = lambda what: None,
) -> ModelCost:
    """Count `model` and time it on `request.device`; `tell` hears what is being done.

    Raises BenchError if the network cannot be built at any size near the one asked for.
    """
    tell("counting")
    net, context, notes = _build_near(model, request)
    cost = measure(net, context.size)
    notes += cost.notes
    larger, _ = _build(model, IMAGENET_CLASSES, context.size)
    convention = None
    if published.can_count():
        try:
            convention = published.count(net, context.size)
        except BenchError as error:
            notes.append(str(error))
    latency, forward, training = _time(net, context, request, tell)
    return ModelCost(
        model=model.name,
        size=context.size,
        classes=request.classes,
        cost=cost,
        params_imagenet=sum(p.numel() for p in larger.parameters()),
        convention=convention,
        published=published.figures(rows, model.published_as),
        latency=latency,
        forward=forward,
        training=training,
        notes=(*notes, *([model.caution] if model.caution else [])),
    )


def _build_near(model: Model[Any], request: CostRequest) -> tuple[nn.Module, Context, list[str]]:
    try:
        return *_build(model, request.classes, request.size), []
    except SizeError as error:
        note = f"at {error.nearest} pixels, because it cannot take {request.size}"
        return *_build(model, request.classes, error.nearest), [note]


def _build(model: Model[Any], classes: int, size: int) -> tuple[nn.Module, Context]:
    params = model.params()
    context = Context(
        classes=tuple(map(str, range(classes))), size=size, normalization=model.normalization(params)
    )
    return model.build(params, context), context


def _time(
    net: nn.Module, context: Context, request: CostRequest, tell: Callable[[str], None]
) -> tuple[Timing | None, tuple[Timing, ...], tuple[Timing, ...]]:
    if not request.batches:
        return None, (), ()
    from bench.engine import speed
    from bench.engine.device import check_device

    device = check_device(request.device)
    tell("timing one image")
    latency = speed.time_forward(net, context.size, 1, device, request.seconds)
    forward: list[Timing] = []
    for batch in request.batches:
        tell(f"timing batches of {batch}")
        forward.append(speed.time_forward(net, context.size, batch, device, request.seconds))
    training: list[Timing] = []
    for batch in request.batches if request.train else ():
        tell(f"timing training steps of {batch}")
        training.append(speed.time_training(net, context, batch, device, request.seconds))
    return latency, tuple(forward), tuple(training)
