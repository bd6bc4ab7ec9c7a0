"""Rendering tables: which reporter does it, and what if it fails."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import BenchError, ConfigError, failure_of
from bench.interfaces.reporter import Reporter, Table
from bench.registry import Registry


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
        text = reporter.render(tables)
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
