"""`bench data split`: freeze the splits of a data set as manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import (
    DataOption,
    DatasetArgument,
    OnBadImageOption,
    ProtocolOption,
    ResultsOption,
    RoundsOption,
    SetOption,
    SplitOption,
    StrictOption,
    ThreadsOption,
    assignments,
    study_of_dataset,
)
from bench.cli.screen import contain, installed_components, make_console, say


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
    on_bad_image: OnBadImageOption = "fail",
) -> None:
    """Audit a data set and freeze the split of each round: the same that `bench run` would draw.

    Take the manifests (-o FOLDER) to another machine and give them to `bench run --split FOLDER`. With
    --split here, they are checked against the images and audited.

    Example: bench data split busi --rounds 5 -o busi_splits
    """
    from bench.api import local_environment
    from bench.cli.plans import print_counts
    from bench.cli.progress import display
    from bench.data.splits.manifest import manifest_path
    from bench.execution.plan import freeze_splits
    from bench.execution.session import Session

    registry = contain(installed_components())
    study = study_of_dataset(name, protocol, assignments(set_, rounds), registry)
    environment = local_environment(data, results, device="cpu", threads=threads, on_bad_image=on_bad_image)
    console = make_console()
    with display(console) as shown:
        splits = freeze_splits(
            study, Session(environment, registry), shown.report, manifests=split or (), strict=strict
        )
    print_counts(study.datasets[0], splits, console)
    for frozen in splits.values():
        verdict = frozen.verdict
        text = f"{verdict.text} (audit {verdict.audit[:8]})" if verdict else "not audited"
        say(console, f"round {frozen.round}  {text}")
        path = manifest_path(environment.results, frozen)
        if output is not None:
            path = _copy(path, output / f"{name}.r{frozen.round}.json")
        say(console, f"  written: {path}")


def _copy(path: Path, target: Path) -> Path:
    from bench.files import write_result

    write_result(target, path.read_text(encoding="utf-8"))
    return target
