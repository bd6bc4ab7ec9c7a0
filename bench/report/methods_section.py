"""The methods of the study in words, as `bench methods-text` writes them for a paper."""

from __future__ import annotations

from bench.manuscript.facts import gather
from bench.manuscript.methods import methods_text
from bench.report.gathered import Gathered
from bench.report.section import Section
from bench.report.templating import render


def methods_sections(gathered: Gathered) -> list[Section]:
    """None without a finished run."""
    material = gather(
        gathered.records, gathered.results, gathered.metrics, gathered.registry, gathered.question.datasets
    )
    if not material.comparisons:
        return []
    text = methods_text(material, "text", with_works=False)
    return [Section("methods", "Methods in words", render("methods.html", text=text.strip()))]
