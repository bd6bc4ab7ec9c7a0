"""What the heads of a paper's rows and columns stand for in tables of results."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from bench.errors import ConfigError, UnknownName
from bench.interfaces import cells
from bench.interfaces.reporter import Table
from bench.interfaces.rows import Row
from bench.pack.paper.plain import DASHES
from bench.parsing import brief

PARTS = ("mean", "sd", "low", "high", "best", "rank_low", "rank_high", "rank_first")
"""What `bench table --format csv` has of each metric, accuracy_sd, beside the value of each round."""
_ROUND = re.compile(r"round(\d+)")
_UNIT = re.compile(
    r"\s*[\[(]\s*(?:%|in %|↑|↓|95\s*%?\s*CI|(?:mean\s*)?±[^)\]]*|mean|SD|std\.?|s|ms|G|M)\s*[\])]|[↑↓%*†‡]"
)
_OWN = re.compile(r"\s*\((?:ours|proposed|this work)\)\s*$|\s*\[\d+(?:,\s*\d+)*\]\s*$", re.IGNORECASE)


class Target(NamedTuple):
    """What a column has.

    Attributes:
        kind: "metric", "rank" (of a metric, as text), "cost", "rounds", "share" or "labelled".
        name: of the metric, or of the cost.
        part: of the metric: one of PARTS, "roundN", or "" for what a cell prints of it.
    """

    kind: str
    name: str
    part: str = ""


_FIXED = {
    "rounds": Target("rounds", ""),
    "roundsdone": Target("rounds", "", "done"),
    "rounds_done": Target("rounds", "", "done"),
    "rounds_asked": Target("rounds", "", "asked"),
    "gmacs": Target("cost", "gmacs"),
    "mparams": Target("cost", "mparams"),
    "share": Target("share", ""),
    "labelled": Target("labelled", ""),
}
"""Columns that every table of ours has, by their names without spaces."""


class Mapped:
    """The names that a user says a paper's heads stand for."""

    def __init__(self, pairs: Mapping[str, str]) -> None:
        self._pairs = {plain(name): target for name, target in pairs.items()}

    def __call__(self, head: str) -> str:
        """What a head stands for: itself, if nobody said otherwise."""
        for text in (head, without_units(head), _OWN.sub("", head)):
            if (target := self._pairs.get(plain(text))) is not None:
                return target
        return head


def parse_maps(texts: Iterable[str], tables: Sequence[Table]) -> Mapped:
    """What --map says. Raises ConfigError for what is no NAME=OURS, UnknownName where no table has OURS."""
    known = _known(tables)
    spelled = {plain(name): name for name in known}
    pairs: dict[str, str] = {}
    for text in texts:
        places = [i for i, character in enumerate(text) if character == "="]
        if not places or not text[: places[0]].strip():
            raise ConfigError(
                f"--map {brief(text)!r}: must be HEAD=NAME, as 'EG-MAE=egmae' or 'Acc.=accuracy'"
            )
        fitting = [i for i in places if plain(text[i + 1 :]) in spelled]
        if not fitting:
            raise UnknownName(
                "method, metric or data set of the results", text[places[0] + 1 :].strip(), known
            )
        pairs[text[: fitting[0]].strip()] = spelled[plain(text[fitting[0] + 1 :])]
    return Mapped(pairs)


def _known(tables: Sequence[Table]) -> list[str]:
    names: dict[str, None] = {}
    for table in tables:
        names[table.title] = None
        for row in table.rows:
            names |= dict.fromkeys((row.method, f"{row.model}.{row.method}", row.model))
        for column in (*table.columns, *table.costs):
            names |= dict.fromkeys((column.name, column.title))
    return list(names)


# --- texts -------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """A name without what print changes of it: case, spaces, kinds of dashes."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"\s+", "", re.sub(f"[{DASHES}-]+", "-", folded))


def loose(text: str) -> str:
    """The letters and digits of a name."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


def without_units(head: str) -> str:
    """A head without units and arrows: "Accuracy (%) ↑" is Accuracy."""
    return _UNIT.sub("", head).strip()


def mentions(text: str, name: str) -> bool:
    """Whether a text has a name in it, as words of its own."""

    def spaced(value: str) -> str:
        folded = unicodedata.normalize("NFKC", value).casefold()
        words = " ".join(re.sub(r"[\W_]", " ", folded).split())
        return f" {words} "

    return bool(loose(name)) and spaced(name) in spaced(text)


# --- columns and rows --------------------------------------------------------------------------------


def find_column(heads: Sequence[str], table: Table, mapped: Mapped) -> Target | None:
    """What a column with these heads has in a table; the lowest head that says it counts."""
    for head in reversed(heads):
        told = mapped(head)
        for text in (told, without_units(told)):
            if target := _column(text, table):
                return target
    joined = mapped(" ".join(heads))
    return _column(joined, table) or _column(without_units(joined), table)


def _column(text: str, table: Table) -> Target | None:
    name = plain(text)
    if not name:
        return None
    if name in _FIXED:
        return _FIXED[name]
    for cost in table.costs:
        if name in (plain(cost.name), plain(cost.title)):
            return Target("cost", cost.name)
    for column in table.columns:
        if name in (plain(column.name), plain(column.title)):
            return Target("metric", column.name)
        if name == plain(cells.rank_heading(column)):
            return Target("rank", column.name)
        part = name.removeprefix(f"{plain(column.name)}_")
        if part != name and (part in PARTS or _ROUND.fullmatch(part)):
            return Target("metric", column.name, part)
    same = [column for column in table.columns if loose(text) in (loose(column.name), loose(column.title))]
    return Target("metric", same[0].name) if loose(text) and len(same) == 1 else None


def find_rows(heads: Sequence[str], table: Table, mapped: Mapped) -> list[Row]:
    """The rows of a table that heads name: by method, and by model where that is among them. Several where
    they do not tell them apart."""
    for form in (plain, loose):
        names = {form(mapped(_OWN.sub("", head))) for head in heads if head} - {""}
        rated = [(_rating(names, row, form), row) for row in table.rows]
        best = max((rating for rating, _ in rated), default=0)
        if best:
            return [row for rating, row in rated if rating == best]
    return []


def _rating(names: set[str], row: Row, form: Callable[[str], str]) -> int:
    if {form(f"{row.model}.{row.method}"), form(f"{row.model} {row.method}")} & names:
        return 3
    if form(row.method) not in names:
        return 0
    return 2 if form(row.model) in names else 1
