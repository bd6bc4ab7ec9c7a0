"""Identity: a spec as canonical JSON, the digest of JSON, and the seeds derived from the seed of a study."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Ref:
    """A component by name and revision, with the parameters that differ from its defaults.

    `local` holds parameters that cannot alter predictions (paths), so they are not part of the key.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 1
    local: Mapping[str, Any] = field(default_factory=dict, metadata={"identity": False})

    def __hash__(self) -> int:  # the mappings cannot be hashed
        return hash((self.name, repr(self.params), self.revision, repr(self.local)))


def to_json(value: Any) -> Any:
    """A spec as plain JSON values, without the fields that are at their default."""
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            name: to_json(given)
            for name, default in _identity_fields(type(value))
            if (given := getattr(value, name)) != default
        }
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    return value


@cache
def _identity_fields(cls: type[Any]) -> tuple[tuple[str, Any], ...]:
    """The fields of a dataclass that are part of its identity, with their defaults."""
    return tuple(
        (f.name, _default_of(f)) for f in dataclasses.fields(cls) if f.metadata.get("identity", True)
    )


def _default_of(f: dataclasses.Field[Any]) -> Any:
    if f.default_factory is not dataclasses.MISSING:
        return f.default_factory()
    return f.default


def digest(value: Any) -> str:
    """sha256 (hex) of a JSON value, written with sorted keys and without spaces."""
    return hashlib.sha256(_ENCODER.encode(value).encode()).hexdigest()


# Made once: json.dumps makes one for every call.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def derive_seed(seed: int, *axes: str | int) -> int:
    """A 63-bit seed derived from the seed of a study, for one purpose that `axes` name.

    Axes are, for example, data set, round and stage. Seeds of different axes are independent.
    """
    return int(digest([seed, *axes])[:16], 16) >> 1
