"""Specs read back from records, by the thousand.

A record's key is the digest of its spec as it stands there. So where the digest is right, the spec is, value
by value, what was written, and nothing in it has to be validated again, which takes twenty times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.identity import Ref, digest
from bench.study.protocol import Finetuning, Pretraining
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec, unit_from_json


def read_unit(kind: str, data: Mapping[str, Any], key: str) -> UnitSpec:
    """The spec of a record that states this key. Raises ValueError for what is none, whatever it states."""
    if digest([kind, data])[:16] != key:
        return unit_from_json(kind, data)  # defaults spelled out, or another unit: its own key will tell
    unit: UnitSpec
    if kind == "ensemble":
        unit = EnsembleSpec(_ref(data["ensemble"]), tuple(map(_run, data["members"])))
    elif kind == "run":
        unit = _run(data)
    elif kind == "pretrain":
        unit = _pretraining(data)
    else:
        raise ValueError(f"kind {kind!r}")
    vars(unit)["key"] = key  # a cached property, which is known already
    return unit


def _run(data: Mapping[str, Any]) -> RunSpec:
    more: dict[str, Any] = {}
    if "finetune" in data:
        more["finetune"] = Finetuning(**_with_tuples(data["finetune"]))
    if data.get("start") is not None:
        more["start"] = _pretraining(data["start"])
    return RunSpec(**{**data, **_refs(data), **more})


def _pretraining(data: Mapping[str, Any]) -> PretrainSpec:
    more = {"pretrain": Pretraining(**_with_tuples(data["pretrain"]))} if "pretrain" in data else {}
    return PretrainSpec(**{**data, **_refs(data), **more})


def _refs(data: Mapping[str, Any]) -> dict[str, Ref]:
    return {name: _ref(data[name]) for name in ("dataset", "model", "strategy")}


def _ref(data: Mapping[str, Any]) -> Ref:
    return Ref(**data)


def _with_tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
