"""What processes of one command leave for each other, so that each thing is found out once: how a data set is
listed, what a network costs.

It holds for that command alone. Another one may find other files, or a plugin that has changed since.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.files import replacing, temporary_beside
from bench.identity import digest

FOLDER = "exchange"  # in the scratch folder
MOST = 64 * 2**20  # bytes; what is larger each process finds out for itself


class Exchange:
    """A folder of one command; without one, nothing is left and nothing found.

    Values are known by a word and what they are about, which `repr` tells apart.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def find(self, word: str, *about: object) -> Any:
        """What a process has left; None if there is nothing, or nothing that can be read."""
        if self.folder is None:
            return None
        try:
            return pickle.loads(self._path(self.folder, word, about).read_bytes())
        except Exception:  # of any kind: a class may be gone, a file cut off
            return None

    def leave(self, value: object, word: str, *about: object) -> None:
        """Leave a value for the others, if that can be done and it is not too large."""
        if self.folder is None:
            return
        with suppress(Exception):  # of any kind: not all can be pickled
            content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
            if len(content) <= MOST:
                with replacing(self._path(self.folder, word, about)) as file:
                    file.write(content)

    def _path(self, folder: Path, word: str, about: tuple[object, ...]) -> Path:
        return folder / f"{word}-{digest([repr(each) for each in about])[:16]}"


@contextmanager
def folder_of_a_command(scratch: Path) -> Iterator[Path | None]:
    """A folder for the exchange between processes of this command, which only its user can read; removed at
    its end, or by `bench.files.remove_leftovers`. None if it cannot be made."""
    folder = temporary_beside(scratch / FOLDER / "of a command")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.mkdir(folder, mode=0o700)
    except OSError:
        yield None
        return
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
