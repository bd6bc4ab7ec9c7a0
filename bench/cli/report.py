"""`bench report`: one page with all that stored results say, to be looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import DataOption, PicturesOption, SetLocalOption, with_options
from bench.cli.question import QuestionOptions
from bench.cli.screen import contain, installed_components, make_console, warn

if TYPE_CHECKING:
    from bench.report.page import Page


@with_options
def report(
    asked: QuestionOptions,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The page (.html).", show_default=True)
    ] = Path("report.html"),
    data: DataOption = None,
    embed_pictures: PicturesOption = None,
    set_: SetLocalOption = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", "-w", help="Write it again as units end, until nothing runs on the results."),
    ] = False,
) -> None:
    """Write one page with tables, verdicts, figures and images of stored results. It needs no network.

    With --watch it is written again while a study runs, and the browser's tab loads it again.

    Example: bench report --dataset busi --metric auc -o busi.html
    """
    from bench.cli.pages import check_page_path, write_whole
    from bench.cli.report_watch import write_again
    from bench.cli.stored_images import image_session, located
    from bench.report.gathered import gather
    from bench.report.page import check_installed, report_page

    registry = contain(installed_components())
    check_installed()
    check_page_path(output)

    def make() -> Page:
        question, records = asked.question(registry)
        session = None if embed_pictures is False else image_session(data, asked.results, registry)
        named = bool(asked.baseline)
        gathered = gather(records, asked.results, question, registry, session, embed_pictures, named)
        for record in (
            gathered.records if set_ else ()
        ):  # what is wrong with --set is said before the page is made
            located(record.spec.dataset, set_, registry)
        return report_page(replace(gathered, locate=lambda dataset: located(dataset, set_, registry)))

    if watch:
        write_again(make, output, asked.results)
        return
    page = make()
    warn(page.warnings)
    size = write_whole(output, page.html)
    make_console(stderr=True).print(f"written: {output} ({size})", markup=False, soft_wrap=True)
