"""The rows of published tables, to stand beside our own."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ReportedRow:
    """One row of a published table.

    Attributes:
        dataset: name of the data set.
        model: what the publication calls the method.
        values: by metric name.
        gmacs: billions of operations.
        mparams: millions of parameters.
        source: of the table, as its file is called.
    """

    dataset: str
    model: str
    values: Mapping[str, float]
    gmacs: float | None = None
    mparams: float | None = None
    source: str = ""


def load_reported() -> list[ReportedRow]:
    """The rows of every CSV file in `reported/` of the package, or of the source tree.

    Columns: dataset, model, flops_g, params_m, then metrics by name; an empty field means not reported.
    Raises ConfigError for a field that is not a number.
    """
    return [row for path in reported_files() for row in _read(path)]


def reported_files() -> list[Path]:
    """The shipped published tables, in the order of their names."""
    package = Path(__file__).resolve().parents[1]
    folders = (package / "reported", package.parent / "results" / "reported")
    folder = next(f for f in folders if f.is_dir())
    return sorted(folder.glob("*.csv"))


def _read(path: Path) -> list[ReportedRow]:
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for line, fields in enumerate(csv.DictReader(file), start=2):
            dataset, model = fields.pop("dataset"), fields.pop("model")
            try:
                values = {name: float(text) for name, text in fields.items() if text}
            except ValueError as error:
                raise ConfigError(f"{path}, line {line}: {error}; repair the file") from None
            gmacs, mparams = values.pop("flops_g", None), values.pop("params_m", None)
            rows.append(
                ReportedRow(
                    dataset=dataset,
                    model=model,
                    values=values,
                    gmacs=gmacs,
                    mparams=mparams,
                    source=path.stem,
                )
            )
    return rows
