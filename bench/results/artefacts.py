"""The files beside a record: described when a unit is stored, compared when it is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from bench.files import sha256_of
from bench.results.record import RECORD, Artefact

LEFT_OUT = ".left-out"
"""What the name of a small file ends with that stands for a large one, which `bench pack` did not pack."""


def describe(directory: Path, rows: Mapping[str, Mapping[str, int]]) -> dict[str, Artefact]:
    """Every file in `directory` but the record, by its path in there. `rows` are those of each part, by file.

    Raises OSError.
    """
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != RECORD)
    names = [path.relative_to(directory).as_posix() for path in files]
    return {
        name: Artefact(sha256=sha256_of(path), bytes=path.stat().st_size, rows=rows.get(name, {}))
        for name, path in zip(names, files, strict=True)
    }


def is_left_out(directory: Path, name: str) -> bool:
    """Whether the file `name` was not packed, on purpose: its checksum is known, and nothing else of it."""
    return os.path.exists(f"{directory}/{name}{LEFT_OUT}") and not os.path.exists(f"{directory}/{name}")


def missized(directory: Path, artefacts: Mapping[str, Artefact]) -> str:
    """Which file is missing or of another size, as a phrase; "" if none. Opens no file.

    What was left out of a pack is not missing: the record is as good without, until the file is needed.
    """
    for name, stated in artefacts.items():
        try:
            size = os.stat(f"{directory}/{name}").st_size
        except OSError:
            if is_left_out(directory, name):
                continue
            return f"{name} is missing"
        if size != stated.bytes:
            return f"{name} has {size} bytes, {stated.bytes} were stored"
    return ""


def altered(name: str) -> str:
    """The phrase for a file whose checksum is not the recorded one."""
    return f"{name} is not the file that was stored (its sha256 differs)"


def changed(directory: Path, artefacts: Mapping[str, Artefact], name: str) -> str:
    """Whether the file `name` has another size or checksum than recorded, as a phrase; "" if it has not, or
    if nothing is recorded of it. Reads the file."""
    if (stated := artefacts.get(name)) is None:
        return ""
    if problem := missized(directory, {name: stated}):
        return problem
    if is_left_out(directory, name):
        return f"{name} was left out when this was packed"
    try:
        return "" if sha256_of(directory / name) == stated.sha256 else altered(name)
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
