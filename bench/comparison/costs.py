"""What the rows of a table cost: training, predicting, memory, energy, as their records say."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from bench.comparison.methods import Method
from bench.comparison.scored import ScoredUnit
from bench.interfaces.rows import Column
from bench.results.record import Cost, Record
from bench.study.spec import EnsembleSpec, RunSpec

COLUMNS = (
    Column(name="train_seconds", title="Train s", higher_is_better=False),
    Column(name="images_per_second", title="Images/s"),
    Column(name="latency_ms", title="Latency ms", higher_is_better=False),
    Column(name="peak_gib", title="Peak GiB", higher_is_better=False),
    Column(name="energy_wh", title="Energy Wh", higher_is_better=False),
)

Records = Mapping[str, Record]
"""Of finished units, by their key."""


class Trained(NamedTuple):
    """The trainings behind one unit: its pretraining and fine-tuning, of an ensemble those of all members."""

    pretrainings: Sequence[Record]
    finetunings: Sequence[Record]

    @property
    def all(self) -> Sequence[Record]:
        return (*self.pretrainings, *self.finetunings)


def costs_of(method: Method, records: Records) -> dict[str, float | None]:
    """Means over rounds by the names of COLUMNS; None where a training of a round was not measured.

    Training seconds and energy are those of pretraining and fine-tuning together, and of all members of an
    ensemble, whose latency is the sum of theirs; images a second are the fine-tuning's.
    """
    rounds = [_trained(unit, records) for unit in method.done.values()]
    if not rounds or any(each is None for each in rounds):
        return dict.fromkeys(column.name for column in COLUMNS)
    each = [trained for trained in rounds if trained is not None]
    return {
        "train_seconds": _mean(each, lambda t: _sum(_seconds(r) for r in t.all)),
        "images_per_second": _mean(each, lambda t: _least(_images(r) for r in t.finetunings)),
        "latency_ms": _mean(each, lambda t: _sum(_latency(r) for r in t.finetunings)),
        "peak_gib": _mean(each, lambda t: _most(_peak(r) for r in t.all)),
        "energy_wh": _mean(each, lambda t: _sum(_energy(r) for r in t.all)),
    }


def counted(
    done: Sequence[ScoredUnit], records: Records, count: Callable[[Cost], int | None], scale: float
) -> float | None:
    """A count of the network: of a run, what its record says; of an ensemble, the sum over its members. None
    where a record has none."""
    if not done:
        return None
    spec = done[0].spec
    members = spec.members if isinstance(spec, EnsembleSpec) else (spec,)
    costs = [record.cost if (record := records.get(member.key)) else None for member in members]
    counts = [count(cost) if cost else None for cost in costs]
    known = [value / scale for value in counts if value is not None]
    return sum(known) if len(known) == len(counts) else None


def cost_lines(methods: Sequence[Method], records: Records) -> list[str]:
    """What must be said about these figures: on what they were measured, and beside what."""
    trained = [t for m in methods for u in m.done.values() if (t := _trained(u, records))]
    used = [record for each in trained for record in each.all]
    if not used:
        return []
    machines = dict.fromkeys(_hardware(record) for record in used)
    beside = max((record.usage.at_once or 1 for record in used if record.usage), default=1)
    text = (
        "Train s: of pretraining and fine-tuning, mean of the rounds; images a second and latency (one "
        f"image) of the fine-tuned network; on {'; '.join(filter(None, machines)) or 'unknown hardware'}"
    )
    if beside > 1:
        text += f", up to {beside} units at once, which slows each"
    lines = [f"{text}."]
    if sources := sorted({r.usage.energy_source for r in used if r.usage and r.usage.energy_source}):
        lines.append(f"Energy: counted by {', '.join(sources)}, of all that worked there meanwhile.")
    return lines


def _trained(unit: ScoredUnit, records: Records) -> Trained | None:
    """None where the record of a training is not there."""
    spec = unit.spec
    runs = spec.members if isinstance(spec, EnsembleSpec) else (spec,)
    pretrainings, finetunings = [], []
    for run in runs:
        record = records.get(run.key)
        if record is None or not isinstance(run, RunSpec):
            return None
        finetunings.append(record)
        if run.start:
            start = records.get(run.start.key)
            if start is None:
                return None
            pretrainings.append(start)
    return Trained(pretrainings, finetunings)


def _seconds(record: Record) -> float | None:
    """Of a training that was not resumed: the record times the process that finished it."""
    timings = record.timings
    return timings.seconds if timings and not timings.resumed_from_epoch else None


def _images(record: Record) -> float | None:
    return record.usage.images_per_second if record.usage else None


def _latency(record: Record) -> float | None:
    latency = record.usage.latency if record.usage else None
    return None if latency is None else 1000 * latency


def _peak(record: Record) -> float | None:
    peak = record.usage.peak_memory if record.usage else None
    return None if peak is None else peak / 2**30


def _energy(record: Record) -> float | None:
    energy = record.usage.energy if record.usage else None
    return None if energy is None else energy / 3600


def _hardware(record: Record) -> str:
    hardware = record.provenance.hardware
    name = hardware.get("gpu") if record.provenance.device.startswith("cuda") else hardware.get("cpu")
    return ", ".join(filter(None, [str(name or ""), record.provenance.arithmetic.partition(", ")[2]]))


def _mean(rounds: Sequence[Trained], figure: Callable[[Trained], float | None]) -> float | None:
    values = [figure(each) for each in rounds]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _sum(values: Iterable[float | None]) -> float | None:
    return _known(values, sum)


def _least(values: Iterable[float | None]) -> float | None:
    return _known(values, min)


def _most(values: Iterable[float | None]) -> float | None:
    return _known(values, max)


def _known(values: Iterable[float | None], combine: Callable[[list[float]], float]) -> float | None:
    """None where one of the values is."""
    given = list(values)
    known = [value for value in given if value is not None]
    return combine(known) if known and len(known) == len(given) else None
