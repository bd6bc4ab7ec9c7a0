"""What a unit will cost in time: from past records of the same work, else from a few timed steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.execution.prepare import prepare, pretraining_inputs, short_sides, training_of
from bench.execution.session import Session
from bench.identity import to_json
from bench.results.record import Record
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec

if TYPE_CHECKING:
    import torch

    from bench.engine.batches import Batch
    from bench.engine.step import Step

TIMED = 3  # measurements, of which the median counts
TOGETHER = 10  # steps of each on a GPU, which works on one while the next is handed out


class Expected(NamedTuple):
    """Seconds a unit will take, and what the figure rests on."""

    seconds: float
    basis: str  # "records" or "probe"


class Estimator:
    """Seconds per step, by kind of work; each is measured once."""

    def __init__(self, records: Iterable[Record], session: Session, may_measure: bool = True) -> None:
        self.session = session
        self.may_measure = may_measure
        self.known: dict[str, Expected] = {}
        times: dict[str, list[float]] = {}
        for record in records:
            timings = record.timings
            if timings is None or not timings.steps or isinstance(record.spec, EnsembleSpec):
                continue
            if record.provenance.hardware == session.hardware_of(record.spec):  # not another machine's
                work = _kind_of_work(record.spec)
                times.setdefault(work, []).append(timings.seconds / timings.steps)
        for work, seconds in times.items():
            self.known[work] = Expected(statistics.median(seconds), "records")

    def expect(self, spec: UnitSpec) -> Expected | None:
        """Expected wall time of one training unit; None for an ensemble, which takes none to speak of,
        and where nothing is known and measuring is off. Raises BenchError where the network cannot be
        built."""
        if isinstance(spec, EnsembleSpec):
            return None
        work = _kind_of_work(spec)
        if work not in self.known:
            if not self.may_measure:
                return None
            self.known[work] = Expected(time_step(spec, self.session), "probe")
        step = self.known[work]
        return step._replace(seconds=step.seconds * self._steps(spec))

    def _steps(self, spec: PretrainSpec | RunSpec) -> int:
        from bench.data.splits.labelled import labelled_images
        from bench.data.splits.manifest import load_split
        from bench.engine.batches import steps_per_epoch

        images = self.session.images(spec.dataset, short_sides(spec))
        split = load_split(self.session.environment.results, images, spec.split)
        if isinstance(spec, PretrainSpec):
            seen = len(pretraining_inputs(spec, images, split, self.session)[1])
            return spec.pretrain.epochs * steps_per_epoch(seen, spec.pretrain.batch)
        seen = len(labelled_images(split, spec.finetune.share, spec.seed))
        return spec.finetune.epochs * steps_per_epoch(seen, spec.finetune.batch)


def time_step(spec: PretrainSpec | RunSpec, session: Session) -> float:
    """Seconds of a training step, measured on the unit's own network and images, as a run does it: on a GPU
    captured, in the fastest memory format, and handed out without waiting for the step before."""
    from bench.engine.gpu.graph import WARMUP
    from bench.engine.job import Job
    from bench.engine.step import make_step
    from bench.interfaces.executor import silent

    setup = prepare(spec, session)
    training = training_of(spec, setup, session)
    environment = session.environment
    job = Job(
        spec.label,
        training.stage,
        0,
        setup.device,
        environment.scratch / "checkpoints" / "probe.pt",  # named by the job, never written
        silent,
        spec.precision,
        memory_formats=environment.scratch / "memory_formats",
        graph=environment.graph,
        compile=environment.compile,
    )
    training.module.train()
    step = make_step(training.module, training.inputs, training.budget, job)
    on_gpu = setup.device.type == "cuda"
    try:
        epochs = (step.draw(partial(training.inputs.epoch, seed)) for seed in count())
        batches = _of_one_size(chain.from_iterable(epochs))
        # On a GPU the first steps are ordinary ones, and then the step is captured.
        _seconds(step, islice(batches, WARMUP + 1 if on_gpu else 1), setup.device)
        together = TOGETHER if on_gpu else 1
        times = [_seconds(step, islice(batches, together), setup.device) for _ in range(TIMED)]
    finally:
        step.close()
    return statistics.median(times) / together


def _of_one_size(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Those with as many images as the first: the last of an epoch may be smaller, and captured anew."""
    images = None
    for batch in batches:
        images = images or len(batch[0])
        if len(batch[0]) == images:
            yield batch


def _seconds(step: Step, batches: Iterable[Batch], device: torch.device) -> float:
    """Seconds of steps on all of `batches`."""
    import torch

    started = time.perf_counter()
    for batch in batches:
        step(batch, 0.0)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _kind_of_work(spec: PretrainSpec | RunSpec) -> str:
    """What decides the time of a step: stage, model, image size, batch, and the objective if pretraining."""
    work: dict[str, Any] = {"kind": spec.kind, "model": to_json(spec.model), "size": spec.size}
    work["precision"] = spec.precision
    if isinstance(spec, PretrainSpec):
        work |= {"strategy": to_json(spec.strategy), "batch": spec.pretrain.batch}
    else:
        work["batch"] = spec.finetune.batch
    return repr(sorted(work.items()))
