"""Options that several commands share, and what they mean."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import shlex
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bench.cli import complete
from bench.cli.screen import echo, of_one_command

if TYPE_CHECKING:
    from bench.identity import Ref
    from bench.interfaces.executor import Environment
    from bench.registry import Registry
    from bench.study.config import Assignment
    from bench.study.study import Study

INTERRUPTED = 130  # exit code: 128 + SIGINT, as shells have it

Names = list[str] | None

DatasetsOption = Annotated[
    Names,
    typer.Option(
        "--dataset",
        "-d",
        help="Data sets, comma-separated. `bench list datasets`.",
        autocompletion=complete.datasets,
    ),
]
BaselinesOption = Annotated[
    Names,
    typer.Option(
        "--baselines",
        help="Further models to compare with, comma-separated, or all.",
        autocompletion=complete.baselines,
    ),
]
ProtocolOption = Annotated[
    str,
    typer.Option(
        "--protocol",
        "-p",
        help="A shipped protocol (`bench list protocols`) or FILE.toml [default: paper].",
        autocompletion=complete.protocols,
    ),
]
SetOption = Annotated[
    Names,
    typer.Option("--set", help="Change one value: protocol.finetune.epochs=30, strategy.egmae.patch=32."),
]
RoundsOption = Annotated[
    int | None, typer.Option("--rounds", "-r", help="Rounds, each with its own split.", show_default=False)
]
SharesOption = Annotated[
    Names,
    typer.Option(
        "--shares",
        help="Fine-tune with the labels of these shares of the training images, comma-separated: 0.05,0.1,1.",
        metavar="SHARES",
        show_default=False,
    ),
]
SplitOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--split", help="Split manifests to use: a file, one per round (repeat it), or their folder."
    ),
]
KeepOption = Annotated[
    Names,
    typer.Option(
        "--keep",
        help="Keep beside the results: model (each fine-tuned network), decoder (each pretraining with its "
        "decoder), or both, comma-separated.",
        metavar="WHAT",
        autocompletion=complete.kept,
        show_default=False,
    ),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Refuse a split that the audit finds to leak.")]
DatasetArgument = Annotated[
    str,
    typer.Argument(help="A data set. `bench data list` shows them.", autocompletion=complete.dataset),
]
SetDatasetOption = Annotated[
    Names, typer.Option("--set", help="Change one of its parameters: dataset.NAME.PARAMETER=value.")
]
SetLocalOption = Annotated[
    Names,
    typer.Option(
        "--set", help="Where files of a data set lie, which results do not keep: dataset.NAME.groups=FILE."
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar="BENCH_DATA", help="Where data sets lie [default: the user's data folder]."
    ),
]
OnBadImageOption = Annotated[
    Literal["fail", "skip"],
    typer.Option(
        "--on-bad-image",
        help="For an image that cannot be decoded: fail, or skip it with a warning (at most one in twenty).",
    ),
]
ResultsOption = Annotated[
    Path, typer.Option("--results", envvar="BENCH_RESULTS", help="Where results are kept.")
]
MetricOption = Annotated[
    str,
    typer.Option(
        help="What is compared [default: the declared metric, else the first of tables].",
        autocompletion=complete.metric,
        show_default=False,
    ),
]
BaselineOption = Annotated[
    str,
    typer.Option(
        help="The row that others are compared with [default: the declared one].", show_default=False
    ),
]
MarginOption = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1000.0,
        help="Within which rows are practically equal: 0.01 is one point [default: as declared, else 0.01].",
        show_default=False,
    ),
]
DeclaredOption = Annotated[
    Path | None,
    typer.Option(
        "--study",
        help="The study file that declares metric, baseline and margin, where records do not.",
        autocompletion=complete.study_files,
        show_default=False,
    ),
]
PicturesOption = Annotated[
    bool | None,
    typer.Option(
        "--embed-pictures/--no-pictures",
        help="Put pictures into the page, or none [default: if the licence allows to pass them on].",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        help="cpu, cuda, cuda:N, or several: cuda:0,cuda:1 or cuda:all [default: a GPU if there is one].",
        autocompletion=complete.devices,
    ),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=0, help="CPU threads [default: the cores this process may use].")
]


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Which study is meant, for every command that takes one."""

    dataset: DatasetsOption = None
    strategies: Annotated[
        Names,
        typer.Option(
            "--strategies",
            "-s",
            help="Strategies, comma-separated. `bench list strategies`.",
            autocompletion=complete.strategies,
        ),
    ] = None
    models: Annotated[
        Names,
        typer.Option(
            "--models",
            "-m",
            help="Models, comma-separated [default: the protocol's].",
            autocompletion=complete.models,
        ),
    ] = None
    baselines: BaselinesOption = None
    ensembles: Annotated[
        Names,
        typer.Option(
            "--ensembles",
            help="Ensembles, comma-separated: NAME of all strategies of each model, 'NAME(A+B)' of these, a "
            "member being STRATEGY or MODEL.STRATEGY [default: the plugins' default one]; none for no.",
            autocompletion=complete.ensembles,
        ),
    ] = None
    protocol: ProtocolOption = ""
    study_file: Annotated[
        Path | None,
        typer.Option(
            "--study", help="A study file; options override it.", autocompletion=complete.study_files
        ),
    ] = None
    rounds: RoundsOption = None
    shares: SharesOption = None
    track: Annotated[
        Names,
        typer.Option(
            "--track",
            help="Trackers that follow the run, comma-separated. `bench list trackers`.",
            autocompletion=complete.trackers,
        ),
    ] = None
    set_: SetOption = None
    split: SplitOption = None
    strict: StrictOption = False
    keep: KeepOption = None

    def study(self, registry: Registry) -> Study:
        """The study that file and options describe together. Raises ConfigError or UnknownName."""
        from bench.study.config import StudyConfig, read_study
        from bench.study.study import make_study, parse_kinds, parse_shares

        config = read_study(self.study_file) if self.study_file else StudyConfig()
        names = {
            "datasets": given_names("--dataset", self.dataset),
            "models": given_names("--models", self.models),
            "baselines": given_names("--baselines", self.baselines),
            "strategies": given_names("--strategies", self.strategies),
            "ensembles": given_names("--ensembles", self.ensembles),
            "shares": parse_shares(given_names("--shares", self.shares), "--shares"),
            "keep": parse_kinds(given_names("--keep", self.keep), "--keep"),
            "base": self.protocol,
            "track": given_names("--track", self.track),
        }
        given: dict[str, Any] = {name: value for name, value in names.items() if value}
        return make_study(dataclasses.replace(config, **given), registry, assignments(self.set_, self.rounds))


