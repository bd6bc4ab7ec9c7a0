"""Specs read back from records, by the thousand.

A record's key is the digest of its spec as it stands there. So where the digest is right, the spec is, value
by value, what was written, and nothing in it has to be validated again, which takes twenty times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from bench.identity import Ref, digest
from bench.study.protocol import Finetuning, Pretraining
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec, unit_from_json


class Seen:
    """What was made of parts of records read before. Ten thousand records of one study share most of what
    they say: it is made once, and takes its memory once."""

    def __init__(self) -> None:
        self._last: dict[Hashable, tuple[Any, Any]] = {}

    def once(self, slot: Hashable, data: Any, make: Callable[[Any], Any]) -> Any:
        """`make(data)`, or what it gave when `slot` was last asked for, if that was with equal data."""
        known = self._last.get(slot)
        if known is not None and known[0] == data:
            return known[1]
        made = make(data)
        self._last[slot] = (data, made)
        return made


def read_unit(kind: str, data: Mapping[str, Any], key: str, seen: Seen) -> UnitSpec:
    """The spec of a record that states this key. Raises ValueError for what is none, whatever it states."""
    if digest([kind, data])[:16] != key:
        return unit_from_json(kind, data)  # defaults spelled out, or another unit: its own key will tell
    unit: UnitSpec
    if kind == "ensemble":
        members = tuple(_run(member, seen) for member in data["members"])
        unit = EnsembleSpec(_ref(data["ensemble"], "ensemble", seen), members)
    elif kind == "run":
        unit = _run(data, seen)
    elif kind == "pretrain":
        unit = _pretraining(data, seen)
    else:
        raise ValueError(f"kind {kind!r}")
    vars(unit)["key"] = key  # a cached property, which is known already
    return unit


def _run(data: Mapping[str, Any], seen: Seen) -> RunSpec:
    def make(data: Mapping[str, Any]) -> RunSpec:
        more: dict[str, Any] = {}
        if "finetune" in data:
            more["finetune"] = seen.once("finetune", data["finetune"], _finetuning)
        if data.get("start") is not None:
            more["start"] = _pretraining(data["start"], seen)
        return RunSpec(**{**data, **_refs(data, seen), **more})

    unit: RunSpec = seen.once(("run", *_named(data)), data, make)
    return unit


def _pretraining(data: Mapping[str, Any], seen: Seen) -> PretrainSpec:
    def make(data: Mapping[str, Any]) -> PretrainSpec:
        more: dict[str, Any] = {}
        if "pretrain" in data:
            more["pretrain"] = seen.once("pretrain", data["pretrain"], _budget)
        return PretrainSpec(**{**data, **_refs(data, seen), **more})

    unit: PretrainSpec = seen.once(("pretrain", *_named(data)), data, make)
    return unit


def _named(data: Mapping[str, Any]) -> tuple[Hashable, ...]:
    """What mostly tells units apart."""
    return (
        data["dataset"]["name"],
        data["model"]["name"],
        data["strategy"]["name"],
        data["split"],
        data["round"],
    )


def _refs(data: Mapping[str, Any], seen: Seen) -> dict[str, Ref]:
    return {name: _ref(data[name], name, seen) for name in ("dataset", "model", "strategy")}


def _ref(data: Mapping[str, Any], kind: str, seen: Seen) -> Ref:
    ref: Ref = seen.once((kind, data["name"]), data, lambda data: Ref(**data))
    return ref


def _finetuning(data: Mapping[str, Any]) -> Finetuning:
    return Finetuning(**_with_tuples(data))


def _budget(data: Mapping[str, Any]) -> Pretraining:
    return Pretraining(**_with_tuples(data))


def _with_tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
