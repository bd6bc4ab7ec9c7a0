"""The figures of a report: a section for each table."""

from __future__ import annotations

from bench.figures.drawing import Drawing
from bench.figures.drawings import Made, drawings_of, drawings_over
from bench.figures.material import Material
from bench.figures.output import as_svg
from bench.page import paragraphs, shown, table
from bench.report.gathered import Gathered
from bench.report.section import Section


def figures_sections(gathered: Gathered) -> list[Section]:
    """One section a table, in which each figure has its caption, and the plotted values where they are few;
    and one of figures over several tables. What cannot be drawn is said in its place. Raises ConfigError
    where matplotlib is missing."""
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


def figure_html(drawing: Drawing) -> str:
    """A drawing with its caption and values; folded where it tells more of what another one shows."""
    caption = f"<strong>{shown(drawing.title)}.</strong> {shown(drawing.caption)}"
    html = f'<figure id="{drawing.key}" class="drawing">{as_svg(drawing)}<figcaption>{caption}</figcaption>'
    if drawing.data:
        values = table(f"{drawing.title}: values", drawing.data.heads, drawing.data.rows)
        html += f"<details><summary>Values</summary>{values}</details>"
    html += "</figure>\n"
    if drawing.second:
        return f"<details><summary>{shown(drawing.title)}</summary>{html}</details>\n"
    return html
