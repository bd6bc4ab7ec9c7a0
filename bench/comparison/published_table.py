"""A published table as a CSV file, with its numbers as they are printed: the digits say what they can be."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from bench.errors import ConfigError
from bench.parsing import PATH_SHOWN, brief, shown

NEEDED = ("dataset", "model", "accuracy")
F1 = ("f1", "f1_pr")
SHARES = ("accuracy", "precision", "recall", *F1)
"""The columns that are read: numbers from 0 to 1, or percentages. All others are left alone."""

_NUMBER = re.compile(r"[0-9]{1,3}(\.[0-9]{0,12})?|\.[0-9]{1,12}")


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One row of a published table.

    Attributes:
        dataset: name of the data set.
        model: what the publication calls the method.
        values: of the columns `SHARES` that have a number here, from 0 to 1, with the digits that were
            printed.
        line: of the file.
    """

    dataset: str
    model: str
    values: Mapping[str, Decimal]
    line: int

    @property
    def accuracy(self) -> Decimal | None:
        return self.values.get("accuracy")

    @property
    def f1(self) -> dict[str, tuple[Decimal, Decimal, Decimal]]:
        """By column with an F1: that, precision and recall. Empty where one of them is not reported."""
        precision, recall = self.values.get("precision"), self.values.get("recall")
        if precision is None or recall is None:
            return {}
        return {name: (self.values[name], precision, recall) for name in F1 if name in self.values}


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """The rows of a file, in its order.

    Attributes:
        path: of the file.
        rows: at least one.
        percentages: whether the file has percentages, which `rows` has as shares.
    """

    path: Path
    rows: tuple[PublishedRow, ...]
    percentages: bool


def read_published(path: Path) -> PublishedTable:
    """Read a CSV file with the columns dataset, model and accuracy, and possibly precision, recall, f1,
    f1_pr.

    If any number is above 1, all are percentages. Raises ConfigError, with the line, for a file that cannot
    be read, lacks a column, or holds what is no share of images.
    """
    name = brief(str(path), PATH_SHOWN)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(_rows(name, csv.reader(file, strict=True)))
    except OSError as error:
        raise ConfigError(
            f"{name}: cannot be read ({error.strerror}); give a CSV file, or `reported`"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is not UTF-8 (byte {error.start}); save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise ConfigError(f"{name}: is no CSV file ({error}); save the table as CSV, with commas") from None
    except ValueError as error:  # a NUL in the path
        raise ConfigError(f"{name!r}: cannot be read ({error}); give a CSV file") from None
    if not rows:
        raise ConfigError(f"{name}: has no rows; give a table with the columns {', '.join(NEEDED)}")
    if percentages := _are_percentages(name, rows):
        rows = [replace(row, values={k: v.scaleb(-2) for k, v in row.values.items()}) for row in rows]
    return PublishedTable(path=path, rows=tuple(rows), percentages=percentages)


def _rows(name: str, lines: Iterator[list[str]]) -> Iterator[PublishedRow]:
    header = [column.strip() for column in next(lines, [])]
    if not any(header):
        raise ConfigError(f"{name}: is empty; give a table with the columns {', '.join(NEEDED)}")
    if lacking := [column for column in NEEDED if column not in header]:
        found = brief(", ".join(header))
        raise ConfigError(f"{name}: has no column {', '.join(lacking)} (its first line: {found}); add it")
    if double := [column for column in (*NEEDED, *SHARES) if header.count(column) > 1]:
        raise ConfigError(f"{name}: has the column {double[0]} twice; keep one")
    for line in lines:
        number = lines.line_num  # type: ignore[attr-defined]
        if not any(field.strip() for field in line):
            continue
        where = f"{name}, line {number}"
        if len(line) != len(header):
            raise ConfigError(
                f"{where}: has {len(line)} fields, the first line {len(header)}; repair the line"
            )
        fields = {column: field.strip() for column, field in zip(header, line, strict=True)}
        if nameless := [column for column in ("dataset", "model") if not fields[column]]:
            raise ConfigError(f"{where}: names no {nameless[0]}; name it")
        values = {c: _number(fields[c], f"{where}: {c}") for c in SHARES if fields.get(c)}
        yield PublishedRow(dataset=fields["dataset"], model=fields["model"], values=values, line=number)


def _number(text: str, where: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise ConfigError(
            f"{where} {shown(text)}: must be a number from 0 to 1, or a percentage without its sign"
        )
    return Decimal(text)


def _are_percentages(name: str, rows: Sequence[PublishedRow]) -> bool:
    """Raises ConfigError for numbers above 100, and for shares beside percentages."""
    numbers = [(row.line, column, value) for row in rows for column, value in row.values.items()]
    above = next((number for number in numbers if number[2] > 1), None)
    if above is None:
        return False
    for line, column, value in numbers:
        if value > 100:
            raise ConfigError(
                f"{name}, line {line}: {column} {value}: must be at most 1, or 100 as a percentage"
            )
        if 0 < value < 1:
            raise ConfigError(
                f"{name}, line {line}: {column} {value}, but line {above[0]} has {above[1]} {above[2]}: "
                "shares and percentages in one table; write all of them alike"
            )
    return True
