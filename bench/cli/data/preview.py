"""`bench data preview`: a data sheet of a data set, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import (
    DataOption,
    DatasetArgument,
    OnBadImageOption,
    PicturesOption,
    ProtocolOption,
    ResultsOption,
    SetOption,
    ThreadsOption,
    assignments,
    study_of_dataset,
)
from bench.cli.screen import contain, installed_components, make_console, say


def preview(
    name: DatasetArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page [default: NAME-preview.html].", show_default=False),
    ] = None,
    embed_pictures: PicturesOption = None,
    most: Annotated[
        int, typer.Option("--most", min=1, max=100, help="Pictures of each class and part, at most.")
    ] = 6,
    protocol: ProtocolOption = "",
    set_: SetOption = None,
    data: DataOption = None,
    results: ResultsOption = Path("results"),
    threads: ThreadsOption = 0,
    on_bad_image: OnBadImageOption = "fail",
) -> None:
    """Show a data set as a page: pictures by class and part, sizes, outliers, duplicates, licence.

    One HTML file without scripts, to look at before a study and to keep with it. Pictures are in it where the
    licence allows to pass them on, or with --embed-pictures.

    Example: bench data preview isic2018 -o isic2018.html
    """
    from bench.api import local_environment
    from bench.cli.pages import check_page_path, write_whole
    from bench.cli.progress import display
    from bench.data.fetch.local_state import read_consent
    from bench.data.preview.embedding import embedding
    from bench.data.preview.page import sheet_page
    from bench.data.preview.sheet import Sheet, parts_of
    from bench.execution.session import Session

    registry = contain(installed_components())
    study = study_of_dataset(name, protocol, assignments(set_), registry)
    target = output or Path(f"{name}-preview.html")
    check_page_path(target)
    ref, settings = study.datasets[0], study.protocol
    place = local_environment(data, results, device="cpu", threads=threads, on_bad_image=on_bad_image)
    session = Session(place, registry)
    console = make_console()
    with display(console) as shown:
        images, audit = session.audited(ref, settings.audit, report=shown.report)
    dataset = registry.datasets.get(ref.name)
    sheet = Sheet(
        dataset=dataset,
        params=ref.params,
        index=session.index(ref),
        images=images,
        audit=audit,
        parts=parts_of(images, settings.split, settings.seed, audit),
        embedding=embedding(dataset, embed_pictures),
        most=most,
        consent=read_consent(session.environment.data / ref.name),
    )
    size = write_whole(target, sheet_page(sheet))
    say(console, sheet.embedding.why)
    say(console, f"written: {target} ({size})")
