"""What a unit will cost in time: from past records of the same work, else from a few probe steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from itertools import chain, count, islice
from typing import Any, NamedTuple

from bench import provenance
from bench.engine.batches import steps_per_epoch
from bench.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec, to_json
from bench.store import Record
from bench.types import Workplace

PROBE_STEPS = 3  # timed, after one to warm up


class Expected(NamedTuple):
    """Seconds a unit will take, and what the figure rests on."""

    seconds: float
    basis: str  # "records" or "probe"


class Estimator:
    """Seconds a step, by kind of work; each is found once."""

    def __init__(self, records: Iterable[Record], workplace: Workplace, may_probe: bool = True) -> None:
        self.workplace = workplace
        self.may_probe = may_probe
        self.known: dict[str, Expected] = {}
        here = provenance.hardware(workplace.device) | {"threads": workplace.threads}
        times: dict[str, list[float]] = {}
        for record in records:
            timings = record.content.get("timings", {})
            if isinstance(record.spec, EnsembleSpec) or not timings.get("steps"):
                continue
            if record.content.get("provenance", {}).get("hardware") == here:
                work = _kind_of_work(record.spec)
                times.setdefault(work, []).append(timings["seconds"] / timings["steps"])
        for work, seconds in times.items():
            self.known[work] = Expected(statistics.median(seconds), "records")

    def expect(self, spec: UnitSpec) -> Expected | None:
        """Expected wall time of one training unit; None for an ensemble, which takes none to speak of,
        and where nothing is known and probing is off. Raises BenchError where the network cannot be built."""
        if isinstance(spec, EnsembleSpec):
            return None
        work = _kind_of_work(spec)
        if work not in self.known:
            if not self.may_probe:
                return None
            self.known[work] = Expected(probe(spec, self.workplace), "probe")
        step = self.known[work]
        return step._replace(seconds=step.seconds * self._steps(spec))

    def _steps(self, spec: PretrainSpec | RunSpec) -> int:
        from bench.data import splits
        from bench.workbench import open_images, pretraining_images, shorts

        images = open_images(spec.dataset, self.workplace.data, self.workplace.results, shorts(spec))
        split = splits.load(self.workplace.results, images, spec.split)
        if isinstance(spec, PretrainSpec):
            images_seen = len(pretraining_images(split, spec.pretrain.data))
            return spec.pretrain.epochs * steps_per_epoch(images_seen, spec.pretrain.batch)
        return spec.finetune.epochs * steps_per_epoch(len(split.indices("train")), spec.finetune.batch)


def probe(spec: PretrainSpec | RunSpec, workplace: Workplace) -> float:
    """Seconds a training step, measured on the unit's own network and images."""
    import torch

    from bench.engine.graph import WARMUP
    from bench.engine.loop import Job, make_step
    from bench.workbench import finetuning, pretraining, set_up

    desk = set_up(spec, workplace)
    training = pretraining(spec, desk) if isinstance(spec, PretrainSpec) else finetuning(spec, desk)
    nowhere = workplace.scratch / "checkpoints" / "probe.pt"  # named by the job, never written
    job = Job(spec.label, training.stage, 0, desk.device, nowhere, lambda news: None, spec.precision)
    training.module.train()
    step = make_step(training.module, training.feed, training.budget, job)
    # On a GPU the first steps are ordinary ones, and then the step is captured.
    before = 1 if desk.device.type == "cpu" else WARMUP + 1
    times = []
    batches = chain.from_iterable(map(training.feed.epoch, count()))
    for batch in islice(batches, PROBE_STEPS + before):
        started = time.perf_counter()
        step(batch, 0.0)
        if desk.device.type == "cuda":
            torch.cuda.synchronize(desk.device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[before:])


def _kind_of_work(spec: PretrainSpec | RunSpec) -> str:
    """What decides the time of a step: stage, model, image size, batch, and the objective if pretraining."""
    work: dict[str, Any] = {"kind": spec.kind, "model": to_json(spec.model), "size": spec.size}
    work["precision"] = spec.precision
    if isinstance(spec, PretrainSpec):
        work |= {"strategy": to_json(spec.strategy), "batch": spec.pretrain.batch}
    else:
        work["batch"] = spec.finetune.batch
    return repr(sorted(work.items()))
