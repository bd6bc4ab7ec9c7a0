"""The methods section of a paper, of what the records say."""

from __future__ import annotations

from bench.manuscript.data_text import data_section
from bench.manuscript.document import Chapter, render
from bench.manuscript.evaluation_text import evaluation_sections
from bench.manuscript.facts import Comparison, Material, telling
from bench.manuscript.partition_text import partition_section
from bench.manuscript.training_text import training_sections


def methods(material: Material) -> list[Chapter]:
    """A chapter for each comparison. Raises StoreError for a record that no version of bench wrote."""
    return [_chapter(comparison, material) for comparison in material.comparisons]


def _chapter(comparison: Comparison, material: Material) -> Chapter:
    with telling(comparison):
        return Chapter(
            comparison.heading,
            (
                data_section(comparison, material),
                partition_section(comparison),
                *training_sections(comparison, material),
                *evaluation_sections(comparison, material),
            ),
        )


def methods_text(material: Material, form: str, *, with_works: bool) -> str:
    """The chapters in one of the formats, followed by the BibTeX of all that they cite if that is wanted."""
    text = render(methods(material), form)
    works = str(material.works)
    if not with_works or not works:
        return text
    if form == "markdown":
        return f"{text}\n```bibtex\n{works}```\n"
    if form == "latex":
        commented = "\n".join(f"% {line}".rstrip() for line in works.splitlines())
        return f"{text}\n% BibTeX; --bib FILE writes it to a file\n{commented}\n"
    return f"{text}\n{works}"
