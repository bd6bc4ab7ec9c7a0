"""Tensors in a safetensors file whose bytes depend on what is in it alone.

safetensors writes the texts of its header in an order that differs from process to process; a training that
was resumed must leave the same bytes as one that was not, so they are put in order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_LENGTH = 8  # bytes at the beginning that say how long the header is
_ABOUT = "__metadata__"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write tensors by name, each with memory of its own, and texts about them. Raises OSError."""
    from safetensors.torch import save_file

    alone = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    save_file(alone, str(path), dict(about))
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        header = json.loads(file.read(length))
        header[_ABOUT] = dict(sorted(header.get(_ABOUT, {}).items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, "the same header, in another order"
        file.seek(_LENGTH)
        file.write(text.ljust(length))
