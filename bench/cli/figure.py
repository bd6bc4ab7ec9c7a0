"""`bench figure`: stored results as figures, for a paper or a talk."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import complete
from bench.cli.options import Names, given_names, with_options
from bench.cli.question import QuestionOptions
from bench.cli.screen import contain, echo, installed_components, warn
from bench.text import one_line

if TYPE_CHECKING:
    from bench.figures.drawing import Data, Drawing
    from bench.figures.material import Material

WIDTH, DPI = 4.8, 300


@with_options
def figure(
    asked: QuestionOptions,
    name: Annotated[
        str,
        typer.Argument(
            help="A kind of figure, as --list names it [default: all that apply].",
            autocompletion=complete.figures,
            show_default=False,
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .svg, .pdf or .png; several figures add to its name."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the kinds of figures.")] = False,
    method: Annotated[
        Names,
        typer.Option(
            "--method",
            help="Rows to draw, comma-separated, in this order [default: all].",
            show_default=False,
        ),
    ] = None,
    width: Annotated[
        float, typer.Option(min=2.0, max=20.0, help="Inches; panels stand side by side as they fit.")
    ] = WIDTH,
    dpi: Annotated[int, typer.Option(min=30, max=1200, help="Of a .png.")] = DPI,
) -> None:
    """Draw stored results: intervals, curves, matrices, calibration, costs, learning, budgets.

    Example: bench figure forest --dataset busi --metric auc -o forest.pdf
    """
    from bench.errors import ConfigError, UnknownName
    from bench.figures.kinds import ABOUT

    if list_ or (not name and output is None):
        _list()
        return
    if name and name not in ABOUT:
        raise UnknownName("figure", name, ABOUT)
    if output is None:
        raise ConfigError(f"bench figure {name} needs a file: -o {name}.pdf (or .svg, .png)")
    from bench.figures.drawings import drawings_of, drawings_over, make
    from bench.figures.output import check_suffix, write

    check_suffix(output)
    materials = _materials(asked, given_names("--method", method))
    if not materials:
        echo(f"no finished runs in {one_line(str(asked.results))}; make some (`bench run --help`)", err=True)
        return
    if name:
        drawn = make(name, materials)
    else:
        every = [*(drawings_of(material) for material in materials), drawings_over(materials)]
        drawn = [drawing for made in every for drawing in made.drawings]
        warn(dict.fromkeys(problem for made in every for problem in made.problems))
    for path, drawing in zip(paths_of(output, drawn), drawn, strict=True):
        write(drawing, path, width, dpi)
        echo(f"{drawing.title} ({drawing.where}). {drawing.caption}\n")
        if drawing.data:
            echo(f"{_as_text(drawing.data)}\n")
        echo(f"written: {path}", err=True)


def _as_text(data: Data) -> str:
    """The plotted values in columns; names from outside on one line each."""
    rows = [[one_line(cell) for cell in row] for row in (data.heads, *data.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _list() -> None:
    from bench.figures.kinds import ABOUT

    width = max(map(len, ABOUT))
    for name, about in ABOUT.items():
        echo(f"{name:{width}}  {about}")
    echo("\nbench figure NAME -o FILE.pdf (or .svg, .png); without a NAME, all that apply")


def _materials(asked: QuestionOptions, methods: Sequence[str]) -> list[Material]:
    """One for each table. Raises UnknownName for a method that no table has."""
    from bench.comparison.compare import comparable_tables
    from bench.figures.chosen import choose_rows
    from bench.figures.material import Material

    registry = contain(installed_components())
    question, records = asked.question(registry)
    tables, damage = comparable_tables(records, asked.results, question, registry)
    warn(damage)
    return [
        Material(table=table, results=asked.results, registry=registry, question=question, records=records)
        for table in (choose_rows(tables, methods) if tables else [])
    ]


def paths_of(output: Path, drawings: Sequence[Drawing]) -> list[Path]:
    """A file for each: `output` itself for one alone, else with what tells them apart before its suffix."""
    if len(drawings) == 1:
        return [output]
    names, places = ({getattr(d, of) for d in drawings} for of in ("name", "where"))
    stems = []
    for drawing in drawings:
        parts = [drawing.name] * (len(names) > 1) + [drawing.where] * (len(places) > 1)
        stems.append("-".join([output.stem, *map(_safe, parts)]))
    times, seen = Counter(stems), Counter[str]()
    paths = []
    for stem in stems:
        seen[stem] += 1
        number = f"-{seen[stem]}" if times[stem] > 1 else ""
        paths.append(output.with_name(f"{stem[:200]}{number}{output.suffix}"))
    return paths


def _safe(text: str) -> str:
    """What every file system takes."""
    return re.sub(r"[^A-Za-z0-9.+]+", "-", text).strip("-.") or "_"
