"""What an explanation works with, from a table of stored results: images, guides, the test images' groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.comparison.again import runs_of
from bench.comparison.compare import Table
from bench.comparison.evidence import read_sample
from bench.execution.pictures import same_images
from bench.explain.explained import Task
from bench.explain.guides import guides_of
from bench.explain.looks import Place

if TYPE_CHECKING:
    from bench.execution.session import Session
    from bench.identity import Ref
    from bench.interfaces.executor import Report


def prepare_task(
    table: Table,
    tables: Sequence[Table],
    dataset: Ref,
    session: Session,
    of: str,
    random_head: bool,
    report: Report,
) -> Task:
    """The images are those of `dataset`, which says where they lie; guides are those of all rows of the
    table's original among `tables`, whatever rows are explained: a guide needs no network.

    Raises what opening the images raises, and DataError if they are not those of the results.
    """
    environment = session.environment
    unit = next(iter(table.methods[0].done.values()))
    size = runs_of(unit.record)[0].size
    images = same_images(unit, session, size, lambda _: dataset, report)
    whole = next(each for each in tables if each.where == table.where)
    return Task(
        where=table.where,
        images=images,
        size=size,
        guides=guides_of(whole.methods, session.registry),
        sample=read_sample(table.methods, environment.results),
        of=of,
        place=Place(
            results=environment.results,
            registry=session.registry,
            device=session.configure_device(),
            random_head=random_head,
            report=report,
        ),
    )
