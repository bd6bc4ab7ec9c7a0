"""What runs on a results folder, and how far its studies are, as files there say it. Nothing is written.

No record is read but those of a few failures: a unit is done if its folder is there, so that ten thousand
cost a listing. How long ago a file was written is said by the clock of whoever looks; durations within one
are by the clock of who wrote it.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.execution.claim import STALE, claimed
from bench.execution.status_file import PLAN, VERSION, folder_of, is_this
from bench.files import host_name, read_json

SILENT = 30.0  # seconds without a writing, of which there is one every ten, after which that is said
REASONS = 20  # failures of which the record is read for its reason
UNREADABLE = (OSError, KeyError, TypeError, ValueError, AttributeError)  # removed meanwhile, or not of ours
State = Literal["at work", "silent", "gone"]


@dataclass(frozen=True, kw_only=True)
class UnitAtWork:
    """A unit, or a data set, that a command is at.

    Attributes:
        unit: its name.
        key: of the unit; empty of a data set.
        kind: "pretrain", "run" or "ensemble"; empty of a data set.
        stage: "pretrain", "fine-tune", "decode" or the like, or what it waits for.
        waits: whether it waits.
        epoch: at work, from 1; 0 in a stage without epochs.
        epochs: of the stage.
        done: steps (of this epoch) that are done.
        total: of so many; 0 if not known.
        loss: mean so far.
        images_per_s: speed.
        seconds: since it began.
        silent: seconds since it was last heard of.
    """

    unit: str
    key: str = ""
    kind: str = ""
    stage: str = ""
    waits: bool = False
    epoch: int = 0
    epochs: int = 0
    done: int = 0
    total: int = 0
    loss: float | None = None
    images_per_s: float | None = None
    seconds: float = 0.0
    silent: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A unit that failed, or is blocked by one that did."""

    unit: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """A `bench run`, or a notebook's, on this folder.

    Attributes:
        host: its machine.
        pid: its process.
        state: "silent" if it has not written for longer than it should; "gone" if its process was killed, or,
            on another machine, has not written for minutes.
        study: which one, by name.
        device: where it computes; empty while it plans.
        jobs: units at once.
        plans: whether it still prepares: decodes, audits, splits.
        seconds: since it began.
        ago: seconds since it has written, by the clock here; negative where clocks disagree.
        left: seconds until all of the study's units have ended, if it did them alone; None if not known.
        at_work: units.
        failed: units that failed or are blocked, in this command.
        failures: those, or the first hundred of them.
    """

    host: str
    pid: int
    state: State
    study: str
    device: str = ""
    jobs: int = 1
    plans: bool = False
    seconds: float = 0.0
    ago: float = 0.0
    left: float | None = None
    at_work: tuple[UnitAtWork, ...] = ()
    failed: int = 0
    failures: tuple[Failure, ...] = ()

    @property
    def runs(self) -> bool:
        return self.state != "gone"


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """How far a study is.

    Attributes:
        name: its identity, as its log is called.
        title: for people.
        units: how many there are; 0 while the first command plans it.
        done: units that are stored.
        at_work: units that a command is at now.
        failed: units that failed or are blocked, and that no command is to try again.
        to_do: all others.
        left: seconds, about, until all have ended; None where nothing runs or nothing is known.
        commands: those that work on it, and those that were killed at it.
        failures: with their reasons, at most a few.
    """

    name: str
    title: str
    units: int = 0
    done: int = 0
    at_work: int = 0
    failed: int = 0
    to_do: int = 0
    left: float | None = None
    commands: tuple[Command, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def runs(self) -> bool:
        return any(command.runs for command in self.commands)


@dataclass(frozen=True, kw_only=True)
class StaleClaim:
    """A unit whose holder is gone: the next command takes it up, from its checkpoint if it has one.

    Attributes:
        unit: its name, or its key where no plan names it.
        holder: who had it.
        seconds: since the claim was last touched, by the clock here.
        checkpoint: whether there is one.
    """

    unit: str
    holder: str
    seconds: float
    checkpoint: bool


@dataclass(frozen=True, kw_only=True)
class FolderStatus:
    """What runs on a results folder.

    Attributes:
        studies: those that run first, then by when they were last begun, the latest first.
        stale: claims whose holders are gone.
        others: stored units that no known plan has, by data set.
    """

    studies: tuple[StudyStatus, ...] = ()
    stale: tuple[StaleClaim, ...] = ()
    others: Mapping[str, int] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        return any(study.runs for study in self.studies)


def look(results: Path) -> FolderStatus:
    """What runs on a results folder now, and how far its studies are. Raises nothing: what cannot be read is
    passed over."""
    scratch = results / ".scratch"
    commands: dict[str, list[Command]] = {}
    titles: dict[str, str] = {}
    for command, title in _commands(folder_of(scratch)):
        commands.setdefault(command.study, []).append(command)
        titles[command.study] = title
    done, failed = _stored(results)
    plans = _plans(folder_of(scratch))
    studies = [_study(plan, commands.pop(plan.name, []), done, failed) for plan in plans]
    studies += [
        StudyStatus(name=name, title=titles[name], commands=tuple(those)) for name, those in commands.items()
    ]
    names = {key: name for plan in plans for key, name in plan.units.items()}
    known = set(names)
    others = Counter(dataset for key, dataset in done.items() if key not in known)
    return FolderStatus(
        studies=tuple(sorted(studies, key=lambda study: not study.runs)),  # stable
        stale=tuple(_stale(scratch, names, done)),
        others=dict(others),
    )


# --- commands ----------------------------------------------------------------------------------------


def _commands(folder: Path) -> Iterator[tuple[Command, str]]:
    """Each with the title of its study, by host and process."""
    for path in sorted(folder.glob("*.json")):
        if path.name.endswith(PLAN) or path.name.startswith("."):
            continue
        with suppress(*UNREADABLE):
            content = _content(path)
            yield _command(content, time.time() - path.stat().st_mtime), str(content["title"])


def _content(path: Path) -> Mapping[str, Any]:
    """What a file says. Raises ValueError for one that cannot be read, or of a later version."""
    content = read_json(path)
    if content is None or content["version"] > VERSION:
        raise ValueError(path)
    return content


def _command(content: Mapping[str, Any], ago: float) -> Command:
    here = content["host"] == host_name()
    gone = not is_this(content) if here else ago > STALE
    plan = content["plan"] or {}
    left = content["seconds_left"]
    state: State = "gone" if gone else "silent" if ago > SILENT else "at work"
    fields = UnitAtWork.__dataclass_fields__
    return Command(
        host=str(content["host"]),
        pid=int(content["pid"]),
        state=state,
        study=str(content["study"]),
        device=str(plan.get("device", "")),
        jobs=int(plan.get("jobs", 1)),
        plans=not plan,
        seconds=float(content["seconds"]) + max(0.0, ago),
        ago=ago,
        left=None if left is None else max(0.0, float(left) - max(0.0, ago)),
        at_work=tuple(
            UnitAtWork(**{name: unit[name] for name in fields if name in unit}) for unit in content["at_work"]
        ),
        failed=int(content["failed"]),
        failures=tuple(Failure(unit=f["unit"], reason=f["reason"]) for f in content["failures"]),
    )


# --- studies -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    name: str
    title: str
    units: Mapping[str, str]  # key -> name
    began: float


def _plans(folder: Path) -> list[_Plan]:
    """The plans that commands left, the latest first."""
    plans = []
    for path in folder.glob(f"*{PLAN}"):
        with suppress(*UNREADABLE):
            content = _content(path)
            units = {str(key): str(name) for key, _, name in content["units"]}
            plans.append(_Plan(str(content["study"]), str(content["title"]), units, path.stat().st_mtime))
    return sorted(plans, key=lambda plan: -plan.began)


def _study(
    plan: _Plan, commands: Sequence[Command], done: Mapping[str, str], failed: Mapping[str, Path]
) -> StudyStatus:
    running = [command for command in commands if command.runs]
    stored = plan.units.keys() & done.keys()
    at_work = {unit.key for command in running for unit in command.at_work if unit.key and not unit.waits} & (
        plan.units.keys() - stored
    )
    if running:  # what failed before is tried again
        failures = [failure for command in running for failure in command.failures]
        failures = list({failure.unit: failure for failure in failures}.values())
        count = max(len(failures), *(command.failed for command in running))  # one may list the first alone
    else:
        keys = [key for key in plan.units if key in failed and key not in stored]
        failures, count = [_failure(plan.units[key], failed[key]) for key in keys[:REASONS]], len(keys)
    rest = len(plan.units) - len(stored) - len(at_work) - count
    return StudyStatus(
        name=plan.name,
        title=plan.title,
        units=len(plan.units),
        done=len(stored),
        at_work=len(at_work),
        failed=count,
        to_do=max(0, rest),
        left=_together([command.left for command in running]),
        commands=tuple(commands),
        failures=tuple(failures),
    )


def _failure(name: str, folder: Path) -> Failure:
    from bench.results.record import RECORD  # which loads numpy

    content = read_json(folder / RECORD) or {}
    return Failure(unit=name, reason=str(content.get("reason") or ""))


def _together(left: Collection[float | None]) -> float | None:
    """Seconds that commands need together for what each would need so long for alone."""
    known = [seconds for seconds in left if seconds is not None]
    if not known:
        return None
    return 0.0 if min(known) <= 0 else 1 / sum(1 / seconds for seconds in known)


# --- what is stored ----------------------------------------------------------------------------------


def _stored(results: Path) -> tuple[dict[str, str], dict[str, Path]]:
    """Keys of the units that are done, with their data sets, and of those that failed, with their folders."""
    done = {
        _key(entry.name): entry.path.split(os.sep)[-2]
        for place in ("runs", "pretrain")
        for entry in _entries(results / place)
    }
    return done, {_key(entry.name): Path(entry.path) for entry in _entries(results / "failures")}


def _key(folder: str) -> str:
    return folder.rpartition(".")[2]


def _entries(place: Path) -> Iterator[os.DirEntry[str]]:
    """The folders of units, in those of their data sets."""
    for dataset in _listed(place):
        yield from _listed(Path(dataset.path))


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return []


def _stale(scratch: Path, names: Mapping[str, str], done: Collection[str]) -> Iterator[StaleClaim]:
    for key, holder, ago, stale in claimed(scratch):
        if stale and key not in done:
            yield StaleClaim(
                unit=names.get(key, key),
                holder=str(holder),
                seconds=ago,
                checkpoint=any((scratch / "checkpoints").glob(f"{key}.*pt")),
            )
