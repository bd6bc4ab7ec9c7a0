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
    over = _html(drawings_over(materials), named=True)
    made.append(over._replace(anchor="figures-over", title="Figures over several tables"))
    return [section for section in made if section.html]


def _html(made: Made, few: bool = False, named: bool = False) -> Section:
    """The drawings and what could not be drawn; without details where there are to be `few`, with where each
    is from where the section does not say it (`named`)."""
    drawings = [one for one in made.drawings if not (few and one.name in DETAILS)]
    left_out = dict.fromkeys(one.name for one in made.drawings if few and one.name in DETAILS)
    html = "".join(figure_html(one, f"{one.title} ({one.where})" if named else one.title) for one in drawings)
    html = f'<div class="figures">\n{html}</div>\n' if html else ""
    html += paragraphs(made.problems, "warn")
    if left_out:
        names = shown(", ".join(left_out))
        html += (
            f"<p>Left out of a report of so many tables: {names}. <code>bench figure NAME</code> draws each, "
            "and a report of one data set (<code>--dataset</code>) has them all.</p>\n"
        )
    return Section("", "", html, tuple(made.problems))


def figure_html(drawing: Drawing, title: str) -> str:
    """A drawing with its caption, which begins with `title`, and its values folded."""
    caption = f"<strong>{shown(title)}.</strong> {shown(drawing.caption)}"
    html = f'<figure id="{drawing.key}" class="drawing">{as_svg(drawing)}<figcaption>{caption}</figcaption>'
    if drawing.data:
        values = table(f"{title}: values", drawing.data.heads, drawing.data.rows)
        html += f"<details><summary>Values</summary>{values}</details>"
    return f"{html}</figure>\n"
