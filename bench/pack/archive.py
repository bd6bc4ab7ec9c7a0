"""A zip whose bytes depend on what it holds alone: names in order, no times, no owner, one compression."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, Self

_THEN = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can state
_LEVEL = 6
_UNIX = 3
_MODE = 0o100644 << 16
_CHUNK = 1 << 20
_COMPRESSED = (".parquet", ".safetensors", ".png")  # already, or as good as random


class Item(NamedTuple):
    """A file of the pack: its path in there, and where its bytes are."""

    name: str
    content: Path | bytes


class Written(NamedTuple):
    """A file that was packed."""

    name: str
    sha256: str
    bytes: int


class Writer:
    """Adds files to a zip, in the order in which they are given; a context, at whose end it is whole."""

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(file, "w")

    def add(self, item: Item) -> Written:
        """Raises OSError for a file that cannot be read, or written."""
        info = zipfile.ZipInfo(item.name, _THEN)
        stored = item.name.endswith(_COMPRESSED)
        info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
        info._compresslevel = _LEVEL  # type: ignore[attr-defined]  # public from Python 3.13 on
        info.create_system, info.external_attr = _UNIX, _MODE
        content = item.content
        info.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
        sha256, size = hashlib.sha256(), 0
        with self._zip.open(info, "w") as target:
            for chunk in _chunks(content):
                sha256.update(chunk)
                size += len(chunk)
                target.write(chunk)
        return Written(item.name, sha256.hexdigest(), size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()


def _chunks(content: Path | bytes) -> Iterator[bytes]:
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
