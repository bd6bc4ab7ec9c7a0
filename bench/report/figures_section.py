"""The figures of a report: a section for each table, and one for what tables say together."""

from __future__ import annotations

from bench.figures import learning, operating
from bench.figures.drawing import Drawing
from bench.figures.drawings import Made, drawings_of, drawings_over
from bench.figures.material import Material
from bench.figures.output import as_svg
from bench.page import paragraphs, shown, table
from bench.report.gathered import Gathered
from bench.report.section import Section

MANY = 2  # tables; with more of them a report leaves figures out that tell more of what others show
DETAILS = (operating.ROC_CLASSES, operating.PR_CLASSES, learning.VALIDATION)


def figures_sections(gathered: Gathered) -> list[Section]:
    """Each figure has its caption, and the plotted values where they are few. What cannot be drawn is said
    in its place."""
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
    made = []
    for number, material in enumerate(materials, 1):
        where = material.table.where
        html = _html(drawings_of(material), few=len(materials) > MANY)
        own = f'<div data-dataset="{shown(where)}">\n{html.html}</div>\n' if html.html else ""
        made.append(html._replace(anchor=f"figures-{number}", title=f"Figures: {where}", html=own))
    over = _html(drawings_over(materials))
    made.append(over._replace(anchor="figures-over", title="Figures over several tables"))
    return [section for section in made if section.html]


def _html(made: Made, few: bool = False) -> Section:
    """The drawings and what could not be drawn; without details where there are to be `few`."""
    drawings = [one for one in made.drawings if not (few and one.name in DETAILS)]
    left_out = dict.fromkeys(one.name for one in made.drawings if few and one.name in DETAILS)
    html = "".join(map(figure_html, drawings))
    html = f'<div class="figures">\n{html}</div>\n' if html else ""
    html += paragraphs(made.problems, "warn")
    if left_out:
        names = shown(", ".join(left_out))
        html += (
            f"<p>Left out of a report of so many tables: {names}. <code>bench figure NAME</code> draws each, "
            "and a report of one data set (<code>--dataset</code>) has them all.</p>\n"
        )
    return Section("", "", html, tuple(made.problems))


def figure_html(drawing: Drawing) -> str:
    """A drawing with its caption, and its values folded."""
    caption = f"<strong>{shown(drawing.title)}.</strong> {shown(drawing.caption)}"
    html = f'<figure id="{drawing.key}" class="drawing">{as_svg(drawing)}<figcaption>{caption}</figcaption>'
    if drawing.data:
        values = table(f"{drawing.title}: values", drawing.data.heads, drawing.data.rows)
        html += f"<details><summary>Values</summary>{values}</details>"
    return f"{html}</figure>\n"
