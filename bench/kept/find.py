"""Which kept model a user means: by folder, by key, or by the name that `bench run` prints."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.comparison.again import command_of
from bench.errors import ConfigError, StoreError, UnknownName
from bench.parsing import PATH_SHOWN, brief
from bench.results import kept as kept_store
from bench.results import store
from bench.results.record import RECORD, Record
from bench.study.spec import EnsembleSpec, RunSpec

if TYPE_CHECKING:
    from bench.registry import Registry

KEY = re.compile(r"[0-9a-f]{4,16}")
FORMS = (
    "a folder in results/kept or results/runs, a key or its beginning, or a name DATASET/MODEL.STRATEGY.r0"
)


@dataclass(frozen=True)
class Chosen:
    """A finished run or ensemble whose models are kept.

    Attributes:
        name: data set and label.
        folders: of the kept models: one, or one for each member of an ensemble, in their order.
        record: what is stored of it; None for a folder that was taken out of its results.
        results: the results folder of the record; None likewise.
    """

    name: str
    folders: tuple[Path, ...]
    record: Record | None = None
    results: Path | None = None

    @property
    def ensemble(self) -> EnsembleSpec | None:
        """The ensemble, if it is one."""
        spec = self.record.spec if self.record else None
        return spec if isinstance(spec, EnsembleSpec) else None


def find(run: str, results: Path, registry: Registry) -> Chosen:
    """What `run` names: a folder, or by key or name among the results in `results`.

    Raises UnknownName or ConfigError where it names nothing, or several; StoreError for what cannot be read;
    ConfigError with the command that keeps it for a run whose model was not kept.
    """
    if os.path.isdir(run):  # of os.path, which is False for a name that no file can have
        return _in_folder(Path(run), registry)
    if os.sep in run and run.count("/") > 1:
        raise ConfigError(f"RUN {brief(run, PATH_SHOWN)}: no such folder; give {FORMS}")
    records, _ = store.scan(results)
    known = [r for r in records if r.status == "done" and isinstance(r.spec, RunSpec | EnsembleSpec)]
    named = [record for record in known if _is_called(run, record)]
    if not named:
        lone = [folder for folder in kept_store.folders(results) if folder.name.rpartition(".")[2] == run]
        if lone and len(run) == 16:
            return _in_folder(lone[0], registry)
        raise UnknownName("run", run, [_name(record) for record in known], f"(RUN is {FORMS})")
    usable = [record for record in named if not _lacking(record, results)]
    if len(usable or named) > 1:
        several = "; ".join(f"{record.key}: {_differences(record)}" for record in usable or named)
        raise ConfigError(f"RUN {run} may be any of these, so give the key of one: {several}")
    return _chosen((usable or named)[0], results, registry)


def _in_folder(folder: Path, registry: Registry) -> Chosen:
    """The kept model, or the record, in a folder."""
    folder = folder.resolve()
    if (folder / kept_store.description_of("decoder")).is_file():
        raise ConfigError(f"RUN {folder}: is a pretraining, which predicts no classes; name a run")
    if (folder / RECORD).is_file():
        record = store.read_folder(folder)
        if record.status != "done" or not isinstance(record.spec, RunSpec | EnsembleSpec):
            raise ConfigError(f"RUN {folder}: is no finished run or ensemble; name one")
        return _chosen(record, folder.parents[2], registry)
    if not (folder / kept_store.description_of("model")).is_file():
        raise ConfigError(f"RUN {folder}: holds neither a kept model nor a record; give {FORMS}")
    kept = kept_store.read(folder)
    name = f"{kept.dataset}/{kept.label}"
    results = folder.parents[3] if len(folder.parents) > 3 and folder.parents[2].name == "kept" else None
    own = results / "runs" / folder.parent.name / folder.name if results else None
    if results and own and (own / RECORD).is_file():
        record = store.read_folder(own)
        if kept_store.result_of(record) == kept.result:
            return Chosen(name, (folder,), record, results)
    return Chosen(name, (folder,))


def _chosen(record: Record, results: Path, registry: Registry) -> Chosen:
    if lacking := _lacking(record, results):
        command, _ = command_of(record, record.asked.rounds or record.spec.round + 1, registry)
        names = ", ".join(spec.label for spec in lacking)
        raise ConfigError(
            f"{_name(record)}: the model of {names} was not kept, or is damaged; to keep it: "
            f"{command} --results {results} --keep model"
        )
    return Chosen(
        _name(record),
        tuple(kept_store.path_of(results, spec) for spec in _trained(record)),
        record,
        results,
    )


def _trained(record: Record) -> tuple[RunSpec, ...]:
    """The run itself, or the members of an ensemble."""
    spec = record.spec
    return spec.members if isinstance(spec, EnsembleSpec) else (spec,) if isinstance(spec, RunSpec) else ()


def _lacking(record: Record, results: Path) -> list[RunSpec]:
    """The runs whose model is needed and is not kept."""
    lacking = []
    for spec in _trained(record):
        try:
            whole = kept_store.lacks(results, spec, ["model"]) is None
        except StoreError:
            whole = False
        if not whole:
            lacking.append(spec)
    return lacking


def _is_called(run: str, record: Record) -> bool:
    plain = run.replace(" ", "")
    by_key = KEY.fullmatch(run) is not None and record.key.startswith(run)
    return by_key or plain in (record.spec.label, _name(record))


def _name(record: Record) -> str:
    return f"{record.spec.dataset.name}/{record.spec.label}"


def _differences(record: Record) -> str:
    """What tells a run from others of its name."""
    spec = record.spec
    run = spec.members[0] if isinstance(spec, EnsembleSpec) else spec
    epochs = f", {run.finetune.epochs} epochs" if isinstance(run, RunSpec) else ""
    size = f", {run.size} px" if isinstance(run, RunSpec) else ""
    asked = f", protocol {record.asked.protocol}" if record.asked.protocol else ""
    return f"{_name(record)}{asked}{size}{epochs}, split {spec.split[:8]}"
