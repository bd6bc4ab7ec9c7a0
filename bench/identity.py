"""Identity: what is asked for as canonical JSON, its digest, and the seeds that derive from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ref:
    """A component by name, with the parameters that differ from its defaults, at its revision.

    `local` holds parameters that cannot alter predictions (paths); they are not part of the key.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 1
    local: Mapping[str, Any] = field(default_factory=dict, metadata={"identity": False})

    def __hash__(self) -> int:  # the mappings have none of their own
        return hash((self.name, repr(self.params), self.revision, repr(self.local)))


def to_json(value: Any) -> Any:
    """A spec as plain JSON values, without the fields that are at their default."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: to_json(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.metadata.get("identity", True) and getattr(value, f.name) != _default_of(f)
        }
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    return value


def _default_of(f: dataclasses.Field[Any]) -> Any:
    if f.default_factory is not dataclasses.MISSING:
        return f.default_factory()
    return f.default


def digest(value: Any) -> str:
    """sha256 (hex) of a JSON value in its one canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def derive_seed(seed: int, *axes: str | int) -> int:
    """An independent 63-bit seed for one axis (data set, round, stage) of a study's one number."""
    return int(digest([seed, *axes])[:16], 16) >> 1
