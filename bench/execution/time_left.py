"""How long a study will still take, from what its units took and how far those at work are."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from bench.interfaces.executor import Outcome
from bench.study.spec import EnsembleSpec, PretrainSpec, UnitSpec

LONGER = 0.5  # of a stage: how much of it the pace is taken from, so that a pace that has changed is seen
SHORTEST = 60.0  # seconds; and at least so much of it, so that one epoch's validation does not matter
MARKS = 100  # kept of a stage

Likeness = tuple[str, ...]


class Pace:
    """How fast one stage is, since it was first heard of: what a checkpoint has saved took no time."""

    def __init__(self, now: float, steps: int) -> None:
        self.began = self.now = now
        self.steps = steps
        self.marks = [(now, steps)]

    def add(self, now: float, steps: int) -> None:
        """So many steps are done."""
        self.now, self.steps = now, steps
        age = now - self.began
        if now - self.marks[-1][0] < max(1.0, age / MARKS):
            return
        self.marks.append((now, steps))
        since = now - max(SHORTEST, LONGER * age)
        while self.marks[1][0] <= since:
            del self.marks[0]

    @property
    def seconds_per_step(self) -> float | None:
        """None until a step has been seen to take its time."""
        then, steps = self.marks[0]
        done, seconds = self.steps - steps, self.now - then
        return seconds / done if done > 0 < seconds else None

    def left(self, total: int, now: float) -> float | None:
        """Seconds until `total` steps are done."""
        each = self.seconds_per_step
        return None if each is None else max(0.0, (total - self.steps) * each - (now - self.now))

    def whole(self, total: int) -> float | None:
        """Seconds that `total` steps take."""
        each = self.seconds_per_step
        return None if each is None else total * each


class AtWork(NamedTuple):
    """A unit at work, in seconds."""

    elapsed: float  # since it was first heard of
    left: float | None = None  # of its training; None if it has not come that far
    whole: float | None = None  # that all of its training takes


class StudyTime:
    """Expects of each unit what those most like it took per epoch: of the same strategy, else of the same
    model, else of the same kind, else of any."""

    def __init__(self, units: Iterable[UnitSpec]) -> None:
        self.to_do = {unit.key: _Job.of(unit) for unit in units}  # in the order of work
        self.took: dict[Likeness, list[float]] = defaultdict(list)  # seconds per epoch

    def ended(self, outcome: Outcome, seconds: float) -> None:
        """A unit has ended; all of it takes so many seconds, or 0 if that is not known."""
        job = self.to_do.pop(outcome.unit.key, None)
        if job is not None and outcome.status == "done" and seconds:
            _learn(self.took, job, seconds)

    def left(self, at_work: Mapping[str, AtWork], at_once: int) -> float | None:
        """Seconds until all have ended, with so many at once; None while there is nothing to go by."""
        seen: dict[Likeness, list[float]] = defaultdict(list)
        for key, unit in at_work.items():
            if key in self.to_do and unit.whole:
                _learn(seen, self.to_do[key], unit.whole)
        known: dict[Likeness, float | None] = {}
        seconds: dict[str, float] = {}
        for key, job in self.to_do.items():
            unit = at_work.get(key, AtWork(0.0))
            if job.alike[0] not in known:
                known[job.alike[0]] = self._per_epoch(job, seen)
            each = known[job.alike[0]]
            if unit.left is not None:
                seconds[key] = unit.left
            elif each is not None:
                seconds[key] = max(0.0, each * job.epochs - unit.elapsed)
            else:
                return None
        return makespan(seconds, {key: job.needs for key, job in self.to_do.items()}, list(at_work), at_once)

    def _per_epoch(self, job: _Job, seen: Mapping[Likeness, Sequence[float]]) -> float | None:
        for likeness in job.alike:
            values = [*self.took.get(likeness, ()), *seen.get(likeness, ())]
            if values:
                return statistics.fmean(values)
        return 0.0 if job.is_ensemble else None  # an ensemble takes none to speak of


def makespan(
    seconds: Mapping[str, float], needs: Mapping[str, Sequence[str]], at_work: Sequence[str], at_once: int
) -> float:
    """Seconds until the last of some units ends, if up to `at_once` are at work, those in `at_work` from now.

    `seconds` are those that each still takes, in the order of work; one starts when there is room and what it
    `needs` of the others has ended.
    """
    keys = list(seconds)
    missing = {key: sum(need in seconds for need in needs[key]) for key in keys}
    dependents: dict[str, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        for need in needs[key]:
            dependents[need].append(i)
    started = {key for key in at_work if key in seconds}
    ends = [(seconds[key], key) for key in started]
    heapify(ends)
    ready = [i for i, key in enumerate(keys) if not missing[key] and key not in started]  # sorted: a heap
    now = 0.0
    while ends or ready:
        while ready and (len(ends) < at_once or not ends):
            key = keys[heappop(ready)]
            heappush(ends, (now + seconds[key], key))
        now, ended = heappop(ends)
        for i in dependents[ended]:
            missing[keys[i]] -= 1
            if not missing[keys[i]] and keys[i] not in started:
                heappush(ready, i)
    return now


class _Job(NamedTuple):
    """What counts of a unit here."""

    needs: tuple[str, ...]
    epochs: float  # over all training images; 1 for an ensemble
    alike: tuple[Likeness, ...]  # what it shares with others, from the most to the least
    is_ensemble: bool

    @classmethod
    def of(cls, unit: UnitSpec) -> _Job:
        needs = tuple(need.key for need in unit.needs)
        if isinstance(unit, EnsembleSpec):
            return cls(needs, 1, ((unit.kind,),), is_ensemble=True)
        if isinstance(unit, PretrainSpec):
            epochs: float = unit.pretrain.epochs
        else:
            epochs = unit.finetune.epochs * unit.finetune.share
        model, data = f"model {unit.model.name}", f"data {unit.dataset.name}"
        strategy = (unit.kind, data, model, unit.strategy.name)
        return cls(
            needs, epochs, (strategy, (unit.kind, data, model), (unit.kind, model), (unit.kind,), ()), False
        )


def _learn(into: dict[Likeness, list[float]], job: _Job, seconds: float) -> None:
    for likeness in job.alike:
        into[likeness].append(seconds / job.epochs)
