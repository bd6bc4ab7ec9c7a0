"""Trackers, which are told of a study's life while it runs, and the events that they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.interfaces.component import Component, P

Setting = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class TrackedUnit:
    """A unit, as trackers know it.

    Attributes:
        key: its identity: what has the same key predicts the same.
        name: what the plan calls it ("convnext_tiny.egmae.r0"; after the name of its data set, where a study
            has several).
        kind: "pretrain", "run" or "ensemble".
        dataset: its name.
        model: its name; of an ensemble, those of its members.
        method: strategy or ensemble, as tables call it.
        round: from 0.
        settings: what it is made with, flat: {"finetune.epochs": 15, "strategy.patch": 16}. What is at its
            default is there too, except parameters of components.
        record: the folder where its record is, or will be.
        done: whether it was done before this study began.
    """

    key: str
    name: str
    kind: str
    dataset: str
    model: str
    method: str
    round: int
    settings: Mapping[str, Setting] = field(default_factory=dict)
    record: Path
    done: bool = False


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened.

    Attributes:
        time: when, in seconds since 1970 (UTC).
    """

    time: float


def _nothing(unit: TrackedUnit) -> Iterable[Event]:
    """No events."""
    return ()


@dataclass(frozen=True, kw_only=True)
class StudyBegan(Event):
    """A command begins to work through a study, or goes on with it.

    Attributes:
        name: identity of the study: the same when it goes on ("busi.1a2b3c4d", as its log is called).
        title: for people ("busi: egmae, imagenet").
        settings: protocol, data sets, models, strategies, ensembles, and what was declared.
        units: all of them, in the order of work; those that are `done` have no events of their own.
        results: the results folder.
        replay: gives the events of a unit that was done before, from its record, for a tracker that finds
            that it has missed them. The times of their epochs are not known.
    """

    name: str
    title: str
    settings: Mapping[str, Setting]
    units: tuple[TrackedUnit, ...]
    results: Path
    replay: Callable[[TrackedUnit], Iterable[Event]] = field(default=_nothing, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class UnitBegan(Event):
    """A unit is at work. Of one that is tried again, there is another one of these.

    Attributes:
        unit: the unit.
    """

    unit: TrackedUnit


@dataclass(frozen=True, kw_only=True)
class EpochEnded(Event):
    """An epoch of a training is over. A training that starts again, with less memory, begins at 1 again.

    Attributes:
        unit: the unit.
        stage: "pretrain" or "fine-tune".
        epoch: from 1.
        epochs: of this training.
        loss: mean over the epoch's images.
        validation_accuracy: after it, where weights are chosen by it.
        images_per_s: of the epoch, without validation; None if no step of it was done here.
        resumed: whether the training went on from a checkpoint.
    """

    unit: TrackedUnit
    stage: str
    epoch: int
    epochs: int
    loss: float
    validation_accuracy: float | None = None
    images_per_s: float | None = None
    resumed: bool = False


@dataclass(frozen=True, kw_only=True)
class UnitDone(Event):
    """A unit is done and its record is stored.

    Attributes:
        unit: the unit; its `record` folder has record.json, and predictions.parquet or an encoder.
        seconds: that it took here; 0 if another process did it.
        scores: of the test images, by metric, as tables have it; empty for a pretraining.
    """

    unit: TrackedUnit
    seconds: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class UnitFailed(Event):
    """A unit is not done.

    Attributes:
        unit: the unit.
        status: "failed", or "blocked" where what it needs has failed.
        reason: why, in a line.
        seconds: that it took here.
    """

    unit: TrackedUnit
    status: Literal["failed", "blocked"]
    reason: str
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StudyEnded(Event):
    """The command is through, or was stopped. After `with`'s end no event comes.

    Attributes:
        status: "done" if all units are; "failed" if some are not; "interrupted" by a signal or an error: the
            same command goes on from there.
        done: units that are done, those of before included.
        failed: units that failed or are blocked.
        left: units that are neither.
    """

    status: Literal["done", "failed", "interrupted"]
    done: int
    failed: int
    left: int


Tell = Callable[[Event], None]
"""Receives every event after `StudyBegan`, one after the other."""


@dataclass(frozen=True, kw_only=True)
class Tracker(Component[P]):
    """Something that follows a study while it runs, or keeps what is said of it elsewhere.

    `with open(study, params) as tell:` surrounds the study, in a thread of the command's process that belongs
    to this tracker alone; `tell(event)` is called in that thread too. What it raises, or a call that takes
    longer than a minute, ends the tracker with one warning, and never the study. Its parameters are set like
    those of every component (`--set tracker.NAME.KEY=value`) and are part of no key.

    Attributes:
        open: gives a context manager, whose value receives the events. It is left with the error if `tell`
            has raised one.
        check: called, if given, before anything is done for the study: raises ConfigError for what can be
            known to fail, such as a package that is not installed.
    """

    open: Callable[[StudyBegan, P], AbstractContextManager[Tell]]
    check: Callable[[P], None] | None = None
