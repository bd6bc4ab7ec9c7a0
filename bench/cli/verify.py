"""`bench verify`: is every stored result what was stored, and do a paper's numbers follow from it?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import ResultsOption, check_results
from bench.cli.screen import contain, echo, installed_components, make_console, say, warn
from bench.text import one_line

if TYPE_CHECKING:
    from bench.pack.opened import Opened
    from bench.registry import Registry
    from bench.results.record import Record
    from bench.results.verify import Verification


def verify(
    place: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER|PACK.zip]",
            help="The results folder, or a pack of `bench pack` [default: the folder of --results].",
            show_default=False,
        ),
    ] = None,
    results: ResultsOption = Path("results"),
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute", help="Compute all scores and ensembles again, by another way; of a pack always."
        ),
    ] = False,
    paper: Annotated[
        list[Path] | None,
        typer.Option(
            "--paper",
            help="A table of a paper (.tex, .csv, .md): which of its numbers do not follow? Repeatable.",
        ),
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help="What a head of such a table stands for: 'EG-MAE=egmae'. Repeatable."),
    ] = None,
) -> None:
    """Check every stored result: records, checksums, predictions against splits, audits, stored images.

    A pack is checked whole: its lists, every score, interval, test and table again, splits for leaks. One
    line for each problem; exit code 1 if there is any. Nothing is changed.

    Example: bench verify study.zip --paper table.tex --map 'EG-MAE=egmae'
    """
    from bench.pack.opened import is_pack, opened
    from bench.results.verify import Verification

    _check_options(paper, map_)
    found = Verification()
    with ExitStack() as stack:
        if place is not None and is_pack(place):
            pack = stack.enter_context(opened(place))
            registry = contain(installed_components())
            records, folder = _check_pack(pack, registry, found), pack.results
        else:
            folder = results if place is None else place
            check_results(folder, "--results" if place is None else "FOLDER")
            _check_not_unpacked(folder)
            records = _check_folder(folder, recompute, found)
        _say(folder if place is None else place, found)
        follow = [_check_paper(file, map_ or [], records, folder) for file in paper or ()]
    if found.problems or not all(follow):
        raise typer.Exit(1)


def _check_options(paper: list[Path] | None, map_: list[str] | None) -> None:
    from bench.errors import ConfigError

    if map_ and not paper:
        raise ConfigError("--map says what heads of a paper's table stand for; give the table with --paper")


def _check_not_unpacked(folder: Path) -> None:
    """Raise ConfigError for the folder of an unpacked pack: as a results folder it would be an empty one,
    without a problem."""
    from bench.errors import ConfigError
    from bench.pack.contents import RESULTS
    from bench.pack.crate import METADATA

    if (folder / METADATA).is_file():
        raise ConfigError(
            f"{folder}: is an unpacked pack; give the zip, or {folder / RESULTS} to check the results alone"
        )


def _check_folder(folder: Path, recompute: bool, found: Verification) -> list[Record]:
    from bench.results.verify import verify_results

    records = verify_results(folder, found)
    if recompute:
        from bench.results.recompute import recompute as compute_again

        compute_again(folder, records, contain(installed_components()), found)
    for problem in found.problems:
        echo(one_line(str(problem)))
    return records


def _check_pack(pack: Opened, registry: Registry, found: Verification) -> list[Record]:
    """What is wrong is told with places in the pack; what to do about it, its authors must know."""
    from bench.pack.check import check_pack

    records = check_pack(pack, registry, found)
    for problem in found.problems:
        place = pack.inside(str(problem.place))
        echo(
            one_line(f"{pack.path}: {'' if place == 'the pack' else f'{place}: '}{pack.inside(problem.what)}")
        )
    found.unchecked[:] = map(pack.inside, found.unchecked)
    say(make_console(), f"{pack.path}: sha256 {pack.sha256}")
    return records


def _say(place: Path, found: Verification) -> None:
    for what in found.unchecked:
        echo(one_line(f"not checked: {what}"))
    say(make_console(), f"{place}: {_summary(found)}")


def _summary(found: Verification) -> str:
    checked = ", ".join(f"{count} {what}" for what, count in found.counts.items()) or "nothing to check"
    count = len(found.problems)
    problems = f"{count} problem{'s' * (count != 1)}" if count else "no problem"
    return f"{checked}; {problems}"


def _check_paper(file: Path, maps: Sequence[str], records: Sequence[Record], results: Path) -> bool:
    """Say which numbers of a paper's table do not follow; returns whether some do, and none does not."""
    from bench.pack.paper.check import check_grids
    from bench.pack.paper.files import read_tables
    from bench.pack.paper.names import parse_maps
    from bench.pack.paper.sources import tables_for

    registry = contain(installed_components())
    grids = read_tables(file)
    tables, warnings = tables_for(grids, maps, records, results, registry)
    warn(warnings)
    checked = check_grids(grids, tables, parse_maps(maps, tables))
    for wrong in checked.wrong:
        echo(one_line(f"{file}, {wrong}"))
    for what in (*checked.unclear, *checked.foreign):
        echo(one_line(f"{file}, not checked: {what}"))
    unlike = len(checked.wrong)
    counts = (
        f"{checked.follows} follow from the results, {unlike} do not, {checked.foreign_cells} are not theirs"
    )
    echo(one_line(f"{file}: of the cells with numbers {counts}"))
    if not checked.follows and not unlike:
        echo("no number of it belongs to these results; --map 'HEAD=NAME' says what its heads stand for")
    return bool(checked.follows) and not unlike and not checked.unclear
