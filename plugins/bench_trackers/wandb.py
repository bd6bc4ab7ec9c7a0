"""Runs of Weights & Biases: one for each unit, grouped by study. Offline unless `mode` says otherwise.

Offline, nothing leaves the machine: runs lie in a folder, from where `wandb sync` can send them. Nobody is
asked to log in: without a key, `mode=online` is refused before anything begins.
"""

from __future__ import annotations

import netrc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench import (
    ConfigError,
    EpochEnded,
    Event,
    StudyBegan,
    Tell,
    TrackedUnit,
    Tracker,
    UnitBegan,
    UnitDone,
    UnitFailed,
)
from bench_trackers.extras import curves_of, file_name, require, tell_missed

if TYPE_CHECKING:
    from wandb import Run

HOST = "api.wandb.ai"
DONE = ".done"  # a file in the folder of a run of which all has been written


@dataclass(frozen=True)
class WandbParams:
    """Parameters of the tracker `wandb`.

    Attributes:
        mode: "offline" keeps runs in a folder; "online" sends them, for which wandb must know a key.
        project: what runs are filed under.
        entity: the user or team; that of the key unless given.
        folder: where runs are kept; the results folder unless given. wandb makes a folder wandb in it.
    """

    mode: Literal["offline", "online"] = "offline"
    project: str = "bench"
    entity: str = ""
    folder: str = ""


def check(params: WandbParams) -> None:
    """Raises ConfigError where wandb is not installed, or should go online and has no key."""
    require("wandb", "wandb")
    if params.mode == "online" and not (os.environ.get("WANDB_API_KEY") or _has_key()):
        raise ConfigError(
            "--track wandb: mode=online, but wandb knows no key; run `wandb login`, set $WANDB_API_KEY, or "
            "leave mode at offline"
        )


def _has_key() -> bool:
    try:
        return netrc.netrc().authenticators(os.environ.get("WANDB_HOST", HOST)) is not None
    except (OSError, netrc.NetrcParseError):
        return False


@contextmanager
def follow(study: StudyBegan, params: WandbParams) -> Iterator[Tell]:
    """Open a run for each unit as it begins; leave those that did not end as they are."""
    if params.mode == "offline":
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # which is read when wandb is loaded
    runs = _Runs(study, params)
    try:
        tell_missed(study, runs.has, runs.tell)
        yield runs.tell
    finally:
        runs.close()


class _Runs:
    """The open runs, by the key of their units."""

    def __init__(self, study: StudyBegan, params: WandbParams) -> None:
        import wandb

        self.wandb, self.study, self.params = wandb, study, params
        self.folder = Path(params.folder) if params.folder else study.results
        (self.folder / "wandb").mkdir(parents=True, exist_ok=True)
        self.open: dict[str, Run] = {}

    def has(self, unit: TrackedUnit) -> bool:
        """Whether a whole run of this unit is in the folder."""
        return any((self.folder / "wandb").glob(f"*run-*-{self._id(unit)}/{DONE}"))

    def _id(self, unit: TrackedUnit) -> str:
        return f"{unit.kind}-{unit.key}"

    def tell(self, event: Event) -> None:
        if isinstance(event, UnitBegan):
            self._begin(event.unit)
        elif isinstance(event, EpochEnded):
            self.open[event.unit.key].log({"epoch": event.epoch, **curves_of(event)})
        elif isinstance(event, UnitDone):
            self.open[event.unit.key].summary.update({f"test/{n}": v for n, v in event.scores.items()})
            folder = Path(self.open[event.unit.key].dir).parent
            self._end(event.unit, 0)
            (folder / DONE).touch()
        elif isinstance(event, UnitFailed):
            self._begin(event.unit).summary.update({"reason": event.reason})
            self._end(event.unit, 1)

    def _begin(self, unit: TrackedUnit) -> Run:
        if unit.key not in self.open:
            chosen: dict[str, Any] = {"dataset": unit.dataset, "model": unit.model, "method": unit.method}
            chosen |= {"round": unit.round, "kind": unit.kind, "study": self.study.name}
            self.open[unit.key] = self.wandb.init(
                project=self.params.project,
                entity=self.params.entity or None,
                mode=self.params.mode,
                dir=str(self.folder),
                id=self._id(unit),
                name=unit.name,
                group=file_name(self.study.name),
                job_type=unit.kind,
                config={**unit.settings, **chosen},
                resume="allow" if self.params.mode == "online" else None,
                reinit="create_new",
                settings=self._settings(),
            )
        return self.open[unit.key]

    def _settings(self) -> Any:
        """No captured output, no program code, no machine's figures: the record has what is needed."""
        return self.wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_meta=True,
        )

    def _end(self, unit: TrackedUnit, code: int) -> None:
        self.open.pop(unit.key).finish(exit_code=code)

    def close(self) -> None:
        """End the runs of units that did not end."""
        for run in self.open.values():
            run.finish(exit_code=255)
        self.open.clear()


WANDB = Tracker(
    name="wandb",
    about="a run for each unit in Weights & Biases, offline unless mode=online",
    params=WandbParams,
    open=follow,
    check=check,
)
