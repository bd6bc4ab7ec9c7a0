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
        "differences": [difference_numbers(one) for one in compared.differences],
    }


def difference_numbers(one: Difference) -> dict[str, Any]:
    """Plain values by name; None where something is not defined."""
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
    return {name: plain(value) for name, value in content.items()}


def plain(value: Any) -> Any:
    """A value as JSON has it: None instead of nan."""
    return None if isinstance(value, float) and math.isnan(value) else value
