"""What a study keeps beside its results: fine-tuned networks, and pretrainings with their decoder.

    results/kept/runs/<data set>/<label>.<key>/      model.safetensors, model.json, README.md (its card)
    results/kept/pretrain/<data set>/<label>.<key>/  objective.safetensors, objective.json

The folder of a record is never edited, and what is kept enters no key; so it lies in a store of its own. The
JSON says all that is needed to use the weights without the study, names size and checksum of their file, ends
with its own checksum, and names the result that the weights belong to by the checksum of its predictions (or
its encoder): weights of another training of the same unit do not count as its.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import ConfigError, StoreError, describe, encodable
from bench.files import cannot_write, new_directory, sha256_of, write_text
from bench.identity import Ref
from bench.interfaces.model import Normalization
from bench.parsing import parse
from bench.results import artefacts, store
from bench.results.predictions_file import PREDICTIONS
from bench.results.record import Artefact, Record
from bench.results.seal import is_sealed, sealed_text
from bench.results.tensors_file import write_tensors
from bench.study.spec import PretrainSpec, RunSpec, UnitSpec

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
FOLDER = "kept"
CARD = "README.md"
ENCODER = "encoder.safetensors"  # of a pretraining's result
Kind = Literal["model", "decoder"]
_NAMES: Mapping[Kind, str] = {"model": "model", "decoder": "objective"}  # of the files


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """What the images of a data set are like, to notice others.

    Attributes:
        images: how many.
        grey: share of them that are grey.
        sides: the least and the greatest short side, pixels.
    """

    images: int
    grey: float
    sides: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is known about weights that were kept.

    Attributes:
        kind: "model": a fine-tuned network; "decoder": the whole objective of a pretraining.
        key: of the unit.
        label: of the unit.
        dataset: name of the data set.
        model: the network, with its parameters.
        strategy: where its weights came from, with its parameters.
        round: which repetition of the study, from 0.
        classes: in the order of the network's outputs.
        size: side of the square input, pixels: the short side is resized to it, the centre is cut.
        normalization: of the pixels.
        precision: "fp32", "bf16", or "auto" for the device's own.
        memory_format: of the weights as they were trained.
        bits: of the values in 16-bit files.
        dicom: what becomes black and white in DICOM files without a window; None: the range of each file.
        result: sha256 of the predictions, or of the encoder, that belong to these weights.
        arithmetic: device and threads that they were computed with.
        weights: where the training began.
        trained_on: what the images of the data set are like.
        packages: versions.
        file: size and checksum of the weights' file.
        version: of this description.
    """

    kind: Kind
    key: str
    label: str
    dataset: str
    model: Ref
    strategy: Ref
    round: int
    classes: tuple[str, ...]
    size: int
    normalization: Normalization
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    memory_format: Literal["channels_last", "contiguous_format"] = "channels_last"
    bits: int = 16
    dicom: tuple[float, float] | None = None
    result: str
    arithmetic: str = ""
    weights: str = ""
    trained_on: TrainedOn | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    file: Artefact
    version: int = VERSION


# --- what is to be kept of a unit --------------------------------------------------------------------


def kind_of(unit: UnitSpec) -> Kind | None:
    """What can be kept of a unit; None of an ensemble, whose members have the weights."""
    if isinstance(unit, RunSpec):
        return "model"
    return "decoder" if isinstance(unit, PretrainSpec) else None


def path_of(results: Path, unit: UnitSpec) -> Path:
    """The folder of what is kept of a unit."""
    return results / FOLDER / store.path_of(results, unit).relative_to(results)


def lacks(results: Path, unit: UnitSpec, keep: Sequence[str]) -> Kind | None:
    """What a unit should have kept and has not; None if nothing. The checksum of the weights is looked at
    when they are read."""
    kind = kind_of(unit)
    if kind is None or kind not in keep:
        return None
    folder = path_of(results, unit)
    try:
        kept = read(folder)
        return None if kept.result == result_of(store.read(results, unit)) else kind
    except StoreError:
        return kind


def finished(results: Path, unit: UnitSpec, keep: Sequence[str] = ()) -> bool:
    """Whether a unit is done, and what it should keep is kept."""
    return store.exists(results, unit) and lacks(results, unit, keep) is None


def finished_keys(results: Path, units: Iterable[UnitSpec], keep: Sequence[str] = ()) -> set[str]:
    """The keys of those units that are done, and what they should keep is kept."""
    units = list(units)
    done = store.done(results, units)
    return {unit.key for unit in units if unit.key in done and lacks(results, unit, keep) is None}


def result_of(record: Record) -> str:
    """The checksum of what a record says was computed: its predictions, or its encoder. Raises StoreError."""
    name = ENCODER if record.kind == "pretrain" else PREDICTIONS
    if stated := (record.artefacts or {}).get(name):
        return stated.sha256
    assert record.path is not None
    try:  # of a record of before checksums
        return sha256_of(record.path / name)
    except OSError as error:
        raise StoreError(f"{record.path / name}: cannot be read ({describe(error)})") from error


