"""What the sections of a report are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.comparison.compare import Question, Table
from bench.registry import Registry
from bench.results.record import Record

if TYPE_CHECKING:
    from bench.execution.session import Session


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Stored results, read once for all sections.

    Attributes:
        results: the folder they lie in.
        registry: what is installed.
        question: by which metric methods are compared, and what was declared.
        tables: rows that may be compared, one table each.
        records: all of the chosen data sets, failures and pretrainings too.
        session: opens images of data sets; None where no picture of an image is wanted.
        pictures: whether the user asked for pictures of images (True) or none (False); None leaves it to the
            licence of each data set.
    """

    results: Path
    registry: Registry
    question: Question
    tables: Sequence[Table]
    records: Sequence[Record]
    session: Session | None = None
    pictures: bool | None = None
