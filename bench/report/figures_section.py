"""The figures of a report: a section for each table."""

from __future__ import annotations

from bench.figures.drawing import Drawing
from bench.figures.drawings import drawings
from bench.figures.output import as_svg
from bench.page import shown, table
from bench.report.gathered import Gathered
from bench.report.section import Section


def figures_sections(gathered: Gathered) -> list[Section]:
    """One section a table, in which each figure has its caption, and the plotted values where they are
    few. Raises StoreError for predictions that cannot be read, ConfigError where matplotlib is missing."""
    made = []
    for number, one in enumerate(gathered.tables, 1):
        own = drawings(one, gathered.results, gathered.registry, gathered.question, gathered.records)
        html = "".join(figure_html(drawing) for drawing in own)
        made.append(Section(f"figures-{number}", f"Figures: {one.where}", html))
    return made


def figure_html(drawing: Drawing) -> str:
    """A drawing with its caption and values; folded where it tells more of what another one shows."""
    caption = f"<strong>{shown(drawing.title)}.</strong> {shown(drawing.caption)}"
    html = f'<figure id="{drawing.key}" class="drawing">{as_svg(drawing)}<figcaption>{caption}</figcaption>'
    if drawing.data:
        html += (
            f"<details><summary>Values</summary>{table('', drawing.data.heads, drawing.data.rows)}</details>"
        )
    html += "</figure>\n"
    if drawing.second:
        return f"<details><summary>{shown(drawing.title)}</summary>{html}</details>\n"
    return html
