"""`bench export`: a kept model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli import complete
from bench.cli.options import (
    DataOption,
    Names,
    ResultsOption,
    SetLocalOption,
    ThreadsOption,
    check_results,
)
from bench.cli.screen import contain, echo, installed_components, make_console
from bench.text import one_line

if TYPE_CHECKING:
    from bench.kept.find import Chosen
    from bench.kept.load import Network
    from bench.kept.trial_images import Trial
    from bench.registry import Registry


def export(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A kept run: its folder, its key or the beginning of it, or its name, say "
            "busi/convnext_tiny.egmae.r0.",
            autocompletion=complete.kept_runs,
        ),
    ],
    to: Annotated[
        Literal["onnx", "pt2", "hub"],
        typer.Option(
            "--to",
            help="onnx: for ONNX Runtime; pt2: of torch.export; hub: a folder that timm loads, with a card.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The new file, or folder for hub [default: named after RUN].",
            show_default=False,
        ),
    ] = None,
    results: ResultsOption = Path("results"),
    data: DataOption = None,
    set_: SetLocalOption = None,
    threads: ThreadsOption = 0,
) -> None:
    """Export a model that `bench run --keep model` kept, and compare the export with it.

    Compared on test images of the run where its data set is there, else on random pixels. An export whose
    probabilities differ by more than 0.0001 is not written.

    Example: bench export busi/convnext_tiny.egmae.r0 --to onnx -o model.onnx
    """
    import torch

    from bench.errors import ConfigError
    from bench.execution.provenance import usable_cores
    from bench.kept.export import FORMS
    from bench.kept.export import export as write_export
    from bench.kept.find import find
    from bench.kept.load import open_network
    from bench.kept.onnx_file import require_extra

    check_results(results, needed=False)
    registry = contain(installed_components())
    chosen = find(run, results, registry)
    if chosen.ensemble:
        names = ", ".join(member.label for member in chosen.ensemble.members)
        raise ConfigError(f"RUN {chosen.name}: is an ensemble; export its members one by one: {names}")
    form = FORMS[to]
    path = _place(output, chosen, form.suffix)
    if to == "onnx":
        require_extra()
    torch.set_num_threads(threads or usable_cores())
    network = open_network(chosen.folders[0], registry, torch.device("cpu"))
    trial = _trial(network, chosen, data, set_, registry)
    card = _card(chosen, network, registry) if to == "hub" else ""
    done = write_export(network, form, path, trial.images, card)
    _conclude(done.path, done.bytes, done.difference, trial)


def _place(output: Path | None, chosen: Chosen, suffix: str) -> Path:
    """Where the export goes. Raises ConfigError for a name that is there, or of another suffix."""
    from bench.errors import ConfigError

    path = output or Path(chosen.name.replace("/", ".") + suffix)
    if suffix and path.suffix.lower() != suffix:
        raise ConfigError(f"--output {path}: give a name that ends in {suffix}")
    if path.exists():
        raise ConfigError(f"--output {path}: is there already; give another name, or move it away")
    return path


def _trial(network: Network, chosen: Chosen, data: Path | None, set_: Names, registry: Registry) -> Trial:
    from bench.cli.progress import display
    from bench.cli.stored_images import image_session, located
    from bench.kept.trial_images import trial_images

    session = image_session(data, chosen.results, registry)
    ref = located(chosen.record.spec.dataset, set_, registry) if chosen.record else None
    with display(make_console(stderr=True)) as shown:
        return trial_images(network, chosen, ref, session, shown.report)


def _card(chosen: Chosen, network: Network, registry: Registry) -> str:
    """The model card; of a model that was taken out of its results, the one that lies beside it."""
    from bench.kept.card import card, short_card
    from bench.results.kept import CARD
    from bench.results.store import scan

    if chosen.record is None or chosen.results is None:
        beside = chosen.folders[0] / CARD
        return (
            beside.read_text(encoding="utf-8", errors="replace")
            if beside.is_file()
            else short_card(network.kept)
        )
    records, _ = scan(chosen.results)
    return card(chosen.record, network.kept, records, chosen.results, registry)


def _conclude(path: Path, size: int, difference: float, trial: Trial) -> None:
    from rich.filesize import decimal

    from bench.kept.export import TOLERANCE

    if trial.problem:
        echo(one_line(f"note: compared on {trial.what}, because {trial.problem}"), err=True)
    echo(
        f"largest difference of a probability: {difference:.2g}, on {trial.what} ({TOLERANCE:g} is allowed)",
        err=True,
    )
    echo(one_line(f"written: {path} ({decimal(size)})"), err=True)
