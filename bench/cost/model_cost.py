"""The cost of one model: parameters, operations by two conventions, published figures, measured speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.cost import published
from bench.cost.count import count_cost
from bench.cost.published import PublishedCost
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
    """What to count and time."""

    classes: int
    size: int  # side of the square image, pixels
    batches: tuple[int, ...]  # images per timed batch; if empty, nothing is timed
    train: bool  # time training steps too
    device: str
    seconds: float = 1.0  # that each timing takes at least


@dataclass(frozen=True)
class ModelCost:
    """The costs of one model. A figure that could not be determined is None, and `notes` say why.

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
        notes: what could not be determined, and why.
    """

    model: str
    size: int
    classes: int
    cost: Cost
    params_imagenet: int
    convention: int | None
    published: PublishedCost | None
    latency: Timing | None
    forward: tuple[Timing, ...]
    training: tuple[Timing, ...]
    notes: tuple[str, ...]

    @property
    def difference(self) -> float | None:
        """(convention - published) / published; None for an image size that is not published."""
        published_gmacs = self.published.gmacs if self.published else None
        if self.convention is None or not published_gmacs or self.size != published.SIZE:
            return None
        return self.convention / 1e9 / published_gmacs - 1

    @property
    def flat(self) -> dict[str, Any]:
        """The costs as one line of a csv file; the names hold the units."""
        row = {
            "model": self.model,
            "size": self.size,
            "classes": self.classes,
            "params": self.cost.params,
            "params_1000_classes": self.params_imagenet,
            "macs": self.cost.macs,
            "not_counted_share": self.cost.skipped_share,
            "macs_by_ptflops": self.convention,
            "published_gmacs": self.published.gmacs if self.published else None,
            "published_mparams": self.published.mparams if self.published else None,
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
    model: Model,
    request: CostRequest,
    rows: Sequence[ReportedRow],
    report_stage: Callable[[str], None] = lambda stage: None,
) -> ModelCost:
    """Count `model` and time it on `request.device`. `rows` are the published ones.

    Raises BenchError if the network cannot be built at any size near the one asked for.
    """
    report_stage("counting")
    net, context, notes = _build_near(model, request)
    cost = count_cost(net, context.size)
    notes += cost.notes
    with_imagenet_classes, _ = _build(model, IMAGENET_CLASSES, context.size)
    convention = None
    if published.has_ptflops():
        try:
            convention = published.count_by_ptflops(net, context.size)
        except BenchError as error:
            notes.append(str(error))
    latency, forward, training = _time(net, context, request, report_stage)
    return ModelCost(
        model=model.name,
        size=context.size,
        classes=request.classes,
        cost=cost,
        params_imagenet=sum(p.numel() for p in with_imagenet_classes.parameters()),
        convention=convention,
        published=published.published_cost(rows, model.published_as),
        latency=latency,
        forward=forward,
        training=training,
        notes=(*notes, *([model.caution] if model.caution else [])),
    )


def _build_near(model: Model, request: CostRequest) -> tuple[nn.Module, Context, list[str]]:
    """The network at the requested size, or at the nearest possible one, with a note about that."""
    try:
        return *_build(model, request.classes, request.size), []
    except SizeError as error:
        note = f"at {error.nearest} pixels, because it cannot take {request.size}"
        return *_build(model, request.classes, error.nearest), [note]


def _build(model: Model, classes: int, size: int) -> tuple[nn.Module, Context]:
    params = model.params()
    context = Context(
        classes=tuple(map(str, range(classes))), size=size, normalization=model.normalization(params)
    )
    return model.build(params, context), context


def _time(
    net: nn.Module, context: Context, request: CostRequest, report_stage: Callable[[str], None]
) -> tuple[Timing | None, tuple[Timing, ...], tuple[Timing, ...]]:
    """Latency of one image, and timings of forward passes and of training steps for each batch."""
    if not request.batches:
        return None, (), ()
    from bench.engine import speed
    from bench.engine.device import check_device

    device = check_device(request.device)
    report_stage("timing one image")
    latency = speed.time_forward(net, context.size, 1, device, request.seconds)
    forward: list[Timing] = []
    for batch in request.batches:
        report_stage(f"timing batches of {batch}")
        forward.append(speed.time_forward(net, context.size, batch, device, request.seconds))
    training: list[Timing] = []
    for batch in request.batches if request.train else ():
        report_stage(f"timing training steps of {batch}")
        training.append(speed.time_training(net, context, batch, device, request.seconds))
    return latency, tuple(forward), tuple(training)
