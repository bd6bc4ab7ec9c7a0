"""`bench pack`: stored results as one zip, for reviewers and for an archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import DatasetsOption, ResultsOption, check_results, given_names
from bench.cli.screen import contain, echo, installed_components, make_console, warn

if TYPE_CHECKING:
    from bench.pack.crate import Described


def pack(
    results: ResultsOption = Path("results"),
    dataset: DatasetsOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The zip to write.")] = Path("study.zip"),
    encoders: Annotated[
        bool, typer.Option("--encoders", help="Pack the weights of pretrainings too, which are large.")
    ] = False,
    models: Annotated[
        bool, typer.Option("--models", help="Pack the trained networks that a study kept, which are large.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Pack this page of `bench report` [default: one without pictures, if the extra `report` is "
            "installed].",
            show_default=False,
        ),
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Pack no page of the results.")] = False,
    name: Annotated[str, typer.Option(help="What the pack is called.", show_default=False)] = "",
    description: Annotated[
        str, typer.Option(help="What it is, in a sentence or two.", show_default=False)
    ] = "",
    author: Annotated[
        list[str] | None,
        typer.Option("--author", help="'NAME' or 'NAME <ORCID iD>'; repeat it for several."),
    ] = None,
    licence: Annotated[
        str,
        typer.Option(
            "--license",
            help="Of the pack: an SPDX identifier, say CC-BY-4.0, or an address.",
            show_default=False,
        ),
    ] = "",
    published: Annotated[
        str, typer.Option(help="The day it is published, say 2026-11-28.", show_default=False)
    ] = "",
    with_paths: Annotated[
        bool, typer.Option("--with-paths", help="Pack records although they name paths of a machine.")
    ] = False,
) -> None:
    """Pack stored results for reviewers: records, predictions, splits, audits, tables, citations, as one zip.

    The same results give the same bytes, so that its sha256, which is printed, can be cited.

    Example: bench pack -o study.zip --license CC-BY-4.0 --author 'Ada Lovelace <0000-0002-1825-0097>'
    """
    from rich.filesize import decimal

    from bench.pack.build import Order, make_pack
    from bench.pack.contents import Wanted
    from bench.results.store import scan

    registry = contain(installed_components())
    check_results(results, needed=True)
    _check_output(output)
    described = _described(name, description, author or [], licence, published)
    order = Order(
        datasets=given_names("--dataset", dataset),
        wanted=Wanted(encoders=encoders, models=models, paths=with_paths),
        described=described,
        report=_page(report, no_report),
    )
    packed = make_pack(output, results, scan(results), order, registry)
    warn([*packed.warnings, *_lacking(described)])
    done, failed = packed.units
    failures = f", {failed} failed" if failed else ""
    make_console(stderr=True).print(
        f"written: {output} ({decimal(packed.bytes)}): {done} units{failures}, {packed.files} files",
        markup=False,
    )
    echo(f"sha256 {packed.sha256}")


def _check_output(output: Path) -> None:
    """Raise ConfigError, before any work is done, for what is no place for a zip."""
    import zipfile

    from bench.errors import ConfigError

    if output.suffix.lower() != ".zip":
        raise ConfigError(f"--output {output}: is a zip; give a name that ends in .zip")
    if output.is_dir():
        raise ConfigError(f"--output {output}: is a folder; give a file in it")
    if output.exists() and not zipfile.is_zipfile(output):
        raise ConfigError(f"--output {output}: is there already and is no zip; give another name")


def _described(name: str, description: str, authors: list[str], licence: str, published: str) -> Described:
    """Raises ConfigError."""
    from bench.errors import ConfigError
    from bench.pack.crate import Described, parse_author, parse_date

    if (licence and not licence.isprintable()) or licence != licence.strip() or " " in licence:
        raise ConfigError(f"--license {licence!r}: must be an SPDX identifier (CC-BY-4.0) or an address")
    return Described(
        name=name,
        description=description,
        published=parse_date(published) if published else "",
        licence=licence,
        authors=tuple(map(parse_author, authors)),
    )


def _page(report: Path | None, no_report: bool) -> bytes | None:
    """The page to pack: None for one that is to be made, b"" for none. Raises ConfigError for what is none of
    ours."""
    from bench.errors import ConfigError
    from bench.page import is_page

    if report is None or no_report:
        return b"" if no_report else None
    try:
        content = report.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"--report {report}: cannot be read ({error.strerror}); give another file"
        ) from None
    if not is_page(content[:1000].decode("utf-8", "replace")):
        raise ConfigError(f"--report {report}: is no page of bench; make one with `bench report`")
    return content


def _lacking(described: Described) -> list[str]:
    """What an archive wants to know and was not told."""
    lacking = [
        option
        for option, given in (("--published", described.published), ("--license", described.licence))
        if not given
    ]
    if not lacking:
        return []
    return [f"without {' and '.join(lacking)} the metadata is no complete RO-Crate; archives ask for both"]
