"""A made-up unit and its events, for tests of trackers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench import EpochEnded, StudyBegan, StudyEnded, TrackedUnit, UnitBegan, UnitDone

NOW = 1_700_000_000.0
UNIT = TrackedUnit(
    key="00c0ffee00c0ffee",
    name="net.mean(a+b).r0",
    kind="run",
    dataset="busi",
    model="net",
    method="mean(a+b)",
    round=0,
    settings={"finetune.epochs": 3, "strategy.guided": True, "size": 224},
    record=Path("nowhere"),
)
STUDY = StudyBegan(
    time=NOW,
    name="busi.1a2b3c4d",
    title="busi: a, b, quick",
    settings={"protocol": "quick", "rounds": 1},
    units=(UNIT,),
    results=Path("nowhere"),
)


def begun(unit: TrackedUnit = UNIT) -> UnitBegan:
    return UnitBegan(time=NOW, unit=unit)


def epochs(count: int, unit: TrackedUnit = UNIT, first: int = 1) -> Iterator[EpochEnded]:
    """With losses 1, 0.5, 0.25 ..."""
    for number in range(first, first + count):
        yield EpochEnded(
            time=NOW + number,
            unit=unit,
            stage="fine-tune",
            epoch=number,
            epochs=3,
            loss=2.0 ** (1 - number),
            validation_accuracy=0.5,
            images_per_s=61.0,
        )


def done(unit: TrackedUnit = UNIT, **scores: float) -> UnitDone:
    return UnitDone(time=NOW + 9, unit=unit, seconds=9.0, scores=scores)


def ended(status: str = "done") -> StudyEnded:
    return StudyEnded(time=NOW + 10, status=status, done=1, failed=0, left=0)  # type: ignore[arg-type]
