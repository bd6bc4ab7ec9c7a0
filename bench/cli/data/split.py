"""`bench data split`: freeze the splits of a data set as manifests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    DataOption,
    DatasetArgument,
    ProtocolOption,
    ResultsOption,
    RoundsOption,
    SetOption,
    SplitOption,
    StrictOption,
    ThreadsOption,
    make_console,
    make_workplace,
    manifests,
    say,
    warn_of_problems,
)

if TYPE_CHECKING:
    from bench.study import Study


def split(
    name: DatasetArgument,
    rounds: RoundsOption = None,
    protocol: ProtocolOption = "",
    set_: SetOption = None,
    split: SplitOption = None,
    strict: StrictOption = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder for copies to take elsewhere.")
    ] = None,
    data: DataOption = None,
    results: ResultsOption = Path("results"),
    threads: ThreadsOption = 0,
) -> None:
    """Audit a data set and freeze the split of each round: the same that `bench run` would draw.

    Take the manifests (-o FOLDER) to another machine and give them to `bench run --split FOLDER`. With
    --split here, they are checked against the images and audited.

    Example: bench data split busi --rounds 5 -o busi_splits
    """
    from bench.cli.plan import print_counts
    from bench.cli.progress import display
    from bench.data.splits import path_of
    from bench.plugins import catalog
    from bench.workbench import prepare_data

    warn_of_problems(catalog())
    study = _study(name, protocol, rounds, set_)
    workplace = make_workplace(data, results, "cpu", threads)
    console = make_console()
    with display(console, 0) as shown:
        found = prepare_data(study, workplace, shown.report, given=manifests(split), strict=strict)
    print_counts(study.datasets[0], found, console)
    for made in found.values():
        verdict = f"{made.verdict.text} (audit {made.verdict.audit[:8]})" if made.verdict else "not audited"
        say(console, f"round {made.round}  {verdict}")
        path = path_of(results, made)
        if output is not None:
            path = _copy(path, output / f"{name}.r{made.round}.json")
        say(console, f"  written: {path}")


def _copy(path: Path, target: Path) -> Path:
    from bench.store import replace_text

    replace_text(target, path.read_text(encoding="utf-8"))
    return target


def _study(name: str, protocol: str, rounds: int | None, assignments: list[str] | None) -> Study:
    """A study of this data set alone; what it would train does not matter here."""
    from bench.plugins import catalog
    from bench.study import StudyFile, make_study

    strategies = tuple(catalog().names("strategies")[:1])
    file = StudyFile(datasets=(name,), strategies=strategies, base=protocol or "paper")
    extra = [f"protocol.rounds={rounds}"] if rounds is not None else []
    return make_study(file, catalog(), [*(assignments or ()), *extra])
