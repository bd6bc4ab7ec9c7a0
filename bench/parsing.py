"""From plain values, as TOML and the command line give them, to validated dataclasses."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import ConfigError


def parse(cls: type[Any], data: Mapping[str, Any], where: str) -> Any:
    """Build `cls` from plain values. Raises ConfigError: one line naming key, value and what is allowed."""
    from pydantic import TypeAdapter, ValidationError

    check_known(cls, data, where)
    try:
        return TypeAdapter(cls).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([where, *(str(p) for p in first["loc"])])
        allowed = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        if first["type"] == "value_error":
            raise ConfigError(f"{place}: {allowed}") from None
        raise ConfigError(f"{place} = {first['input']!r}: must be {allowed}") from None


def check_known(cls: type[Any], data: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError for a key that `cls`, or a dataclass within it, does not have."""
    import difflib

    fields = {f.name for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    for name, value in data.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = (
                f"did you mean {near[0]}?" if near else f"known keys: {', '.join(sorted(fields)) or 'none'}"
            )
            raise ConfigError(f"{where}.{name}: no such key; {hint}")
        for inner in _dataclasses_in(hints[name]):
            if isinstance(value, Mapping):
                check_known(inner, value, f"{where}.{name}")


def _dataclasses_in(hint: Any) -> list[type[Any]]:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return [c for arg in typing.get_args(hint) for c in _dataclasses_in(arg)]
    return [hint] if dataclasses.is_dataclass(hint) and isinstance(hint, type) else []


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; ConfigError says which file and line cannot be read."""
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give the path of a TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML ({error})") from None
