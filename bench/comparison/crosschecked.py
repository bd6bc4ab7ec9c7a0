"""Tests that others use, on the same stored predictions, as cross-checks beside ours (docs/evidence.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.comparison.evidence import read_sample
from bench.errors import ConfigError
from bench.evidence.crosschecks import corrected_t, delong, mcnemar
from bench.results.store import read_predictions

if TYPE_CHECKING:
    from pathlib import Path

    from bench.comparison.compare import Compared, Question
    from bench.comparison.difference import Difference

CROSSCHECKS = {
    "nb": "corrected resampled t (Nadeau and Bengio 2003), which finds few differences",
    "mcnemar": "McNemar's exact test of these two trained models on accuracy, images taken for independent",
    "delong": "DeLong's test of these two trained models on AUC, images taken for independent",
}
"""What each is called."""


def crosscheck(
    name: str, compared: Compared, one: Difference, question: Question, results: Path
) -> Mapping[str, float]:
    """p of another test of the same difference, by what it is called; nothing without a name.

    Raises ConfigError where the test is for one round and there are several.
    """
    if not name:
        return {}
    first, second = (next(m for m in compared.methods if m.name == n) for n in (one.first, one.second))
    if name == "nb":
        metric = question.metric.name
        scores = [[m.done[r].scores[metric] for r in one.rounds] for m in (first, second)]
        differences = [a - b for a, b in zip(*scores, strict=True)]
        return {CROSSCHECKS[name]: corrected_t(differences, read_sample([first, second], results).overlap)}
    if len(one.rounds) > 1:
        raise ConfigError(
            f"--test {name}: is for one round, and {compared.where} has {len(one.rounds)} that share images; "
            f"give --round {one.rounds[0]}, or --test nb for all of them"
        )
    units = [method.done[one.rounds[0]] for method in (first, second)]
    predictions = [
        read_predictions(unit.record.path, "test", unit.record) for unit in units if unit.record.path
    ]
    test = mcnemar if name == "mcnemar" else delong
    return {CROSSCHECKS[name]: test(predictions[0], predictions[1])}
