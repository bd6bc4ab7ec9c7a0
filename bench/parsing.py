"""Turn plain values, as TOML and the command line give them, into validated dataclasses."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from bench.errors import ConfigError
from bench.text import is_printable

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Parsed = TypeVar("Parsed")

LARGEST = 2**63  # what NumPy, PyTorch and Arrow have room for
DEEPEST = 20  # tables within tables; no configuration needs more
SHOWN = 80  # characters of a value in a message
PATH_SHOWN = 300  # characters of a path in a message, whose end is its name


def parse(cls: type[Parsed], data: Mapping[str, Any], where: str) -> Parsed:
    """Build a dataclass from plain values; `where` is the prefix of its keys in messages.

    Raises ConfigError, one line that names the key, the value and what is allowed.
    """
    from pydantic import ValidationError

    check_plain(data, where)
    check_known(cls, data, where)
    _check_kinds(cls, data, where)
    try:
        parsed: Parsed = _adapter(cast(Any, cls)).validate_python(data)
        return parsed
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([where, *(str(part) for part in first["loc"])])
        allowed = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        if first["type"] == "value_error":
            raise ConfigError(f"{key}: {allowed}") from None
        raise ConfigError(f"{key} = {shown(first['input'])}: must be {allowed}") from None


def check_plain(value: Any, where: str, depth: int = 0) -> None:
    """Raise ConfigError for what no configuration means: a number that is infinite, nan or beyond 64 bits,
    a text with control characters or without a Unicode form, tables nested beyond all measure."""
    if depth > DEEPEST:
        raise ConfigError(f"{brief(where)}: nested more than {DEEPEST} deep; write it flat")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            check_plain(str(key), f"{where}: key")
            check_plain(inner, f"{where}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_plain(inner, where, depth + 1)
    elif isinstance(value, str):
        if not is_printable(value):
            raise ConfigError(
                f"{brief(where)} = {shown(value)}: must be printable text, without control characters"
            )
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{brief(where)} = {value}: must be a finite number")
    elif isinstance(value, int) and not -LARGEST <= value < LARGEST:
        raise ConfigError(f"{brief(where)} = {shown(value)}: must be a number of at most 64 bits")


def shown(value: Any) -> str:
    """A value as a message shows it: as Python writes it, cut to a line."""
    try:
        return brief(repr(value))
    except ValueError:  # Python does not write an integer of thousands of digits
        return "a number of thousands of digits"
    except RecursionError:
        return "a value nested too deep to be shown"


def brief(text: str, room: int = SHOWN) -> str:
    """A text cut to what a message has room for."""
    return text if len(text) <= room else f"{text[: room - 3]}..."


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    """Made once for each class, because making it takes milliseconds."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def check_known(cls: type[Any], data: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError for a key that `cls`, or a dataclass among its fields or in a list there, does not
    have."""
    hints = _hints(cast(Any, cls))
    check_keys([f.name for f in dataclasses.fields(cls)], data, where)
    for name, value in data.items():
        for inner in _dataclasses_in(hints[name]):
            if isinstance(value, Mapping):
                check_known(inner, value, f"{where}.{name}")
        for inner in (c for items in _items(hints[name]) for c in _dataclasses_in(items)):
            for place, item in enumerate(value if isinstance(value, (list, tuple)) else ()):
                if isinstance(item, Mapping):
                    check_known(inner, item, f"{where}.{name}.{place}")


def check_keys(known: Iterable[str], data: Iterable[str], where: str) -> None:
    """Raise ConfigError for a key among `data` that is not known; the nearest is suggested."""
    import difflib

    names = set(known)
    for name in data:
        if name not in names:
            similar = difflib.get_close_matches(str(name)[:SHOWN], names, n=1)
            hint = (
                f"did you mean {similar[0]}?"
                if similar
                else f"known keys: {', '.join(sorted(names)) or 'none'}"
            )
            raise ConfigError(f"{where}.{brief(str(name))}: no such key; {hint}")


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _check_kinds(hint: Any, value: Any, where: str) -> None:
    """Raise ConfigError for true or false where a number is meant, and for anything else where true or false
    is: Python, and so pydantic, takes True for 1, and "no" for False."""
    kinds = _kinds(hint)
    if isinstance(value, bool) and bool not in kinds and {int, float} & kinds:
        raise ConfigError(f"{where} = {str(value).lower()}: must be a number")
    if bool in kinds and not isinstance(value, bool) and not kinds - {bool, type(None)} and value is not None:
        raise ConfigError(f"{where} = {shown(value)}: must be true or false")
    if isinstance(value, str) and kinds & {int, float} and str not in kinds and _reads_as_number(value):
        raise ConfigError(f"{where} = {shown(value)}: must be a number, without quotes")
    for inner in _dataclasses_in(hint):
        if isinstance(value, Mapping):
            hints = typing.get_type_hints(inner, include_extras=True)
            for name in value.keys() & hints.keys():
                _check_kinds(hints[name], value[name], f"{where}.{name}")
    for items in _items(hint):
        if isinstance(value, Sequence) and not isinstance(value, str):
            for item in value:
                _check_kinds(items, item, where)


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _kinds(hint: Any) -> set[Any]:
    """The plain types that a type annotation allows; those of a Literal's values too."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _kinds(inner[0])
    if origin in (typing.Union, types.UnionType):
        return {kind for arg in inner for kind in _kinds(arg)}
    if origin is typing.Literal:
        return {type(value) for value in inner}
    return {origin or hint}


def _items(hint: Any) -> list[Any]:
    """What the sequences hold that a type annotation names, also within a union."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _items(inner[0])
    if origin in (typing.Union, types.UnionType):
        return [item for arg in inner for item in _items(arg)]
    return [inner[0]] if origin in (tuple, list) and inner else []


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
            f"{brief(str(path), PATH_SHOWN)}: cannot be read ({error.strerror}); give the path of a TOML file"
        ) from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deep; no study needs that") from None
    except (
        ValueError
    ) as error:  # of syntax, of UTF-8, of a number of thousands of digits, of a NUL in the path
        reason = brief(str(error).partition(";")[0])
        raise ConfigError(f"{brief(str(path), PATH_SHOWN)}: not valid TOML ({reason})") from None
