"""Rendering tables: which reporter does it, and what if it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.errors import BenchError, ConfigError, failure_of
from bench.interfaces.reporter import Reporter, Table
from bench.registry import Registry
from bench.text import one_line


def choose_reporter(registry: Registry, name: str = "") -> Reporter:
    """The reporter called `name`; without a name, the default one.

    Raises UnknownName, or ConfigError if no plugin has a default.
    """
    if name:
        return registry.reporters.get(name)
    default = registry.reporters.first(lambda reporter: reporter.default)
    if default is None:
        known = ", ".join(registry.reporters.names()) or "none"
        raise ConfigError(f"no plugin has a default reporter; name one with --format (known: {known})")
    return default


def render(reporter: Reporter, tables: Sequence[Table], registry: Registry) -> str:
    """The text that a reporter makes of tables. Raises PluginError naming its plugin if it fails."""
    try:
        text = reporter.render([_printable(table) for table in tables])
        if not isinstance(text, str):
            raise TypeError(f"render gave {type(text).__name__} instead of str")
        return text
    except (BenchError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever a third-party function raises, sys.exit too
        raise failure_of(
            f"reporter {reporter.name!r} failed",
            error,
            registry.plugins,
            "repair it, or choose another with --format",
            registry.reporters.entry(reporter.name).plugin,
        ) from error


def _printable(table: Table) -> Table:
    """A table whose texts (names of data sets and packages, messages of failures) are plain lines."""
    return replace(
        table,
        title=one_line(table.title),
        protocol=one_line(table.protocol),
        columns=tuple(replace(column, title=one_line(column.title)) for column in table.columns),
        rows=tuple(
            replace(row, model=one_line(row.model), method=one_line(row.method), note=one_line(row.note))
            for row in table.rows
        ),
        footer=tuple(map(one_line, table.footer)),
    )
