"""What makes a row of a table: which units are rounds of one method, and what that method is called.

Two units belong to one row if their model, strategy (with parameters and revisions) and pretraining are
the same; what the whole table shares (data, split settings, fine-tuning) does not tell rows apart.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from bench.identity import Ref, digest, to_json
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec

_LONGEST_VALUE = 48  # characters of a parameter's value in a label


class Label(NamedTuple):
    """How a row is called."""

    model: str
    method: str


def row_id(spec: UnitSpec) -> str:
    """The same for all rounds of one method, different for different methods. A pretraining has the
    identity of the run that starts from it."""
    if isinstance(spec, EnsembleSpec):
        return digest([to_json(spec.ensemble), [row_id(member) for member in spec.members]])
    start = spec if isinstance(spec, PretrainSpec) else spec.start
    pretraining = to_json(start.pretrain) if start else None
    return digest([to_json(spec.model), to_json(spec.strategy), pretraining])


def labels(specs: Iterable[UnitSpec]) -> dict[str, Label]:
    """A label for every row id among `specs`, no two alike: the strategy's or ensemble's name, with those
    settings that differ among rows of that name."""
    specs = list(specs)
    members = [m for spec in specs if isinstance(spec, EnsembleSpec) for m in spec.members]
    once = {id(s): s for s in [*specs, *members]}.values()  # records read together share their members
    runs = {row_id(s): s for s in once if not isinstance(s, EnsembleSpec)}
    named = _differing({i: (s.model.name, s.strategy.name, settings(s)) for i, s in runs.items()})
    ensembles = {row_id(s): s for s in specs if isinstance(s, EnsembleSpec)}
    plain = {i: _ensemble_label(s, named) for i, s in ensembles.items()}
    named |= _differing(
        {i: (plain[i].model, plain[i].method, _params(s.ensemble, "")) for i, s in ensembles.items()}
    )
    return named


def settings(spec: RunSpec | PretrainSpec) -> dict[str, str]:
    """What can set two rows of one name apart, each as it appears in a label."""
    start = spec if isinstance(spec, PretrainSpec) else spec.start
    texts = {**_params(spec.strategy, ""), **_params(spec.model, "model.")}
    if start:
        values = dataclasses.asdict(start.pretrain)
        texts |= {f"pretrain.{k}": f"pretrain.{k}={_short(v)}" for k, v in values.items()}
        texts["pretrain.epochs"] = f"{start.pretrain.epochs} epochs"
        texts["pretrain.pool"] = f"pool {start.pretrain.pool[:8]}" if start.pretrain.pool else "no pool"
        del texts["pretrain.extra"]  # a path is no identity
    return texts


def chosen(spec: RunSpec | PretrainSpec) -> list[str]:
    """The parameters of strategy and model that were set to something else than their default."""
    refs = ((spec.strategy, ""), (spec.model, "model."))
    return [f"{prefix}{name}={_short(value)}" for ref, prefix in refs for name, value in ref.params.items()]


def _params(ref: Ref, prefix: str) -> dict[str, str]:
    texts = {f"{prefix}{k}": f"{prefix}{k}={_short(v)}" for k, v in ref.params.items()}
    return {**texts, f"{prefix}revision": f"{prefix}revision={ref.revision}"}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _ensemble_label(spec: EnsembleSpec, runs: Mapping[str, Label]) -> Label:
    members = [runs[row_id(member)] for member in spec.members]
    models = list(dict.fromkeys(m.model for m in members))
    names = [m.method if len(models) == 1 else f"{m.model}.{m.method}" for m in members]
    return Label("+".join(models), f"{spec.ensemble.name}({' + '.join(names)})")


def _differing(rows: Mapping[str, tuple[str, str, Mapping[str, str]]]) -> dict[str, Label]:
    """Labels of rows given as id -> (model, name, settings)."""
    named = {}
    for row, (model, name, own) in rows.items():
        alike = [other for m, n, other in rows.values() if (m, n) == (model, name)]
        apart = [k for k in own if len({other.get(k) for other in alike}) > 1]
        named[row] = Label(model, " ".join([name, *(own[k] for k in apart)]))
    times = Counter(named.values())
    return {  # values can be alike where they were shortened
        row: label if times[label] == 1 else Label(label.model, f"{label.method} #{row[:4]}")
        for row, label in named.items()
    }
