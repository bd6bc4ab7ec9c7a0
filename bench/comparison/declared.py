"""What the studies declared that made some records."""

from __future__ import annotations

from collections.abc import Iterable

from bench.results.record import Record
from bench.study.declaration import NOTHING, Declaration


def declaration_of(records: Iterable[Record]) -> tuple[Declaration, list[str]]:
    """What the studies declared that made these records; nothing, with a warning, where they differ."""
    declared = {
        Declaration(metric=asked.metric, baseline=asked.baseline, margin=asked.margin)
        for asked in {record.asked for record in records}
        if asked.margin is not None
    }
    if len(declared) == 1:
        return declared.pop(), []
    if not declared:
        return NOTHING, []
    listed = "; ".join(
        sorted(
            f"metric {one.metric or '-'}, baseline {one.baseline or '-'}, margin {one.margin:g}"
            for one in declared
        )
    )
    return NOTHING, [f"these studies declared different things ({listed}); --study FILE says which counts"]
