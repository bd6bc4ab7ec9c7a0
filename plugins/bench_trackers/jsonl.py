"""A line of JSON for each event, appended to a file: for shells, and for other programs.

{"event": "EpochEnded", "time": "2026-05-04T10:11:12.345Z", "study": "busi.1a2b3c4d", "process": 4711,
 "unit": "convnext_tiny.egmae.r0", "key": "...", "stage": "pretrain", "epoch": 4, "loss": 0.41, ...}
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import Event, StudyBegan, Tell, TrackedUnit, Tracker, UnitDone


@dataclass(frozen=True)
class JsonlParams:
    """Parameters of the tracker `jsonl`.

    Attributes:
        path: the file; logs/STUDY.jsonl of the results folder unless given.
    """

    path: str = ""


@contextmanager
def follow(study: StudyBegan, params: JsonlParams) -> Iterator[Tell]:
    """Append to the file; several commands may at once, because a line is one write."""
    path = Path(params.path) if params.path else study.results / "logs" / f"{study.name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:

        def tell(event: Event) -> None:
            line = {**heading(event), "study": study.name, "process": os.getpid(), **facts(event)}
            file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")

        tell(study)
        yield tell


def heading(event: Event) -> dict[str, str]:
    """What happened, and when (UTC)."""
    time = datetime.fromtimestamp(event.time, UTC).isoformat(timespec="milliseconds")
    return {"event": type(event).__name__, "time": time.replace("+00:00", "Z")}


def facts(event: Event) -> dict[str, Any]:
    """The rest of an event. A unit is its name and key; what it is made with stands in StudyBegan alone."""
    if isinstance(event, StudyBegan):
        units = [
            {**of(unit), "record": str(unit.record), "done": unit.done, "settings": dict(unit.settings)}
            for unit in event.units
        ]
        return {"title": event.title, "settings": dict(event.settings), "units": units}
    found: dict[str, Any] = {}
    for field in fields(event):
        value = getattr(event, field.name)
        if isinstance(value, TrackedUnit):
            found |= of(value)
        elif field.name != "time" and value is not None:
            found[field.name] = value
    return found | ({"record": str(event.unit.record)} if isinstance(event, UnitDone) else {})


def of(unit: TrackedUnit) -> dict[str, str]:
    """A unit in a line."""
    return {"unit": unit.name, "kind": unit.kind, "key": unit.key}


JSONL = Tracker(
    name="jsonl", about="a line of JSON for each event, in a file", params=JsonlParams, open=follow
)
