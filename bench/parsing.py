"""Turn plain values, as TOML and the command line give them, into validated dataclasses."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from bench.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Parsed = TypeVar("Parsed")


def parse(cls: type[Parsed], data: Mapping[str, Any], where: str) -> Parsed:
    """Build a dataclass from plain values; `where` is the prefix of its keys in messages.

    Raises ConfigError, one line that names the key, the value and what is allowed.
    """
    from pydantic import ValidationError

    check_known(cls, data, where)
    try:
        parsed: Parsed = _adapter(cast(Any, cls)).validate_python(data)
        return parsed
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([where, *(str(part) for part in first["loc"])])
        allowed = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        if first["type"] == "value_error":
            raise ConfigError(f"{key}: {allowed}") from None
        raise ConfigError(f"{key} = {first['input']!r}: must be {allowed}") from None


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    """Made once for each class, because making it takes milliseconds."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def check_known(cls: type[Any], data: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError for a key that `cls`, or a dataclass among its fields, does not have."""
    import difflib

    hints = _hints(cast(Any, cls))
    fields = {f.name for f in dataclasses.fields(cls)}
    for name, value in data.items():
        if name not in fields:
            similar = difflib.get_close_matches(name, fields, n=1)
            hint = (
                f"did you mean {similar[0]}?"
                if similar
                else f"known keys: {', '.join(sorted(fields)) or 'none'}"
            )
            raise ConfigError(f"{where}.{name}: no such key; {hint}")
        for inner in _dataclasses_in(hints[name]):
            if isinstance(value, Mapping):
                check_known(inner, value, f"{where}.{name}")


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _dataclasses_in(hint: Any) -> list[type[Any]]:
    """The dataclasses that a type annotation names, also within a union."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return [c for arg in typing.get_args(hint) for c in _dataclasses_in(arg)]
    return [hint] if dataclasses.is_dataclass(hint) and isinstance(hint, type) else []


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises ConfigError naming the file, and the line if its syntax is wrong."""
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give the path of a TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML ({error})") from None
