"""The images of stored results, opened to be shown: where that is allowed and they are the same ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.comparison.scored import ScoredUnit
from bench.data.audit.search import SHORT
from bench.data.preview.embedding import Embedding, embedding
from bench.errors import BenchError, DataError
from bench.execution.prepare import short_sides
from bench.execution.session import Session
from bench.identity import Ref
from bench.interfaces.executor import Report, silent
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec

if TYPE_CHECKING:
    from bench.data.images.images import Images

Locate = Callable[[Ref], Ref]
"""Gives a data set, as results have it, the places of its files that they do not keep."""


@dataclass(frozen=True)
class Pictured:
    """The images of one table.

    Attributes:
        rule: whether they are shown, and why.
        images: with a view at `short`; None if they are not shown.
        short: short side of that view, pixels: no smaller than networks saw them.
        problem: why they could not be opened.
    """

    rule: Embedding
    images: Images | None = None
    short: int = 0
    problem: BenchError | None = None


def pictured(
    unit: ScoredUnit,
    session: Session,
    asked: bool | None,
    locate: Locate | None = None,
    report: Report = silent,
) -> Pictured:
    """The images that a finished unit was tested on, if they may be shown, can be opened, and have the
    content of its record; else why they are not. `asked` is whether the user asked for pictures, or for
    none."""
    dataset, short = unit.spec.dataset, max(*short_sides(_trained(unit)), SHORT)
    try:
        rule = embedding(session.registry.datasets.get(dataset.name), asked)
        if not rule.pictures:
            return Pictured(rule)
        images = same_images(unit, session, short, locate, report)
    except BenchError as error:
        rule = Embedding(False, f"There are no pictures in this page: {error}.")
        return Pictured(rule, problem=error)
    return Pictured(rule, images, short)


def same_images(
    unit: ScoredUnit,
    session: Session,
    short: int = SHORT,
    locate: Locate | None = None,
    report: Report = silent,
) -> Images:
    """The images that a unit saw, with a view at this short side. Raises what opening them raises, and
    DataError if those that are there have another content."""
    dataset = locate(unit.spec.dataset) if locate else unit.spec.dataset
    images = session.images(dataset, (short,), report)
    if images.content != unit.content:
        raise DataError(
            f"the images of {images.dataset} in {session.environment.data} are not those of these "
            f"results (content {images.content[:8]}, not {unit.content[:8]}); name the right folder "
            f"by --data, and a reviewed file of your own by --set dataset.{images.dataset}.groups=FILE"
        )
    return images


def _trained(unit: ScoredUnit) -> PretrainSpec | RunSpec:
    """The training whose images are asked for: of an ensemble, that of a member."""
    spec = unit.spec
    return spec.members[0] if isinstance(spec, EnsembleSpec) else spec
