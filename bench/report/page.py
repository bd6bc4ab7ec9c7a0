"""The report as one page: its sections, and what becomes of one that cannot be made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.errors import BenchError, ConfigError, blame, describe
from bench.figures.palette import declarations
from bench.page import html_page
from bench.report.citations import citations_sections
from bench.report.compared import compared_sections
from bench.report.data_section import data_sections
from bench.report.diversity_section import diversity_sections
from bench.report.failures import failures_sections
from bench.report.figures_section import figures_sections
from bench.report.gathered import Gathered
from bench.report.images_section import images_sections
from bench.report.limits import limits_sections
from bench.report.main_table import results_sections
from bench.report.methods_section import methods_sections
from bench.report.provenance import provenance_sections
from bench.report.section import Section
from bench.report.svg_styles import share_styles
from bench.report.templating import HOW_TO_INSTALL, asset, render
from bench.report.verdict import verdict_sections

log = logging.getLogger("bench")

Make = Callable[[Gathered], Sequence[Section]]

FIRST: Sequence[tuple[str, Make]] = (
    ("What was compared", compared_sections),
    ("Verdict", verdict_sections),
    ("Results", results_sections),
    ("What this study could not show", limits_sections),
)
"""The first screen: what one section is called where it cannot be made, and what makes it."""

APPENDIX: Sequence[tuple[str, Make]] = (
    ("Figures", figures_sections),
    ("How differently methods err", diversity_sections),
    ("Images", images_sections),
    ("Data", data_sections),
    ("Failures", failures_sections),
    ("Methods in words", methods_sections),
    ("Provenance", provenance_sections),
    ("Citations and licences", citations_sections),
)


class Page(NamedTuple):
    """A finished report.

    Attributes:
        html: the whole page.
        warnings: what stderr should say of it.
    """

    html: str
    warnings: Sequence[str]


def check_installed() -> None:
    """Raise ConfigError, before any work is done, where a package that the report needs is not installed."""
    from importlib.util import find_spec

    if missing := [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]:
        raise ConfigError(f"bench report needs {' and '.join(missing)}: {HOW_TO_INSTALL}")


def report_page(gathered: Gathered, makers: Sequence[tuple[str, Make]] | None = None) -> Page:
    """The page of what was gathered: the same bytes for the same results.

    A section that cannot be made says so in its place, and among the warnings. Raises ConfigError where
    jinja2 is not installed.
    """
    from bench import __version__

    sections: list[Section] = []
    warnings = list(gathered.warnings)
    for title, make in sections_of() if makers is None else makers:
        try:
            found = make(gathered)
            sections += found
            warnings += [problem for section in found for problem in section.problems]
        except Exception as error:
            log.debug("section %s", title, exc_info=error)
            reason = _reason(error, gathered)
            warnings.append(f"section {title!r} could not be made: {reason}")
            sections.append(_broken(title, reason, len(sections)))
    named = _apart(sections)
    title = title_of(gathered)
    body = render("page.html", title=title, sections=named, version=__version__, warnings=warnings)
    body, shared = share_styles(body)
    return Page(html_page(title, body, style() + shared, asset("report.js")), list(dict.fromkeys(warnings)))


def sections_of() -> Sequence[tuple[str, Make]]:
    """All sections in their order."""
    return (*FIRST, *APPENDIX)


def title_of(gathered: Gathered) -> str:
    """ "busi, isic2018: 12 methods compared"."""
    names = list(dict.fromkeys(table.title for table in gathered.rendered))
    methods = {method.name for table in gathered.tables for method in table.methods}
    several = len(names) > 3
    listed = f"{len(names)} data sets" if several else ", ".join(names)
    return f"{listed}: {len(methods)} method{'s' * (len(methods) != 1)}"


def style() -> str:
    """The look of the page, with the colours of series for light and dark."""
    return f"{asset('report.css')}:root {{\n{declarations()}}}\n"


def _reason(error: Exception, gathered: Gathered) -> str:
    if isinstance(error, BenchError):
        return str(error)
    place = blame(error, gathered.registry.plugins)
    return f"{describe(error)}{f' ({place})' if place else ''}"


def _broken(title: str, reason: str, place: int) -> Section:
    html = render("broken.html", what="This section", reason=reason)
    return Section(f"broken-{place}", title, html)


def _apart(sections: Sequence[Section]) -> list[Section]:
    """Sections whose anchors differ, whatever their makers called them."""
    seen: set[str] = set()
    named = []
    for section in sections:
        anchor, number = section.anchor, 2
        while anchor in seen:
            anchor, number = f"{section.anchor}-{number}", number + 1
        seen.add(anchor)
        named.append(section._replace(anchor=anchor))
    return named