@dataclass(frozen=True, kw_only=True)
class EnvironmentOptions:
    """Where units run."""

    data: DataOption = None
    results: ResultsOption = Path("results")
    device: DeviceOption = ""
    threads: ThreadsOption = 0
    on_bad_image: OnBadImageOption = "fail"

    def environment(self, **more: Any) -> Environment:
        """The environment these options describe; `more` goes to `bench.local_environment`."""
        from bench.api import local_environment

        return local_environment(
            self.data,
            self.results,
            device=self.device,
            threads=self.threads,
            on_bad_image=self.on_bad_image,
            **more,
        )


VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say on stderr what is logged, with tracebacks.")
]


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters that are dataclasses of options become those options, one by one."""
    hints = typing.get_type_hints(command, include_extras=True)
    groups = {
        name: hints[name]
        for name in inspect.signature(command).parameters
        if dataclasses.is_dataclass(hints[name])
    }

    @functools.wraps(command)
    def flat(**values: Any) -> None:
        filled = {
            name: group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        command(**filled, **values)

    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        inner = typing.get_type_hints(groups[name], include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=inner[field.name],
            )
            for field in dataclasses.fields(groups[name])
        ]
    return _with_parameters(flat, parameters)


def with_verbose(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes --verbose too, which many type after it and `bench` itself takes before it, and
    that says how it goes on when it is interrupted."""
    hints = typing.get_type_hints(command, include_extras=True)

    @functools.wraps(command)
    def verbose_too(*, verbose: bool, **values: Any) -> None:
        if verbose:
            from bench.cli.logs import set_up_logging

            set_up_logging(verbose)
        try:
            with of_one_command():
                command(**values)
        except KeyboardInterrupt:
            echo(f"interrupted; to go on: {shlex.join(['bench', *sys.argv[1:]])}", err=True)
            raise typer.Exit(INTERRUPTED) from None

    parameters = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
    ]
    more = inspect.Parameter(
        "verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=VerboseOption
    )
    return _with_parameters(verbose_too, [*parameters, more])


def _with_parameters(
    command: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """A function that shows these parameters to who inspects it, as typer and completion do."""
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def assignments(texts: Names, rounds: int | None = None) -> list[Assignment]:
    """What `--set` and `--rounds` change. Raises ConfigError."""
    from bench.study.config import parse_assignment

    more = [f"protocol.rounds={rounds}"] if rounds is not None else []
    return [parse_assignment(text) for text in (*(texts or ()), *more)]


def given_names(option: str, texts: Names) -> tuple[str, ...]:
    """The names that an option gives; none if it was not given. Raises ConfigError if it was given none."""
    from bench.errors import ConfigError
    from bench.study.study import split_names

    for text in texts or ():
        if not split_names(text):
            raise ConfigError(f"{option} {text!r}: names nothing; give names, or leave the option out")
    return split_names(texts)


def check_results(results: Path, option: str = "--results", *, needed: bool = True) -> None:
    """For every command that reads results: raise ConfigError for what is no folder that can be read, and for
    one that is missing, if that is `needed` or was named by --results or BENCH_RESULTS."""
    from bench.api import check_folder
    from bench.errors import ConfigError

    check_folder(results, option)
    named = any(word.partition("=")[0] == "--results" for word in sys.argv[1:])
    if not results.exists() and (needed or named or os.environ.get("BENCH_RESULTS")):
        raise ConfigError(f"{option} {results}: no such folder; name the one that `bench run` filled")


def dataset_of(name: str, texts: Names, registry: Registry) -> Ref:
    """One data set with the parameters that `--set` gives it. Raises UnknownName or ConfigError."""
    from bench.study.study import dataset_ref

    return dataset_ref(name, registry, assignments(texts))


def study_of_dataset(name: str, protocol: str, changes: list[Assignment], registry: Registry) -> Study:
    """A study of one data set; what it would train does not matter. Raises UnknownName or ConfigError."""
    from bench.study.config import DEFAULT_PROTOCOL, StudyConfig
    from bench.study.study import make_study

    strategies = tuple(registry.strategies.names()[:1])
    config = StudyConfig(datasets=(name,), strategies=strategies, base=protocol or DEFAULT_PROTOCOL)
    return make_study(config, registry, changes)


def data_root(data: Path | None) -> Path:
    """Where data sets lie: `--data`, or the default."""
    from bench.api import default_data_root

    return default_data_root() if data is None else data
