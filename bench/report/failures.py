"""Units that failed, with their causes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from bench.report.gathered import Gathered
from bench.report.section import Section
from bench.report.templating import render
from bench.results.record import Record


class Failed(NamedTuple):
    """Units that failed for one cause.

    Attributes:
        reason: of all of them.
        units: what each is called, and where its record lies.
        traceback: of the first.
    """

    reason: str
    units: Sequence[tuple[str, str]]
    traceback: str


def failures_sections(gathered: Gathered) -> list[Section]:
    """None where nothing failed and nothing is damaged."""
    failed = [record for record in gathered.records if record.status == "failed"]
    damaged = [record for record in gathered.records if record.damage]
    if not failed and not damaged:
        return []
    html = render(
        "failures.html",
        failed=_by_cause(failed, gathered),
        damaged=[(_name(record), record.damage, _folder(record, gathered)) for record in damaged],
    )
    return [Section("failures", "Failures", html)]


def _by_cause(records: Sequence[Record], gathered: Gathered) -> list[Failed]:
    """The cause of most units first."""
    by_reason: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_reason[" ".join(record.reason.split())].append(record)
    return [
        Failed(
            reason or "no reason is recorded",
            [(_name(record), _folder(record, gathered)) for record in of],
            of[0].traceback,
        )
        for reason, of in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    ]


def _name(record: Record) -> str:
    return f"{record.spec.dataset.name} {record.kind} {record.spec.label}"


def _folder(record: Record, gathered: Gathered) -> str:
    return os.path.relpath(record.path, gathered.results) if record.path else ""
