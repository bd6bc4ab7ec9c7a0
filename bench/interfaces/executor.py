"""Executors, which work through the units of a study, and the values that they receive and return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from bench.interfaces.component import Component, P

if TYPE_CHECKING:
    from bench.execution.session import Session


class Unit(Protocol):
    """One piece of work: a pretraining, a fine-tuning with its predictions, or an ensemble."""

    @property
    def kind(self) -> str:
        """ "pretrain", "run" or "ensemble"."""

    @property
    def key(self) -> str:
        """Identity: what has the same key predicts the same."""

    @property
    def label(self) -> str:
        """Its name for people."""

    @property
    def round(self) -> int:
        """Which repetition of the study it belongs to, from 0."""

    @property
    def needs(self) -> Sequence[Unit]:
        """Units that must have ended before this one starts."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where units run.

    Nothing here is part of a key, and most of it cannot alter predictions. The device and the number of
    threads do: they add numbers up in another order, and training makes a last bit grow into percents of a
    probability within a few epochs. Records hold both, and tables say where their rows differ in them.

    Attributes:
        data: root under which data sets are looked for.
        results: where results are kept.
        device: "cpu", "cuda" or "cuda:N".
        devices: GPUs to deal to units at once, where there are several; `device` is the first, and the one
            of work that needs one alone. Empty where there is one.
        threads: CPU threads of one unit.
        pretrain_threads: of a pretraining, where it has another number; else 0.
        threads_given: whether that number was asked for; if not, a study that has begun keeps the number that
            its units were computed with.
        asked: the protocol and rounds that the study was started with, and what it declares, for records.
        compile: whether to torch.compile what is trained.
        graph: whether steps on a GPU are captured as CUDA graphs.
        jobs: units at work at once at most, where the executor can.
        jobs_given: whether that number was asked for; if not, the plan decides, from its units, the cores and
            the memory that is free.
        cores: threads of all units at work at once; 0 for no limit but `jobs`.
        shared: whether other units are at work on this device now.
        exchange: folder in which processes of one command leave what they have found out; None without.
        timeout: seconds after which a unit is given up, where the executor can; 0 for no limit but on
            silence.
        on_bad_image: "fail": an image that cannot be decoded is an error that names it; "skip": it is left
            out of the study, with a warning, if those are one in twenty at most and no class is left empty.
            The images of a study are in its split manifests, so in every key.
        keep: what units keep beside their results: "model" (fine-tuned networks), "decoder" (pretrainings
            with their decoder).
    """

    data: Path
    results: Path
    device: str = "cpu"
    devices: tuple[str, ...] = ()
    threads: int = 1
    pretrain_threads: int = 0
    threads_given: bool = True
    asked: Mapping[str, str | int | float] = field(default_factory=dict)
    compile: bool = False
    graph: bool = True
    jobs: int = 1
    jobs_given: bool = True
    cores: int = 0
    shared: bool = False
    exchange: Path | None = None
    timeout: float = 0.0
    on_bad_image: Literal["fail", "skip"] = "fail"
    keep: tuple[str, ...] = ()

    def threads_of(self, unit: Unit) -> int:
        """CPU threads of this unit."""
        return self.pretrain_threads or self.threads if unit.kind == "pretrain" else self.threads

    @property
    def scratch(self) -> Path:
        """Folder of checkpoints and caches; may be deleted while nothing runs."""
        return self.results / ".scratch"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a unit is.

    Attributes:
        unit: label of the unit, in a study of several data sets after the name of its own
            ("busi/resnet18.mae.r0"); outside of units, the data set or model at work.
        stage: "decode", "audit", "pretrain", "fine-tune", "predict", "download" or the like.
        done: steps done in this stage.
        total: steps of this stage; 0 if not known.
        epoch: the epoch at work, from 1; 0 in a stage without epochs.
        epochs: of this stage.
        loss: mean loss so far.
        images_per_s: speed.
        resumed: whether the training goes on from a checkpoint.
        in_bytes: whether `done` and `total` count bytes.
        key: of the unit, which labels alone may not tell from others; empty outside of units.
        epoch_ended: whether the epoch is over: `loss` is its mean, and validation is done. Its last step is
            told by this news alone.
        validation_accuracy: of an epoch that is over, where weights are chosen by it.
    """

    unit: str
    stage: str
    done: int = 0
    total: int = 0
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    images_per_s: float | None = None
    resumed: bool = False
    in_bytes: bool = False
    key: str = ""
    epoch_ended: bool = False
    validation_accuracy: float | None = None


Report = Callable[[Progress], None]
"""A function that receives every `Progress`."""


def silent(progress: Progress) -> None:
    """A report that does nothing."""


def both(first: Report, second: Report) -> Report:
    """A report that passes on what it receives to two others."""

    def report(progress: Progress) -> None:
        first(progress)
        second(progress)

    return report


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a unit ended.

    Attributes:
        unit: the unit.
        status: "blocked" if something it needs has failed; "held" if another process works on it, or on
            something it needs.
        reason: why it is not done; empty if it is.
        seconds: wall time.
        out_of_memory: whether memory ran out while other units shared the device, so that another try with
            fewer of them may succeed.
        device_lost: whether the device answers this process no more, so that it should end; another try in a
            new one may succeed.
        traceback: where the unit's process was when it ended before the unit did.
    """

    unit: Unit
    status: Literal["done", "failed", "blocked", "held"]
    reason: str = ""
    seconds: float = 0.0
    out_of_memory: bool = False
    device_lost: bool = False
    traceback: str = ""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """One line in a notebook; the text of the dataclass would fill the screen."""
        printer.text(f"{self.status} {self.unit.kind} {self.unit.label} ({self.seconds:.1f} s)")
        printer.text(f": {self.reason}" if self.reason else "")


Execute = Callable[[Unit, "Session", Report], Outcome]
"""Does one unit in this process and stores its record. It raises only when it is interrupted."""


@dataclass(frozen=True, kw_only=True)
class Executor(Component[P]):
    """A way to work through the units of a study.

    Attributes:
        map: `map(execute, units, session, report)` yields one outcome per unit, in any order that respects
            each unit's `needs`: a unit starts only after all it needs have ended. `session` is this
            process's; another process opens its own with `bench.Session(session.environment)`.
        prepare: called, if given, as soon as there is sure to be work, while the plan is still being made: to
            begin what takes long. `map` may be called without.
        default: whether it is used where a command names none.
        parallel: whether it works on `environment.jobs` units at once, and on all `environment.devices`; the
            default executor of a command with --jobs is the default one that is parallel.
        in_process: whether units run in the calling process; --in-process chooses the first such executor.
    """

    map: Callable[[Execute, Sequence[Unit], Session, Report], Iterator[Outcome]]
    prepare: Callable[[Environment], None] | None = None
    default: bool = False
    parallel: bool = False
    in_process: bool = False
