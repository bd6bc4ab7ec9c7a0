"""The page of `bench report` that a pack holds: without pictures, where its packages are installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.comparison.asked import question_of
from bench.errors import BenchError, ConfigError
from bench.registry import Registry
from bench.report.gathered import gather
from bench.report.page import check_installed, report_page
from bench.results.record import Record


class Page(NamedTuple):
    """The page, or none and why."""

    html: bytes | None
    warnings: Sequence[str]


def page_of(records: Sequence[Record], results: Path, datasets: Sequence[str], registry: Registry) -> Page:
    """The page of these records of the folder `results`, by the metric that the study declared."""
    try:
        check_installed()
    except ConfigError as error:
        return Page(None, [f"no page of the results is packed: {error}"])
    try:
        question, problems = question_of(records, registry, datasets=datasets)
        page = report_page(gather(records, results, question, registry, pictures=False))
    except BenchError as error:
        return Page(None, [f"no page of the results is packed: {error}"])
    if any(path in page.html for path in {str(results.absolute()), str(Path.home() / "_")[:-1]}):
        return Page(None, ["no page of the results is packed: it names a path of this machine"])
    return Page(page.html.encode(), [*problems, *page.warnings])
