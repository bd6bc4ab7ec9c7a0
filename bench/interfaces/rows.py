"""The parts of a comparison table: columns, rows and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

Uncertainty = Literal["interval", "sd", "none"]
"""What stands beside a mean: its 95 % interval, the standard deviation over rounds, or nothing."""
UNCERTAINTIES: tuple[Uncertainty, ...] = ("interval", "sd", "none")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One metric of a table.

    Attributes:
        name: of the metric.
        title: what the table calls it.
        higher_is_better: whether the best value is the highest.
    """

    name: str
    title: str
    higher_is_better: bool = True


@dataclass(frozen=True, kw_only=True)
class Rank:
    """Where a row stands among all rows of a table (1: best) when test images and rounds are resampled.

    Attributes:
        first: share of the resamples in which no other row is better.
        low: with `high`, the ends of the 95 % range of its ranks.
        high: see `low`.
    """

    first: float
    low: int
    high: int


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One value of a row.

    Attributes:
        mean: over rounds.
        spread: sample standard deviation over rounds; None for a single value.
        low: with `high`, the ends of the 95 % interval of the mean; None where there is none.
        high: see `low`.
        best: whether the row is the best of its column or not shown to differ from it; None where nothing is
            tested, so that the best mean alone stands out.
        rank: None where rows have different rounds, or the metric cannot be computed on resampled images.
        rounds: the value of each round, by its number.
    """

    mean: float
    spread: float | None = None
    low: float | None = None
    high: float | None = None
    best: bool | None = None
    rank: Rank | None = None
    rounds: Mapping[int, float] = field(default_factory=dict)


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
        costs: by Column.name of `Table.costs`; None where it was not measured.
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
    costs: Mapping[str, float | None] = field(default_factory=dict)
    note: str = ""


class Content(Protocol):
    """The fields of a `bench.Table` that a rendering reads.

    A protocol, because the module of `Table` imports the HTML rendering.
    """

    @property
    def title(self) -> str: ...

    @property
    def protocol(self) -> str: ...

    @property
    def columns(self) -> tuple[Column, ...]: ...

    @property
    def rows(self) -> tuple[Row, ...]: ...

    @property
    def footer(self) -> tuple[str, ...]: ...

    @property
    def costs(self) -> tuple[Column, ...]: ...

    @property
    def uncertainty(self) -> Uncertainty: ...

    @property
    def ranks(self) -> bool: ...
