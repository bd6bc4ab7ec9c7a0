"""What is stored about one unit, as one typed value; written and read here alone.

The JSON of a record is schema version 2; version 1, which names no artefacts, is read for ever. Its names
are not always those of the code (a verdict's `leaking_groups` is "torn_groups" there): they stay, because
records are never rewritten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

from bench.data.audit.verdict import Verdict, verdict_from_json, verdict_to_json
from bench.data.splits.split import PartCount
from bench.errors import StoreError
from bench.identity import to_json
from bench.interfaces.model import Normalization
from bench.results.spec_json import Seen, read_unit
from bench.study.spec import UnitSpec

VERSION = 2
RECORD = "record.json"


class NewerRecord(StoreError):
    """A record of a schema that this version does not know."""


Counts = Mapping[str, Mapping[str, PartCount]]
"""part -> class -> (images, groups)"""


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A file beside a record, as it was when the unit was stored.

    Attributes:
        sha256: of its bytes, hex.
        bytes: its size.
        rows: images of each part, where it holds predictions.
    """

    sha256: str
    bytes: int
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The command that a unit was made for.

    Attributes:
        protocol: its name.
        rounds: of the study.
        metric: the primary one that the study declared; "" if none.
        baseline: the row that it declared others are compared with; "" if none.
        margin: the margin that it declared; None if it declared nothing.
    """

    protocol: str = ""
    rounds: int = 0
    metric: str = ""
    baseline: str = ""
    margin: float | None = None


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """The images a unit saw.

    Attributes:
        title: what tables call the data set.
        content: sha256 of images, labels and groups.
        version: which published version it is.
        split: hash of the split manifest.
        settings: how the split was drawn, without what is at its default; None in records older than that.
        audit: what the audit says of the split; None for a split older than audits.
        counts: images and groups of every class in every part.
        fixed: whether the data set itself says which part an image is in; None in records older than that.
        bits: of the values in 16-bit files; None without such files, and in records older than that.
        changes: what the study changed of the data set: classes, groups, images, what is tested on.
        reviewed: files of a person's decisions about images that were applied, with their sha256.
        labelled: images and groups of every class that fine-tuning saw, where that was a share of the
            training part; None where it was all of it.
        passed_over: kind -> files among the images that are none of them; empty in records older than that.
    """

    title: str = ""
    content: str = ""
    version: str = ""
    split: str = ""
    settings: Mapping[str, Any] | None = None
    audit: Verdict | None = None
    counts: Counts = field(default_factory=dict)
    fixed: bool | None = None
    bits: int | None = None
    changes: tuple[str, ...] = ()
    reviewed: Mapping[str, str] = field(default_factory=dict)
    labelled: Mapping[str, PartCount] | None = None
    passed_over: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainingHistory:
    """Mean loss of each epoch, and the validation accuracy where weights were chosen by it."""

    loss: tuple[float | None, ...] = ()
    validation_accuracy: tuple[float | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Of the process that finished the training: wall time, steps, and the epoch it began at."""

    seconds: float
    steps: int
    resumed_from_epoch: int = 0


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a training used of its machine, in the process that finished it, like `Timings`.

    A figure is None where nothing measures it on that machine. Memory and energy are those of the training
    alone: what a fine-tuning's pretraining used is in the record of that.

    Attributes:
        images_per_second: images trained on, each as often as it was, per second of the whole training, in
            which validation and checkpoints count.
        peak_memory: bytes. On a GPU the most that PyTorch had reserved there, captured steps and images
            included; on a CPU the most resident memory of the process, Python, PyTorch and mapped images
            included.
        latency: seconds of a forward pass of one image, the median of at least five; of a fine-tuning.
        energy: joules that the counter named by `energy_source` counted meanwhile, of whatever worked there.
        energy_source: "nvml" (all of one GPU, without the rest of the machine) or "rapl" (all processor
            packages, without other devices).
        at_once: units that this command had at work on the device, or on the processors, at most.
    """

    images_per_second: float | None = None
    peak_memory: int | None = None
    latency: float | None = None
    energy: float | None = None
    energy_source: str | None = None
    at_once: int | None = None


@dataclass(frozen=True)
class Skipped:
    """An operator that fvcore has no count for. `operations` is an estimate: one per output element."""

    operator: str  # "aten::softmax"
    calls: int
    operations: int


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one forward pass of one image. A count is None where `notes` says why.

    Attributes:
        params: parameters of the network.
        macs: fvcore's operations, a multiply-add counted as one.
        torch_flops: torch's operations, a multiply-add counted as two.
        difference: (torch_flops / 2 - macs) / macs.
        skipped: operators without a count.
        skipped_share: estimated part of all operations that fvcore skipped, 0..1.
        size: side of the square image, pixels.
        classes: outputs of the network.
        notes: why a count is missing.
    """

    params: int | None = None
    macs: int | None = None
    torch_flops: int | None = None
    difference: float | None = None
    skipped: tuple[Skipped, ...] = ()
    skipped_share: float | None = None
    size: int | None = None
    classes: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a record came to be.

    Attributes:
        plugins: name -> distribution and version of the plugins whose components were used.
        hardware: device, processor, cores, threads, and the GPU if there was one.
        git: commit of the source tree, and whether it was changed; None for an installed wheel.
        packages: versions.
        python: version.
        platform: operating system.
    """

    plugins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)
    git: Mapping[str, Any] | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    platform: str = ""

    @property
    def device(self) -> str:
        """ "cpu", "cuda" or "cuda:N"; empty where a record does not say."""
        return str(self.hardware.get("device") or "")

    @property
    def arithmetic(self) -> str:
        """What rounding depends on: the kind of device, with the name of a GPU or a CPU's number of threads;
        empty where a record does not say."""
        kind = self.device.partition(":")[0]
        if kind == "cuda":
            return str(self.hardware.get("gpu") or "a GPU")
        threads = self.hardware.get("threads")
        if not isinstance(threads, int):
            return ""
        return f"{kind}, {threads} thread{'s' * (threads != 1)}"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is stored about one unit. What does not concern its kind is None.

    Attributes:
        spec: the unit.
        status: "failed" records have `reason` and `traceback`.
        path: its folder; None before it is stored.
        asked: the command it was made for.
        data: the images.
        members: keys of an ensemble's runs.
        normalization: of the network's pixels.
        history: of the training.
        timings: of the training.
        accumulate: parts that each step was done in, because memory ran out.
        engine: what was chosen for speed alone.
        usage: what the training used of its machine; None in records older than that.
        provenance: how the record came to be.
        notes: what a table must say.
        rule: what an ensemble says was fitted; "" where it says nothing, and in records older than that.
        weights: where a fine-tuning's initial weights came from.
        cost: of the network.
        reason: why the unit failed.
        traceback: of the failure.
        version: of the schema it is stored in.
        artefacts: the files beside it by name; None where it is not stored yet, failed, or is of version 1.
        damage: what is wrong with these files, found when the record was read; "" if nothing.
    """

    spec: UnitSpec
    status: Literal["done", "failed"] = "done"
    path: Path | None = None
    asked: Asked = Asked()
    data: DataSummary | None = None
    members: tuple[str, ...] | None = None
    normalization: Normalization | None = None
    history: TrainingHistory | None = None
    timings: Timings | None = None
    accumulate: int | None = None
    engine: Mapping[str, str] | None = None
    usage: Usage | None = None
    provenance: Provenance = Provenance()
    notes: tuple[str, ...] = ()
    rule: str = ""
    weights: str | None = None
    cost: Cost | None = None
    reason: str = ""
    traceback: str = ""
    version: int = VERSION
    artefacts: Mapping[str, Artefact] | None = None
    damage: str = ""

    @property
    def kind(self) -> str:
        return self.spec.kind

    @property
    def key(self) -> str:
        return self.spec.key


