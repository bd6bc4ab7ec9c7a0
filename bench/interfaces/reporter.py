"""Reporters: renderings of comparison tables, and the tables themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.interfaces.component import Component, P
from bench.interfaces.html_table import as_html
from bench.interfaces.rows import Column, Row, Uncertainty


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows that may be compared: one data set, one protocol, the same splits.

    Attributes:
        title: of the data set.
        protocol: what all rows share, in a line.
        columns: the metrics.
        rows: the methods.
        footer: remarks that a reader needs to understand the numbers.
        costs: what training and predicting took, beside GMACs and parameters.
        uncertainty: what stands beside a mean.
        ranks: whether the rank of each value is shown.
        share: of the training images whose labels fine-tuning saw; the protocol says it too. None where
            columns are shares.
        labelled: how many images that are, as a mean over rounds; None where no record says.
    """

    title: str
    protocol: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footer: tuple[str, ...] = ()
    costs: tuple[Column, ...] = ()
    uncertainty: Uncertainty = "interval"
    ranks: bool = False
    share: float | None = 1.0
    labelled: float | None = None

    def _repr_html_(self) -> str:
        return as_html(self)


class Tables(tuple[Table, ...]):
    """Several tables; a notebook shows them one below the other, `bench.render` makes text of them."""

    def __repr__(self) -> str:
        return f"<Tables: {', '.join(f'{table.title} ({len(table.rows)} rows)' for table in self) or 'none'}>"

    def _repr_html_(self) -> str:
        return "\n".join(table._repr_html_() for table in self)


@dataclass(frozen=True, kw_only=True)
class Reporter(Component[P]):
    """A rendering of tables.

    Attributes:
        render: `render(tables)` gives the text that `bench table --format NAME` prints or writes.
        default: whether `bench table` uses it if a command names none.
        suffixes: of the files it is for, such as ".csv": `bench table -o FILE.csv` chooses it.
    """

    render: Callable[[Sequence[Table]], str]
    default: bool = False
    suffixes: tuple[str, ...] = ()
