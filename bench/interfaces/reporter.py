"""Reporters: renderings of comparison tables, and the tables themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.interfaces.component import Component, P


@dataclass(frozen=True, kw_only=True)
class Column:
    """One metric of a table."""

    name: str
    title: str
    higher_is_better: bool = True


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Mean over rounds, and sample standard deviation (None for a single value)."""

    mean: float
    spread: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method under one protocol.

    Attributes:
        kind: "reported" rows are a publication's and carry no spread.
        model: the network, or several joined by "+".
        method: strategy or ensemble, with the settings that tell it from others.
        rounds_done: rounds that the values are means of.
        rounds_asked: rounds that the study has.
        gmacs: billions of multiply-adds at the protocol's image size, counted by fvcore.
        mparams: millions of parameters.
        values: by Column.name.
        note: why rounds are missing, or what sets this row apart.
    """

    kind: Literal["run", "ensemble", "reported"]
    model: str
    method: str
    rounds_done: int = 0
    rounds_asked: int = 0
    gmacs: float | None = None
    mparams: float | None = None
    values: Mapping[str, Estimate] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows that may be compared: one data set, one protocol, the same splits.

    Attributes:
        title: of the data set.
        protocol: what all rows share, in a line.
        columns: the metrics.
        rows: the methods.
        footer: what must be said so that the numbers can be read.
    """

    title: str
    protocol: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footer: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        from bench.interfaces.html_table import as_html

        return as_html(self)


class Tables(tuple[Table, ...]):
    """Several tables; a notebook shows them one below the other."""

    def _repr_html_(self) -> str:
        return "\n".join(table._repr_html_() for table in self)


@dataclass(frozen=True, kw_only=True)
class Reporter(Component[P]):
    """A rendering of tables.

    Attributes:
        render: `render(tables)` gives the text that `bench table --format NAME` prints or writes.
        default: whether `bench table` uses it where a command names none.
    """

    render: Callable[[Sequence[Table]], str]
    default: bool = False
