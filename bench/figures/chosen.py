"""The rows that a user asks figures of."""

from __future__ import annotations

from collections.abc import Sequence

from bench.comparison.compare import Table
from bench.comparison.methods import Method, find_method
from bench.errors import ConfigError, UnknownName
from bench.study.spec import EnsembleSpec


def choose_rows(tables: Sequence[Table], names: Sequence[str]) -> list[Table]:
    """The tables with the rows called `names` alone, in the order of these; all rows for no names.

    A name is a row's, or what rows of several settings have in common ("egmae" for "egmae 100 epochs"). A
    table without any is left out. Raises UnknownName for a name that no table has, ConfigError for one that
    is a row of several models.
    """
    if not names:
        return list(tables)
    for name in names:
        if not any(_rows(table.methods, name) for table in tables):
            find_method([row for table in tables for row in table.methods], name)
    found = []
    for table in tables:
        rows = [row for name in names for row in _rows(table.methods, name)]
        if rows:
            found.append(table._replace(methods=list({row.name: row for row in rows}.values())))
    return found


def _rows(methods: Sequence[Method], name: str) -> list[Method]:
    try:
        return [find_method(methods, name)]
    except UnknownName:
        wanted = "".join(name.split())
        alike = [m for m in methods if wanted in (_plain_name(m), f"{m.label.model}.{_plain_name(m)}")]
        if len({m.label.model for m in alike}) > 1:
            several = ", ".join(m.name for m in alike)
            raise ConfigError(f"{name!r} is a row of several models: {several}; name one of these") from None
        return alike


def _plain_name(method: Method) -> str:
    """What a method is called without the settings that tell rows of one name apart, and without its network:
    "egmae", "mean(egmae+imagenet)"."""
    spec = method.units[0].spec
    if isinstance(spec, EnsembleSpec):
        return f"{spec.ensemble.name}({'+'.join(spec.member_names)})"
    return spec.strategy.name
