"""The figures of a report: a section for each table, and one for what tables say together."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from bench.errors import describe
from bench.figures import learning, operating
from bench.figures.drawing import Drawing
<<<<<<< HEAD
from bench.figures.drawings import KINDS, OVERVIEWS, Kind, Overview
from bench.figures.material import Material, NothingToDraw
=======
from bench.figures.drawings import Made, drawings_of, drawings_over
from bench.figures.material import Material
>>>>>>> figures
from bench.figures.output import as_svg
from bench.page import paragraphs, shown, table
from bench.report.gathered import Gathered
from bench.report.section import Section
from bench.report.templating import render

MANY = 2  # tables; with more of them a report leaves figures out that tell more of what others show
DETAILS = (operating.ROC_CLASSES, operating.PR_CLASSES, learning.VALIDATION)
log = logging.getLogger("bench")


def figures_sections(gathered: Gathered) -> list[Section]:
<<<<<<< HEAD
    """Each figure has its caption, and the plotted values where they are few. A figure that cannot be drawn
    says why in its place."""
=======
    """One section a table, in which each figure has its caption, and the plotted values where they are few;
    and one of figures over several tables. What cannot be drawn is said in its place. Raises ConfigError
    where matplotlib is missing."""
>>>>>>> figures
    materials = [
        Material(
            table=one,
            results=gathered.results,
            registry=gathered.registry,
            question=gathered.question,
            records=gathered.records,
        )
        for one in gathered.tables
    ]
<<<<<<< HEAD
    made = []
    for number, (one, material) in enumerate(zip(gathered.tables, materials, strict=True), 1):
        section = _section(
            f"figures-{number}", f"Figures: {one.where}", KINDS, material, len(materials) > MANY
        )
        made.append(section._replace(html=f'<div data-dataset="{shown(one.where)}">\n{section.html}</div>\n'))
    together = _section("figures", "Figures over all tables", OVERVIEWS, materials) if materials else None
    return [*made, *([together] if together and together.html else [])]


def _section(
    anchor: str, title: str, kinds: Iterable[Kind | Overview], material: Any, few: bool = False
) -> Section:
    """`few` leaves out the details."""
    parts, problems = [], []
    left_out: list[str] = []
    for kind in kinds:
        try:
            if few and kind.name in DETAILS:
                left_out.append(kind.name)
                continue
            parts += [figure_html(drawing) for drawing in kind.make(material)]
        except NothingToDraw:
            continue
        except Exception as error:
            log.debug("figure %s", kind.name, exc_info=error)
            problems.append(f"figure {kind.name!r} of {title!r} could not be drawn: {describe(error)}")
            parts.append(render("broken.html", what=f"The figure of {kind.about}", reason=describe(error)))
    if left_out:
        parts.append(
            f"<p>Left out of a report of so many tables: {shown(', '.join(left_out))}. <code>bench figure NAME"
            "</code> draws each, and a report of one data set (<code>--dataset</code>) has them all.</p>\n"
        )
    return Section(anchor, title, "".join(parts), tuple(problems))
=======
    made = [
        Section(f"figures-{number}", f"Figures: {material.table.where}", _html(drawings_of(material)))
        for number, material in enumerate(materials, 1)
    ]
    over = drawings_over(materials)
    if over.drawings or over.problems:
        made.insert(0, Section("figures-over", "Figures over several tables", _html(over)))
    return [section for section in made if section.html]


def _html(made: Made) -> str:
    return "".join(map(figure_html, made.drawings)) + paragraphs(made.problems, "warn")
>>>>>>> figures


def figure_html(drawing: Drawing) -> str:
    """A drawing with its caption and values; folded where it tells more of what another one shows."""
    caption = f"<strong>{shown(drawing.title)}.</strong> {shown(drawing.caption)}"
    html = f'<figure id="{drawing.key}" class="drawing">{as_svg(drawing)}<figcaption>{caption}</figcaption>'
    if drawing.data:
<<<<<<< HEAD
        values = table(f"Values: {drawing.title}", drawing.data.heads, drawing.data.rows)
=======
        values = table(f"{drawing.title}: values", drawing.data.heads, drawing.data.rows)
>>>>>>> figures
        html += f"<details><summary>Values</summary>{values}</details>"
    html += "</figure>\n"
    if drawing.second:
        return f"<details><summary>{shown(drawing.title)}</summary>{html}</details>\n"
    return html
