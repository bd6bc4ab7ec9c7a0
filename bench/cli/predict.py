"""`bench predict`: class probabilities of new images by a kept model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli import complete
from bench.cli.options import DeviceOption, ResultsOption, ThreadsOption, check_results
from bench.cli.screen import contain, echo, installed_components, make_console, warn
from bench.text import one_line

if TYPE_CHECKING:
    from typing import IO

    from bench.kept.image_paths import ImagePaths

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A kept run or ensemble: its folder, its key or the beginning of it, or its name, say "
        "busi/convnext_tiny.egmae.r0.",
        autocompletion=complete.kept_runs,
    ),
]


def predict(
    run: RunArgument,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Image files, folders of them, or quoted patterns.",
            autocompletion=complete.files,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A .csv or .json file [default: standard output].", show_default=False
        ),
    ] = None,
    format_: Annotated[
        Literal["csv", "json"] | None,
        typer.Option(
            "--format", "-f", help="[default: as the name of --output ends, else csv]", show_default=False
        ),
    ] = None,
    on_bad_image: Annotated[
        Literal["fail", "skip"] | None,
        typer.Option(
            "--on-bad-image",
            help="For an image that cannot be read: fail, so that nothing is written, or skip it with a "
            "warning [default: skip, with exit code 1].",
            show_default=False,
        ),
    ] = None,
    results: ResultsOption = Path("results"),
    device: DeviceOption = "",
    threads: ThreadsOption = 0,
) -> None:
    """Predict the classes of images with a model that `bench run --keep model` kept.

    One row per image: path, predicted class, and the probability of each class ("p:CLASS").

    Example: bench predict busi/convnext_tiny.egmae.r0 scans/ -o predictions.csv
    """
    from bench.cli.predictions_text import WRITERS
    from bench.cli.progress import display
    from bench.errors import DataError
    from bench.execution.provenance import usable_cores
    from bench.interfaces.executor import Progress
    from bench.kept.find import find
    from bench.kept.image_paths import image_paths
    from bench.kept.predict import Unlike, load_predictor, predict_files

    writer = WRITERS[_format(output, format_)]
    check_results(results, needed=False)
    registry = contain(installed_components())
    chosen = find(run, results, registry)
    named = image_paths(images)
    _tell_passed_over(named)
    from bench.engine.device import configure, parse_device

    cores = threads or usable_cores()
    predictor = load_predictor(chosen, registry, configure(parse_device(device), cores))
    unlike, unreadable, total = Unlike(predictor.networks[0].kept.trained_on), 0, len(named.files)
    with display(make_console(stderr=True)) as shown, _opened(output) as file:

        def tell(done: int) -> None:
            shown.report(Progress(unit=chosen.name, stage="predict", done=done, total=total))

        rows = writer(file, predictor.classes)
        for predicted in predict_files(predictor, named.files, cores, tell):
            if predicted.problem:
                if on_bad_image == "fail":
                    raise DataError(predicted.problem)
                unreadable += 1
                warn([predicted.problem])
                continue
            unlike.look_at(predicted.image)
            rows.add(predicted)
        if unreadable == total:
            raise DataError(f"none of {total} images can be read; nothing is written")
        rows.end()
    warn(unlike.warnings())
    _conclude(output, total, unreadable)
    if unreadable and on_bad_image is None:
        raise typer.Exit(1)


def _format(output: Path | None, format_: str | None) -> str:
    """csv or json. Raises ConfigError for a file that is no place for it."""
    from bench.errors import ConfigError

    if output is None:
        return format_ or "csv"
    suffix = output.suffix.lower().removeprefix(".")
    if suffix not in ("csv", "json") or (format_ and format_ != suffix):
        raise ConfigError(f"--output {output}: give a name that ends in .{format_ or 'csv or .json'}")
    if output.is_dir():
        raise ConfigError(f"--output {output}: is a folder; name a file")
    return suffix


def _tell_passed_over(named: ImagePaths) -> None:
    """Say which files in folders are not predicted."""
    from bench.text import by_kind

    counts = {"masks of images": named.masks, "files that are no images": named.others}
    if said := by_kind({kind: count for kind, count in counts.items() if count}):
        echo(f"passed over in folders: {said}", err=True)


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that is there when the block has ended, whole. Raises StoreError."""
    import io
    import sys

    from bench.errors import StoreError
    from bench.files import replacing

    if output is None:
        yield sys.stdout
        return
    try:
        with replacing(output) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
            try:
                yield text
            finally:
                text.detach()  # which flushes; the file is closed by who opened it
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"{output}: cannot be written ({reason}); choose another --output") from None


def _conclude(output: Path | None, total: int, unreadable: int) -> None:
    if output is not None:
        left = f"; {unreadable} cannot be read and are left out" if unreadable else ""
        text = f"written: {output} ({total - unreadable} of {total} images{left})"
        echo(one_line(text), err=True)
