"""Which reporter renders a table."""

from __future__ import annotations

from typing import Any

from bench.errors import ConfigError
from bench.interfaces.reporter import Reporter
from bench.registry import Registry


def choose_reporter(registry: Registry, name: str = "") -> Reporter[Any]:
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
