"""Differences with every number, for other programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from bench.comparison.compare import Compared, Question
from bench.comparison.difference import Difference


def as_json(found: Sequence[Compared], question: Question) -> str:
    """A JSON list, one object a table; null where something is not defined."""
    return json.dumps([_table(compared, question) for compared in found], indent=2)


def _table(compared: Compared, question: Question) -> dict[str, Any]:
    return {
        "where": compared.where,
        "metric": question.metric.name,
        "margin": question.declared.margin,
        "baseline": question.declared.baseline,
        "declared": compared.is_declared,
        "basis": compared.basis,
        "differences": [_difference(one) for one in compared.differences],
    }


def _difference(one: Difference) -> dict[str, Any]:
    content = {
        "first": one.first,
        "second": one.second,
        "scores": list(one.scores),
        "rounds": list(one.rounds),
        "rounds_left_out": list(one.left_out),
        "difference": one.value,
        "low": one.ends.low,
        "high": one.ends.high,
        "p": one.p,
        "p_adjusted": one.adjusted,
        "comparisons": one.comparisons,
        "verdict": one.verdict.name.lower(),
        "better": one.against.better,
        "equal": one.against.equal,
        "worse": one.against.worse,
        "detectable": one.detectable,
        "variance_images": one.variance.images,
        "variance_training": one.variance.training,
        "df": one.variance.df,
        "images_resampled": one.resampled,
    }
    return {name: _plain(value) for name, value in content.items()}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
