"""What can be set, with `--set NAME=VALUE`: names, defaults, allowed values, and what each means."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Parameter(NamedTuple):
    """One value that `--set` can change."""

    name: str
    value: str  # the default, or what a protocol says
    allowed: str
    about: str


def parameters(cls: type[Any], prefix: str) -> Iterator[Parameter]:
    """The fields of a dataclass, those of dataclasses within it too, with `prefix` before their names."""
    yield from _parameters(cls(), prefix)


def values_of(instance: Any, prefix: str) -> Iterator[Parameter]:
    """The same, with the values that `instance` has."""
    yield from _parameters(instance, prefix)


def _parameters(instance: Any, prefix: str) -> Iterator[Parameter]:
    cls = type(instance)
    hints = typing.get_type_hints(cls, include_extras=True)
    about = field_docs(cls)
    for field in dataclasses.fields(cls):
        value = getattr(instance, field.name)
        if dataclasses.is_dataclass(value):
            yield from _parameters(value, f"{prefix}.{field.name}")
            continue
        yield Parameter(
            f"{prefix}.{field.name}",
            as_written(value),
            allowed(hints[field.name]),
            about.get(field.name, ""),
        )


def as_written(value: Any) -> str:
    """A value as `--set` and TOML take it; "nothing" for None, which cannot be set."""
    if value is None:
        return "nothing"
    if value == "":
        return "''"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(as_written, value))}]"
    return str(value)


def field_docs(cls: type[Any]) -> Mapping[str, str]:
    """What the docstrings of a dataclass and of what it inherits from say of its fields ("Attributes:")."""
    import docstring_parser

    about: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        docstring = docstring_parser.parse(base.__doc__ or "", style=docstring_parser.DocstringStyle.GOOGLE)
        for parameter in docstring.params:
            about[parameter.arg_name] = " ".join((parameter.description or "").split())
    return about


def allowed(hint: Any) -> str:
    """The values a type hint allows, in words: "int, >= 1", "gray or rgb", "true or false"."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return ", ".join([allowed(inner[0]), *(bound for extra in inner[1:] for bound in _bounds(extra))])
    if origin is typing.Literal:
        return " or ".join(map(str, inner))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(allowed, inner))
    if origin is tuple and len(inner) > 1 and len(set(inner)) == 1:
        return f"{len(inner)} values: {allowed(inner[0])}"
    if origin in (tuple, list):
        return f"[{', '.join('...' if part is Ellipsis else allowed(part) for part in inner)}]"
    if origin is Mapping:
        return "table"
    if hint is bool:
        return "true or false"
    return getattr(hint, "__name__", str(hint)).replace("NoneType", "nothing")


def _bounds(extra: Any) -> Iterator[str]:
    """The bounds that one of annotated_types' constraints sets."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "a multiple of"}
    for name, sign in signs.items():
        if (bound := getattr(extra, name, None)) is not None:
            yield f"{sign} {bound}"
    if least := getattr(extra, "min_length", None):
        yield f"at least {least} long"
