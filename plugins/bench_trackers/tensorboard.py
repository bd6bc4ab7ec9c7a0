"""Curves in TensorBoard: a run a unit, written by TensorBoard's own library, so that torch is not loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import EpochEnded, Event, StudyBegan, Tell, TrackedUnit, Tracker, UnitBegan, UnitDone, UnitFailed
from bench_trackers.extras import curves_of, file_name, require, tell_missed

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

DONE = ".done"  # a file in the folder of a unit of which all has been written


@dataclass(frozen=True)
class TensorboardParams:
    """Parameters of the tracker `tensorboard`.

    Attributes:
        folder: where runs are written, one folder for each unit; `tensorboard --logdir` takes it.
            The folder tensorboard of the results folder unless given.
    """

    folder: str = ""


def check(params: TensorboardParams) -> None:
    """Raises ConfigError where TensorBoard is not installed."""
    require("tensorboard", "tensorboard")


@contextmanager
def follow(study: StudyBegan, params: TensorboardParams) -> Iterator[Tell]:
    """Write the event files of a study's units. Those that were done before without it are written too."""
    folder = Path(params.folder) if params.folder else study.results / "tensorboard"
    runs = _Runs(folder / file_name(study.name))
    try:
        tell_missed(study, runs.has, runs.tell)
        yield runs.tell
    finally:
        runs.close()


class _Runs:
    """The open event files, by the key of their units."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open: dict[str, EventFileWriter] = {}

    def folder_of(self, unit: TrackedUnit) -> Path:
        return self.folder / f"{file_name(unit.name)}.{unit.kind}"

    def has(self, unit: TrackedUnit) -> bool:
        """Whether all of this unit has been written."""
        return (self.folder_of(unit) / DONE).exists()

    def tell(self, event: Event) -> None:
        if isinstance(event, UnitBegan):
            self._writer(event.unit)
        elif isinstance(event, EpochEnded):
            for name, value in curves_of(event).items():
                self._write(event.unit, scalar(name, value), event.time, event.epoch)
            self._writer(event.unit).flush()
        elif isinstance(event, (UnitDone, UnitFailed)):
            if isinstance(event, UnitDone):
                self._finish(event)
            self._writer(event.unit).close()
            del self.open[event.unit.key]
            if isinstance(event, UnitDone):
                (self.folder_of(event.unit) / DONE).touch()

    def _finish(self, event: UnitDone) -> None:
        """Scores, and what TensorBoard's table of hyperparameters shows."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        unit = event.unit
        for name, value in event.scores.items():
            self._write(unit, scalar(f"test/{name}", value), event.time, 0)
        chosen = {"dataset": unit.dataset, "model": unit.model, "method": unit.method, "round": unit.round}
        settings = hparams_pb({**unit.settings, **chosen}, trial_id=unit.key, start_time_secs=event.time)
        self._write(unit, settings, event.time, 0)

    def _write(self, unit: TrackedUnit, summary: Summary, time: float, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Written

        self._writer(unit).add_event(Written(wall_time=time, step=step, summary=summary))

    def _writer(self, unit: TrackedUnit) -> EventFileWriter:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if unit.key not in self.open:
            folder = self.folder_of(unit)
            folder.mkdir(parents=True, exist_ok=True)
            self.open[unit.key] = EventFileWriter(str(folder))
        return self.open[unit.key]

    def close(self) -> None:
        """What was interrupted stays as it is."""
        for writer in self.open.values():
            writer.close()


def scalar(tag: str, value: float) -> Summary:
    """One point of a curve."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


TENSORBOARD = Tracker(
    name="tensorboard",
    about="curves, scores and settings of each unit, for TensorBoard",
    params=TensorboardParams,
    open=follow,
    check=check,
)