# --- writing -----------------------------------------------------------------------------------------


def write(
    results: Path, unit: UnitSpec, state: Mapping[str, Tensor], describe_file: Callable[[Artefact], Kept]
) -> Path:
    """Keep these weights of a unit, all of it or nothing; returns the folder.

    `describe_file` is given size and checksum of the weights' file. What lies there and is damaged, or
    belongs to another result of the unit, is moved away. Raises StoreError where the disk refuses.
    """
    kind = kind_of(unit)
    assert kind is not None
    target = path_of(results, unit)
    try:
        with new_directory(target, description_of(kind)) as folder:
            file = folder / weights_of(kind)
            about = {"format": "pt", "unit": unit.label, "key": unit.key, "holds": kind}
            write_tensors(file, state, about)
            kept = describe_file(Artefact(sha256=sha256_of(file), bytes=file.stat().st_size))
            write_text(folder / description_of(kind), sealed_text(to_json(kept)))
            if target.exists() and not _is_same(target, kept):
                store.move_aside(results, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    return target


def _is_same(folder: Path, kept: Kept) -> bool:
    try:
        known = read(folder)
    except StoreError:
        return False
    return known.result == kept.result and not changed(folder, known)


def weights_of(kind: Kind) -> str:
    """The name of the file of weights."""
    return f"{_NAMES[kind]}.safetensors"


def description_of(kind: Kind) -> str:
    """The name of the file that describes them."""
    return f"{_NAMES[kind]}.json"


def to_json(kept: Kept) -> dict[str, Any]:
    """A description as plain JSON values; the local paths of parameters are not in it."""
    content = {name: value for name, value in vars(kept).items() if name != "file"}
    for name in ("model", "strategy"):
        ref: Ref = content[name]
        content[name] = {"name": ref.name, "params": dict(ref.params), "revision": ref.revision}
    content["normalization"] = {k: list(v) for k, v in vars(kept.normalization).items()}
    content["classes"] = list(kept.classes)
    content["dicom"] = list(kept.dicom) if kept.dicom else None
    if kept.trained_on:
        content["trained_on"] = vars(kept.trained_on) | {"sides": list(kept.trained_on.sides)}
    content["file"] = {"sha256": kept.file.sha256, "bytes": kept.file.bytes}
    content["packages"] = dict(kept.packages)
    return {"version": content.pop("version"), **content}


# --- reading -----------------------------------------------------------------------------------------


def read(folder: Path) -> Kept:
    """The description of what is kept in a folder, whose file has its size. Raises StoreError."""
    kind: Kind = "model" if (folder / description_of("model")).exists() else "decoder"
    file = folder / description_of(kind)
    remedy = f"delete {folder} and repeat the command that made it, with --keep {kind}"
    try:
        text = file.read_bytes()
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{file}: cannot be read ({describe(error)}); {remedy}") from error
    if isinstance(version := content.get("version"), int) and version > VERSION:
        raise StoreError(f"{file}: version {version} is newer than this bench; update it")
    if not is_sealed(text):
        raise StoreError(f"{file}: was edited since it was written (its sha256 differs); {remedy}")
    content.pop("sha256")
    try:
        # Names of classes are those of folders: any text that files hold, where parameters are printable.
        classes = content.get("classes")
        if not isinstance(classes, list) or not all(
            isinstance(name, str) and name == encodable(name) for name in classes
        ):
            raise ConfigError(f"{file.name}.classes: must be a list of names")
        kept = replace(parse(Kept, content | {"classes": []}, file.name), classes=tuple(classes))
    except ConfigError as error:
        raise StoreError(f"{folder}: {error}; {remedy}") from None
    if kept.kind != kind:
        raise StoreError(f"{file}: describes a {kept.kind}, not a {kind}; {remedy}")
    if damage := artefacts.missized(folder, {weights_of(kind): kept.file}):
        raise StoreError(f"{folder}: {damage}; {remedy}")
    return kept


def changed(folder: Path, kept: Kept) -> str:
    """How the weights in a folder differ from those that were kept, as a phrase; "" if not. Reads them."""
    name = weights_of(kept.kind)
    return artefacts.changed(folder, {name: kept.file}, name)


def read_weights(folder: Path, kept: Kept) -> dict[str, Tensor]:
    """The weights that are kept in a folder, on the CPU. Raises StoreError if they are not what was kept."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    name = weights_of(kept.kind)
    remedy = f"delete {folder} and repeat the command that made it, with --keep {kept.kind}"
    if damage := changed(folder, kept):
        raise StoreError(f"{folder}: {damage}; {remedy}")
    try:
        weights: dict[str, Tensor] = load_file(str(folder / name))
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{folder / name}: cannot be read ({describe(error)}); {remedy}") from error
    return weights


def folders(results: Path) -> list[Path]:
    """The folder of everything that is kept, in a fixed order."""
    return sorted(
        path
        for place in ("pretrain", "runs")
        for path in (results / FOLDER / place).glob("*/*")
        if path.is_dir() and not path.name.startswith(".")
    )


def bytes_in(folder: Path) -> int:
    """The size of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