# --- to JSON -----------------------------------------------------------------------------------------


def record_to_json(record: Record) -> dict[str, Any]:
    """A record as plain JSON values, in the order of its schema."""
    content: dict[str, Any] = {
        "version": record.version,
        "kind": record.kind,
        "key": record.key,
        "spec": to_json(record.spec),
        "status": record.status,
        "asked": _asked_to_json(record.asked),
    }
    if record.data is not None:
        content["data"] = _data_to_json(record.data)
    for name in ("members", "normalization", "history", "timings", "accumulate", "engine", "usage"):
        value = getattr(record, name)
        if value is not None:
            content[name] = _plain(value)
    content["provenance"] = _plain(record.provenance)
    if record.status == "failed":
        return {**content, "reason": record.reason, "traceback": record.traceback}
    content["notes"] = list(record.notes)
    if record.rule:
        content["rule"] = record.rule
    for name in ("weights", "cost"):
        if getattr(record, name) is not None:
            content[name] = _plain(getattr(record, name))
    if record.artefacts is not None:
        content["artefacts"] = {name: _artefact_to_json(a) for name, a in record.artefacts.items()}
    return content


def _asked_to_json(asked: Asked) -> dict[str, Any]:
    """Of a study that declared nothing, protocol and rounds alone."""
    content = asdict(asked)
    return content if asked.margin is not None else {name: content[name] for name in ("protocol", "rounds")}


def _artefact_to_json(artefact: Artefact) -> dict[str, Any]:
    stated: dict[str, Any] = {"sha256": artefact.sha256, "bytes": artefact.bytes}
    return {**stated, "rows": dict(artefact.rows)} if artefact.rows else stated


def _data_to_json(data: DataSummary) -> dict[str, Any]:
    counts = {part: {name: list(n) for name, n in by.items()} for part, by in data.counts.items()}
    audit = verdict_to_json(data.audit) if data.audit else None
    plain = _plain(
        {name: getattr(data, name) for name in ("title", "content", "version", "split", "settings")}
    )
    more: dict[str, Any] = {
        name: getattr(data, name) for name in ("fixed", "bits") if getattr(data, name) is not None
    }
    more |= {"changes": list(data.changes)} if data.changes else {}
    more |= {"reviewed": dict(data.reviewed)} if data.reviewed else {}
    if data.labelled is not None:
        more["labelled"] = {name: list(n) for name, n in data.labelled.items()}
    more |= {"passed_over": dict(data.passed_over)} if data.passed_over else {}
    return {**plain, "audit": audit, "counts": counts, **more}


