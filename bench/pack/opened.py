"""A pack that somebody sent: unpacked where nothing else lies, and compared with its own lists."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.data.fetch.archives import extract
from bench.errors import ConfigError, DataError, describe
from bench.files import sha256_of
from bench.pack.build import CHECKSUMS
from bench.pack.contents import RESULTS
from bench.pack.crate import METADATA, stated_files

SUFFIX = ".zip"
_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64}) [ *](?P<name>.+)")
_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An unpacked pack.

    Attributes:
        path: of the zip.
        folder: where it was unpacked.
        sha256: of the zip.
        files: how many its lists name.
        differing: what is not as its lists say, a phrase each.
    """

    path: Path
    folder: Path
    sha256: str
    files: int
    differing: tuple[str, ...]

    @property
    def results(self) -> Path:
        """The folder in it that is a results folder."""
        return self.folder / RESULTS

    def inside(self, text: str) -> str:
        """A text with places in the pack instead of where it was unpacked."""
        return text.replace(f"{self.folder}/", "").replace(str(self.folder), "the pack")


def is_pack(path: Path) -> bool:
    """Whether a path is meant as a pack and not as a results folder."""
    return path.suffix.lower() == SUFFIX or path.is_file()


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Unpack a pack for the time of the block, and read all of it.

    Raises ConfigError for what is no pack, DataError for a zip that is damaged, or that names a path twice,
    outside of itself or hidden, holds a link, or unpacks to far more than results do. Nothing is left behind.
    """
    _check_names(path)
    with tempfile.TemporaryDirectory(prefix="bench-pack-") as place:
        folder = Path(place) / "pack"
        unpacked = extract(path, folder, lambda done, total: None)
        listed, differing = _compared(folder, set(unpacked.files))
        yield Opened(
            path=path, folder=folder, sha256=sha256_of(path), files=listed, differing=tuple(differing)
        )


def _check_names(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; name a pack, as `bench pack` writes it")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is no zip that can be read ({describe(error)}); get it once more") from None
    if METADATA not in names or CHECKSUMS not in names:
        raise ConfigError(
            f"{path}: is no pack of bench, for it has no {METADATA} and {CHECKSUMS}; name another"
        )
    counts = Counter(name.replace("\\", "/").rstrip("/").casefold() for name in names)
    if double := [name for name in names if counts[name.replace("\\", "/").rstrip("/").casefold()] > 1]:
        raise DataError(f"{path}: holds {_shown(double[0])} twice; nothing was read")
    if hidden := [name for name in names if any(part.startswith(".") for part in re.split(r"[\\/]", name))]:
        raise DataError(
            f"{path}: holds {_shown(hidden[0])}, whose name leads out of it or is hidden; nothing was read"
        )


def _compared(folder: Path, present: set[str]) -> tuple[int, list[str]]:
    """How many files the lists of a pack name, and what is not as they say."""
    differing: list[str] = []
    listed = _checksums(folder, differing)
    described = _described(folder, differing)
    for name in sorted(listed.keys() | described.keys()):
        if name not in present:
            differing.append(f"{_shown(name)} is listed, and not there")
            continue
        actual = sha256_of(folder / name)
        if listed.get(name, actual) != actual:
            differing.append(f"{_shown(name)} is not the file that was packed (its sha256 differs)")
        if described.get(name, actual) != actual:
            differing.append(f"{METADATA} gives another sha256 of {_shown(name)}")
    for name in sorted(present - {CHECKSUMS} - listed.keys()):
        differing.append(f"{_shown(name)} is not in {CHECKSUMS}")
    for name in sorted(present - {CHECKSUMS, METADATA} - described.keys()):
        differing.append(f"{_shown(name)} is not in {METADATA}")
    return len(listed), differing


def _checksums(folder: Path, differing: list[str]) -> dict[str, str]:
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        differing.append(f"{CHECKSUMS} cannot be read ({describe(error)})")
        return {}
    listed: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None or match["name"] in listed:
            differing.append(f"{CHECKSUMS}, line {number} is no checksum of one more file")
        else:
            listed[match["name"]] = match["sha256"]
    return listed


def _described(folder: Path, differing: list[str]) -> dict[str, str]:
    try:
        return stated_files((folder / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        differing.append(f"{METADATA} cannot be read ({describe(error)})")
        return {}


def _shown(name: str) -> str:
    return name.encode("unicode_escape").decode()[:120]
