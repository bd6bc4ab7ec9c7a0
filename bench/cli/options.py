"""Options shared by `bench run` and `bench plan`, and what they mean."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from bench.plugins import Catalog
    from bench.study import Study
    from bench.types import Dataset, Workplace

INTERRUPTED = 130  # exit code: 128 + SIGINT, as shells have it

Names = list[str] | None

DatasetOption = Annotated[
    Names, typer.Option("--dataset", "-d", help="Data sets, comma-separated. `bench list datasets`.")
]
StrategiesOption = Annotated[
    Names, typer.Option("--strategies", "-s", help="Strategies, comma-separated. `bench list strategies`.")
]
ModelsOption = Annotated[
    Names, typer.Option("--models", "-m", help="Models, comma-separated [default: the protocol's].")
]
BaselinesOption = Annotated[
    Names, typer.Option("--baselines", help="Further models to compare with, comma-separated, or all.")
]
EnsemblesOption = Annotated[
    Names, typer.Option("--ensembles", help="Ensembles over the strategies [default: mean]; none for no.")
]
ProtocolOption = Annotated[
    str,
    typer.Option("--protocol", "-p", help="A shipped protocol (paper, quick) or FILE.toml [default: paper]."),
]
StudyOption = Annotated[Path | None, typer.Option("--study", help="A study file; options override it.")]
SetOption = Annotated[
    Names,
    typer.Option("--set", help="Change one value: protocol.finetune.epochs=30, strategy.egmae.patch=32."),
]
RoundsOption = Annotated[
    int | None, typer.Option("--rounds", "-r", help="Rounds, each with its own split.", show_default=False)
]
SplitOption = Annotated[
    list[Path] | None,
    typer.Option("--split", help="Split manifests to use: a file, one a round (repeat it), or their folder."),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Refuse a split that the audit finds to leak.")]
DatasetArgument = Annotated[str, typer.Argument(help="A data set. `bench data list` shows them.")]
SetDatasetOption = Annotated[
    Names, typer.Option("--set", help="Change one of its parameters: dataset.NAME.PARAMETER=value.")
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar="BENCH_DATA", help="Where data sets lie [default: the user's data folder]."
    ),
]
ResultsOption = Annotated[
    Path, typer.Option("--results", envvar="BENCH_RESULTS", help="Where results are kept.")
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="cpu, cuda or cuda:N [default: a GPU if there is one].")
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=0, help="CPU threads [default: the cores this process may use].")
]


def split_names(values: Iterable[str] | None) -> tuple[str, ...]:
    """Names given comma-separated, repeated, or both."""
    return tuple(name.strip() for value in values or () for name in value.split(",") if name.strip())


def manifests(given: Iterable[Path] | None) -> list[Path]:
    """The files that `--split` means. Raises ConfigError for a folder without any."""
    from bench.errors import ConfigError

    found = []
    for path in given or ():
        inside = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not inside:
            raise ConfigError(
                f"--split {path}: no manifest (*.json) in this folder; `bench data split` makes them"
            )
        found += inside
    return found


def read_options(
    file: Path | None,
    names: Mapping[str, Names],
    protocol: str,
    rounds: int | None,
    assignments: Names,
) -> Study:
    """The study that a file and the options describe together; `names` by field of StudyFile.

    Raises ConfigError or UnknownName.
    """
    from bench.plugins import catalog
    from bench.study import StudyFile, make_study, read_study

    study = read_study(file) if file else StudyFile()
    given: dict[str, Any] = {kind: split_names(values) for kind, values in names.items()}
    if given["ensembles"] == ("none",):
        study, given["ensembles"] = replace(study, ensembles=()), ()
    study = replace(study, **{kind: values for kind, values in given.items() if values})
    if protocol:
        study = replace(study, base=protocol)
    extra = [f"protocol.rounds={rounds}"] if rounds is not None else []
    return make_study(study, catalog(), [*(assignments or ()), *extra])


def read_dataset(name: str, assignments: Names) -> tuple[Dataset, Any]:
    """One data set and its parameters. Raises UnknownName or ConfigError."""
    from bench.plugins import catalog
    from bench.study import dataset_ref

    offers = catalog()
    ref = dataset_ref(name, offers, assignments or ())
    return offers.get("datasets", ref.name), offers.params("datasets", ref)


def make_workplace(
    data: Path | None, results: Path, device: str, threads: int, study: Study | None = None
) -> Workplace:
    """Where units run: given by options, the environment, or this machine."""
    from bench.engine.device import check, default_device
    from bench.provenance import usable_cores
    from bench.types import Workplace

    device = str(check(device)) if device else default_device()
    asked = {"protocol": study.protocol_name, "rounds": study.protocol.rounds} if study else {}
    return Workplace(
        data=data if data is not None else default_data_root(),
        results=results,
        device=device,
        threads=threads or usable_cores(),
        asked=asked,
    )


def default_data_root() -> Path:
    """The platform's folder for a user's data."""
    from platformdirs import user_data_path

    return user_data_path("bench")


def warn_of_problems(catalog: Catalog) -> None:
    """Say on stderr what is wrong with installed plugins."""
    for problem in catalog.problems:
        typer.echo(f"warning: {problem}", err=True)


def say(console: Console, text: str) -> None:
    """A line of text as it is: its brackets are no markup, and the terminal wraps it."""
    console.print(text, markup=False, soft_wrap=True)


def make_console(*, stderr: bool = False) -> Console:
    """A console that does not wrap what is read by programs and honours NO_COLOR and COLUMNS."""
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(stderr=stderr, highlight=False, width=160)
    return console