def _plain(value: Any) -> Any:
    """`value` as JSON has it: no nan (a diverged loss is null), no numpy scalars, no paths."""
    if hasattr(value, "__dataclass_fields__"):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if type(value).__module__ == "numpy":
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- from JSON ---------------------------------------------------------------------------------------


def record_from_json(content: Mapping[str, Any], path: Path, seen: Seen | None = None) -> Record:
    """Read a record stored in the folder `path`: strict about identity, tolerant about the rest. Values that
    are equal to ones `seen` in records before are the same objects.

    Raises NewerRecord for a newer schema, and KeyError, TypeError or ValueError for what is not a record.
    """
    version = content["version"]
    if version > VERSION:
        raise NewerRecord(
            f"{path / RECORD}: version {version} of the record is newer than this bench; update it"
        )
    status = content["status"]
    if status not in ("done", "failed"):
        raise ValueError(f"status {status!r}")
    members, weights = content.get("members"), content.get("weights")
    seen = Seen() if seen is None else seen
    return Record(
        spec=read_unit(content["kind"], content["spec"], content["key"], seen),
        status=status,
        path=path,
        asked=seen.once("asked", content.get("asked"), partial(_read, Asked)) or Asked(),
        data=_shared_data(content.get("data"), seen),
        members=None if members is None else tuple(members),
        normalization=_normalization(content.get("normalization")),
        history=_history(content.get("history")),
        timings=_read(Timings, content.get("timings")),
        accumulate=content.get("accumulate"),
        engine=seen.once("engine", content.get("engine"), _as_it_is),
        usage=_read(Usage, content.get("usage")),
        provenance=seen.once(
            ("provenance", content["kind"]), content.get("provenance"), partial(_read, Provenance)
        )
        or Provenance(),
        notes=tuple(content.get("notes") or ()),
        rule=str(content.get("rule") or ""),
        weights=weights,
        cost=seen.once("cost", content.get("cost"), _cost),
        reason=str(content.get("reason") or ""),
        traceback=str(content.get("traceback") or ""),
        version=version,
        artefacts=_artefacts(content["artefacts"]) if version > 1 and status == "done" else None,
    )


def _artefacts(data: Mapping[str, Any]) -> dict[str, Artefact]:
    return {
        _inside(name): Artefact(sha256=about["sha256"], bytes=about["bytes"], rows=about.get("rows") or {})
        for name, about in data.items()
    }


def _inside(name: str) -> str:
    """The name of a file beside a record. Raises ValueError for one elsewhere: records come from others, in
    packs, and what they name is read and copied."""
    path = PureWindowsPath(name)  # which knows both kinds of slashes, and drives
    if not (path.name and name.isprintable()) or path.anchor or ".." in path.parts:
        raise ValueError(f"the file {name!r} does not lie beside it")
    return name


def _read(cls: type[Any], data: Mapping[str, Any] | None) -> Any:
    """`cls` from what it knows of `data`; None for no data. What another version has more is passed over."""
    if not data:
        return None
    return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


def _as_it_is(data: Any) -> Any:
    return data


def _shared_data(data: Mapping[str, Any] | None, seen: Seen) -> DataSummary | None:
    summary: DataSummary | None = seen.once(("data", (data or {}).get("split")), data, _data_from_json)
    return summary


def _data_from_json(data: Mapping[str, Any] | None) -> DataSummary | None:
    if not data:
        return None
    counts = {
        part: {name: PartCount(*n) for name, n in by.items()}
        for part, by in (data.get("counts") or {}).items()
    }
    audit = verdict_from_json(data["audit"]) if data.get("audit") else None
    texts = {name: str(data.get(name) or "") for name in ("title", "content", "version", "split")}
    known = data.get("labelled")
    labelled = None if known is None else {name: PartCount(*n) for name, n in known.items()}
    changes = tuple(map(str, data.get("changes") or ()))
    reviewed = data.get("reviewed") or {}
    summary: DataSummary = _read(
        DataSummary,
        {
            **data,
            **texts,
            "counts": counts,
            "audit": audit,
            "changes": changes,
            "reviewed": reviewed,
            "labelled": labelled,
        },
    )
    return summary


def _normalization(data: Mapping[str, Any] | None) -> Normalization | None:
    return Normalization(tuple(data["mean"]), tuple(data["std"])) if data else None


def _history(data: Mapping[str, Any] | None) -> TrainingHistory | None:
    if not data:
        return None
    return TrainingHistory(
        loss=tuple(data.get("loss") or ()), validation_accuracy=tuple(data.get("validation_accuracy") or ())
    )


def _cost(data: Mapping[str, Any] | None) -> Cost | None:
    if not data:
        return None
    skipped = tuple(Skipped(s["operator"], s["calls"], s["operations"]) for s in data.get("skipped") or ())
    cost: Cost = _read(Cost, {**data, "skipped": skipped, "notes": tuple(data.get("notes") or ())})
    return cost
