"""`bench table`: comparison tables from stored results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import ResultsOption, make_console, split_names, warn_of_problems

if TYPE_CHECKING:
    from rich.console import Console

    from bench.plugins import Catalog
    from bench.store import Record
    from bench.table import ReportedRow, Scored
    from bench.types import Metric, Table

Keep = Callable[["Record"], bool]


def table(
    results: ResultsOption = Path("results"),
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", "-d", help="Only these data sets, comma-separated.")
    ] = None,
    metrics: Annotated[
        list[str] | None, typer.Option(help="Columns, comma-separated. `bench list metrics`.")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="How to render. `bench list reporters`.")
    ] = "rich",
    reported: Annotated[
        bool, typer.Option("--reported", help="Put published numbers for the same data set beside ours.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to a file instead of the screen.")
    ] = None,
) -> None:
    """Compare what has been run. Scores are computed from stored predictions, so this takes seconds.

    Example: bench table --dataset busi --metrics accuracy,auc --format markdown
    """
    from rich.text import Text

    from bench.plugins import catalog

    offers = catalog()
    warn_of_problems(offers)
    reporter = offers.get("reporters", format_)
    chosen = _metrics(offers, split_names(metrics))
    tables = tables_of(results, chosen, datasets=split_names(dataset), reported=reported)
    if not tables:
        typer.echo(_nothing(results), err=True)
        return
    text = reporter.render(tables)
    if output is None:
        typer.echo(text, nl=False)
    else:
        _write(output, Text.from_ansi(text).plain.rstrip("\n") + "\n" if "\x1b" in text else text)


def print_tables(results: Path, console: Console, keep: Keep = lambda record: True) -> None:
    """Print the tables of the records that `keep` accepts, with the default metrics, for a terminal."""
    from bench.plugins import catalog

    offers = catalog()
    tables = tables_of(results, _metrics(offers, ()), keep=keep)
    if tables:
        console.file.write(offers.get("reporters", "rich").render(tables))


def tables_of(
    results: Path,
    metrics: Sequence[Metric],
    *,
    datasets: Sequence[str] = (),
    keep: Keep = lambda record: True,
    reported: bool = False,
) -> list[Table]:
    """Tables of the stored units; what cannot be read is a warning on stderr.

    Raises UnknownName for a data set without results, PluginError for a metric that cannot be computed.
    """
    from bench.errors import UnknownName
    from bench.store import scan
    from bench.table import build
    from bench.types import Column

    records, warnings = scan(results)
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    known = {record.spec.dataset.name for record in records}
    for name in datasets:
        if known and name not in known:
            raise UnknownName("dataset", name, known, f"(data sets with results in {results})")
    wanted = [r for r in records if keep(r) and (not datasets or r.spec.dataset.name in datasets)]
    columns = [Column(m.name, m.title, m.higher_is_better) for m in metrics]
    published = load_reported() if reported else []
    return build([_scored(record, metrics) for record in wanted], columns, published)


def _scored(record: Record, metrics: Iterable[Metric]) -> Scored:
    """A record as a table wants it; damaged predictions make it a missing round with that cause."""
    from bench.errors import StoreError
    from bench.score import score
    from bench.store import read_predictions
    from bench.table import Scored

    content = record.content
    data = content.get("data") or {}
    status, reason, scores = record.status, str(content.get("reason") or ""), {}
    if record.status == "done" and record.kind != "pretrain":
        try:
            scores = score(read_predictions(record.path, "test"), metrics)
        except StoreError as error:
            typer.echo(f"warning: {error}", err=True)
            status, reason = "damaged", "its predictions cannot be read"
    return Scored(
        spec=record.spec,
        status=status,
        reason=reason,
        asked_rounds=int((content.get("asked") or {}).get("rounds") or 0),
        title=str(data.get("title") or ""),
        content=str(data.get("content") or ""),
        cost=content.get("cost") or {},
        notes=tuple(content.get("notes") or ()),
        scores=scores,
        split=_drawn(data.get("settings")),
        counts=data.get("counts") or {},
        audit=data.get("audit") or {},
        device=str(((content.get("provenance") or {}).get("hardware") or {}).get("device") or ""),
    )


def _drawn(settings: dict[str, object] | None) -> str:
    """How the splits were drawn, as a record has it (values at their default are left out)."""
    from bench.spec import SplitSettings, parse

    if settings is None:
        return ""
    drawn = parse(SplitSettings, settings, "split")
    how = f"{drawn.folds} folds" if drawn.method == "kfold" else f"{drawn.test:g} test"
    groups = {"audited": "", "given": ", groups as given", "none": ", image by image (no groups)"}
    odd = {"train": "", "out": ", contradicted images out", "anywhere": ", contradicted images anywhere"}
    more = groups[drawn.groups] + (odd[drawn.conflicts] if drawn.groups == "audited" else "")
    return f"{drawn.method} {how}, {drawn.val:g} val{more}"


def _metrics(catalog: Catalog, names: Sequence[str]) -> list[Metric]:
    if names:
        return [catalog.get("metrics", name) for name in dict.fromkeys(names)]
    return [metric for metric in catalog.offers("metrics") if metric.default]


def load_reported() -> list[ReportedRow]:
    """The rows of published tables: every CSV file in `reported/` of the package, or of the source tree.

    Columns: dataset, model, flops_g, params_m, then metrics by name; an empty field means not reported.
    """
    import csv

    import bench
    from bench.errors import ConfigError
    from bench.table import ReportedRow

    package = Path(bench.__file__).parent
    folder = next(p for p in (package / "reported", package.parent / "results" / "reported") if p.is_dir())
    rows = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for number, fields in enumerate(csv.DictReader(file), start=2):
                dataset, model = fields.pop("dataset"), fields.pop("model")
                try:
                    values = {name: float(text) for name, text in fields.items() if text}
                except ValueError as error:
                    raise ConfigError(f"{path}, line {number}: {error}; repair the file") from None
                gmacs, mparams = values.pop("flops_g", None), values.pop("params_m", None)
                rows.append(ReportedRow(dataset, model, values, gmacs, mparams, path.stem))
    return rows


def _nothing(results: Path) -> str:
    return f"no finished runs in {results}; make some (`bench run --help`), or name their folder by --results"


def _write(path: Path, text: str) -> None:
    from bench.errors import StoreError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror}); choose another --output") from None
    make_console(stderr=True).print(f"written: {path}", markup=False)
