"""The command that makes a stored run again."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from bench.errors import BenchError
from bench.identity import Ref, to_json
from bench.parsing import parse
from bench.registry import Registry
from bench.results.record import Provenance, Record
from bench.study.config import DEFAULT_PROTOCOL, StudyConfig, protocol_names, read_protocol
from bench.study.expand import Pool, expand
from bench.study.protocol import Protocol
from bench.study.spec import EnsembleSpec, RunSpec
from bench.study.study import Study, make_study


def command_of(record: Record, rounds: int, registry: Registry) -> tuple[str, bool]:
    """`bench run ...` that makes this run or ensemble and the other rounds of its row, without the folder of
    its images; and whether the units it asks for have the same keys, which is tried. Where a plugin is not
    installed as it was, or a local file is needed, they have not."""
    spec = record.spec
    runs = runs_of(record)
    base, values = _protocol(record, runs, rounds)
    config = StudyConfig(
        datasets=(spec.dataset.name,),
        models=tuple(dict.fromkeys(run.model.name for run in runs)),
        strategies=tuple(dict.fromkeys(run.strategy.name for run in runs)),
        ensembles=_ensemble(spec, runs),
        base=base,
        protocol=_nested(values),
        dataset=_parameters([spec.dataset]),
        model=_parameters([run.model for run in runs]),
        strategy=_parameters([run.strategy for run in runs], frozen=registry),
        ensemble=_parameters([spec.ensemble]) if isinstance(spec, EnsembleSpec) else {},
    )
    where = _where(record.provenance)
    return f"{_text(config, values)}{where}", _same_key(config, record, registry)


def runs_of(record: Record) -> list[RunSpec]:
    """A run itself, or the members of an ensemble."""
    spec = record.spec
    members = spec.members if isinstance(spec, EnsembleSpec) else (spec,)
    return [member for member in members if isinstance(member, RunSpec)]


def _protocol(record: Record, runs: list[RunSpec], rounds: int) -> tuple[str, dict[str, Any]]:
    """The shipped protocol that the runs were asked for under, and what differs from it, by dotted name."""
    name = record.asked.protocol.rstrip("+")
    base = name if name in protocol_names() else DEFAULT_PROTOCOL
    shipped: Protocol = parse(Protocol, read_protocol(base)[1], "protocol")
    settings = (record.data.settings if record.data else None) or {}
    run = runs[0]
    starts = [each.start.pretrain for each in runs if each.start]
    used = dataclasses.replace(
        shipped,
        size=run.size,
        rounds=rounds,
        seed=run.seed,
        precision=run.precision,  # type: ignore[arg-type]  # a spec's is one of a protocol's
        split=parse(type(shipped.split), settings, "split"),
        audit=record.data.audit.settings if record.data and record.data.audit else shipped.audit,
        finetune=run.finetune,
        pretrain=starts[0] if starts else shipped.pretrain,
    )
    return base, dict(_differences(used, shipped, "protocol"))


def _differences(used: Any, shipped: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(used):
        value, other = getattr(used, field.name), getattr(shipped, field.name)
        if dataclasses.is_dataclass(value):
            yield from _differences(value, other, f"{prefix}.{field.name}")
        elif value != other:
            yield f"{prefix}.{field.name}", value


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for path, value in values.items():
        *keys, last = path.split(".")[1:]
        target = tables
        for key in keys:
            target = target.setdefault(key, {})
        target[last] = to_json(value)
    return tables


def _parameters(refs: list[Ref], frozen: Registry | None = None) -> dict[str, Mapping[str, Any]]:
    """Parameters by component. What a strategy froze (the source of weights) is found again, not set."""
    found: dict[str, Mapping[str, Any]] = {}
    for ref in refs:
        params = to_json(ref.params)
        if frozen and ref.name in frozen.strategies.names() and frozen.strategies.get(ref.name).freeze:
            params = {}
        if params:
            found[ref.name] = params
    return found


def _ensemble(spec: Any, runs: list[RunSpec]) -> tuple[str, ...]:
    if not isinstance(spec, EnsembleSpec):
        return ("none",)
    members = "+".join(f"{run.model.name}.{run.strategy.name}" for run in runs)
    return (f"{spec.ensemble.name}({members})",)


def _text(config: StudyConfig, values: Mapping[str, Any]) -> str:
    parts = ["bench", "run", "--dataset", *config.datasets, "--models", ",".join(config.models)]
    parts += ["--strategies", ",".join(config.strategies)]
    parts += ["--ensembles", *(config.ensembles or ("none",)), "--protocol", config.base]
    sets = dict(values)
    for kind in ("dataset", "model", "strategy", "ensemble"):
        for name, params in getattr(config, kind).items():
            sets |= {f"{kind}.{name}.{parameter}": value for parameter, value in params.items()}
    for path, value in sets.items():
        parts += ["--set", f"{path}={_toml(to_json(value))}"]
    return shlex.join(parts)


def _toml(value: Any) -> str:
    """A JSON value as `--set` takes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


def _where(made: Provenance) -> str:
    """Device and threads, on which rounding depends."""
    threads = made.hardware.get("threads")
    kind = made.device.partition(":")[0]
    text = f" --device {kind}" if kind else ""
    return text + (f" --threads {threads}" if kind == "cpu" and isinstance(threads, int) else "")


def _same_key(config: StudyConfig, record: Record, registry: Registry) -> bool:
    """Whether a study so configured has the unit of the record."""
    try:
        study: Study = make_study(config, registry)
        pools = [run.start for run in runs_of(record) if run.start]
        pool = Pool(pools[0].pretrain.pool, pools[0].left_out) if pools else Pool()
        units = expand(
            study, registry, lambda dataset, round_: record.spec.split, lambda dataset, round_: pool
        ).units
    except BenchError:
        return False
    return record.key in {unit.key for unit in units}
