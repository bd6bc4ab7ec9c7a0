"""JSON files that end with their own checksum, so that an edited one is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_SEAL = ',\n "sha256": "'


def sealed_text(content: Mapping[str, Any]) -> str:
    """JSON whose last line is the checksum of all lines before."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    body = text.removesuffix("\n}")
    return f'{body}{_SEAL}{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'


def is_sealed(content: bytes) -> bool:
    """Whether the checksum at the end is that of what stands before it."""
    body, _, seal = content.rpartition(_SEAL.encode())
    return hashlib.sha256(body).hexdigest().encode() == seal[:64]
