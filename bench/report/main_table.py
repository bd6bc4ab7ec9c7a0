"""The main tables: methods by metrics, and where each value comes from."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.comparison.compare import Table
from bench.comparison.methods import Method
from bench.comparison.why import again, environments_of, images_of, value_text
from bench.errors import describe
from bench.interfaces import cells
from bench.interfaces.reporter import Table as Rendered
from bench.interfaces.rows import Column, Row
from bench.report.gathered import Gathered
from bench.report.section import Section
from bench.report.templating import render


class Cell(NamedTuple):
    """One value.

    Attributes:
        metric: its name, by which a script finds where it comes from.
        order: what the column is sorted by; "" for none.
        mean: as text.
        beside: its interval.
        whole: mean, deviation and interval.
        best: whether it is marked.
    """

    metric: str
    order: str
    mean: str
    beside: str
    whole: str
    best: bool


class Round(NamedTuple):
    """A finished round of a method: scores in the order of columns, and the hashes of what they are from."""

    number: int
    scores: Sequence[str]
    key: str
    split: str
    predictions: str


class Origin(NamedTuple):
    """Where the values of a row come from.

    Attributes:
        rounds: the finished ones.
        folders: where they lie in the results folder, as a pattern.
        note: why rounds are missing.
        images: hashes of the images.
        environments: versions and machines.
        command: makes the row again.
        remarks: on the command.
    """

    rounds: Sequence[Round]
    folders: str
    note: str
    images: Sequence[str]
    environments: Sequence[str]
    command: str
    remarks: Sequence[str]


class Line(NamedTuple):
    """One row of a main table. `id` stands in no other."""

    id: str
    model: str
    method: str
    numbers: Sequence[tuple[str, str]]
    cells: Sequence[Cell]
    origin: Origin


class Main(NamedTuple):
    """One table."""

    where: str
    protocol: str
    columns: Sequence[Column]
    lines: Sequence[Line]
    several_models: bool
    legend: str
    remarks: Sequence[str]


def results_sections(gathered: Gathered) -> list[Section]:
    """None without a finished run."""
    if not gathered.tables:
        return []
    places = enumerate(zip(gathered.tables, gathered.rendered, strict=True), 1)
    tables = [_main(table, rendered, f"t{place}", gathered) for place, (table, rendered) in places]
    html = render(
        "results.html",
        tables=tables,
        metrics=gathered.metrics,
        primary=gathered.question.metric.name,
        baseline=gathered.question.declared.baseline,
    )
    return [Section("results", "Results", html)]


def _main(table: Table, rendered: Rendered, id_: str, gathered: Gathered) -> Main:
    winners = cells.best(rendered)
    rows = {(row.model, row.method): row for row in rendered.rows}
    lines = []
    for number, method in enumerate(table.methods, 1):
        row = rows[method.label]
        lines.append(
            Line(
                id=f"{id_}r{number}",
                model=row.model,
                method=row.method,
                numbers=[(cells.rounds(row), str(row.rounds_done)), *map(_number, (row.gmacs, row.mparams))],
                cells=[_cell(row, column, winners) for column in rendered.columns],
                origin=_origin(method, row, rendered.columns, gathered),
            )
        )
    return Main(
        where=table.where,
        protocol=rendered.protocol,
        columns=rendered.columns,
        lines=lines,
        several_models=len({line.model for line in lines}) > 1,
        legend=cells.legend(rendered),
        remarks=cells.remarks(rendered),
    )


def _number(value: float | None) -> tuple[str, str]:
    return cells.amount(value), "" if value is None or math.isnan(value) else repr(float(value))


def _cell(row: Row, column: Column, winners: dict[str, str]) -> Cell:
    value = row.values.get(column.name)
    defined = value is not None and not math.isnan(value.mean)
    return Cell(
        metric=column.name,
        order=f"{value.mean:.6f}" if value is not None and defined else "",
        mean=cells.mean(value),
        beside=cells.interval(value),
        whole=value_text(value),
        best=cells.is_best(row, column.name, winners),
    )


def _origin(method: Method, row: Row, columns: Sequence[Column], gathered: Gathered) -> Origin:
    try:
        command, remarks = again(method, row.rounds_asked, gathered.registry)
    except Exception as error:  # a record of what this version cannot ask for
        command, remarks = "", [f"the command cannot be told ({describe(error)})"]
    return Origin(
        rounds=list(_rounds(method, columns)),
        folders=_folders(method, gathered.results),
        note=row.note,
        images=images_of(method),
        environments=environments_of(method),
        command=command,
        remarks=remarks,
    )


def _rounds(method: Method, columns: Sequence[Column]) -> Iterator[Round]:
    for number, unit in method.done.items():
        yield Round(
            number=number,
            scores=[_score(unit.scores.get(column.name)) for column in columns],
            key=unit.spec.key,
            split=unit.spec.split[:16],
            predictions=unit.sha256[:16],
        )


def _folders(method: Method, results: Path) -> str:
    """ "runs/busi/*.UNIT": where the folders of all rounds lie."""
    paths = [unit.record.path for unit in method.done.values() if unit.record.path]
    places = dict.fromkeys(os.path.relpath(path.parent, results) for path in paths)
    return ", ".join(f"{place}/*.UNIT" for place in places)


def _score(value: float | None) -> str:
    if value is None:
        return cells.NOTHING
    return "n/a" if math.isnan(value) else f"{value:.4f}"
