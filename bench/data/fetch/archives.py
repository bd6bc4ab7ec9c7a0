"""Unpack a zip or tar archive from the internet: nothing leaves the folder, nothing fills the disk.

An archive that names a path outside of itself, holds a link or a device, or unpacks to far more than a set
of images does, is refused whole: a data set with such a member is not the one that was asked for. What is
unpacked goes to a folder of its own first (`extract`); `settle` moves it to where it belongs.
"""

from __future__ import annotations

import filecmp
import hashlib
import lzma
import os
import re
import shutil
import stat
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from bench.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
CHUNK = 1 << 20
PRIVATE = ".bench"  # our own folder in a data set's
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError)

Tell = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True)
class Limits:
    """More than any set of images needs. `ratio` (unpacked to packed) counts from `free_bytes` on, because
    a small table may well shrink a thousandfold, and images hardly at all."""

    files: int = 2_000_000
    bytes: int = 4 << 40
    ratio: int = 100
    free_bytes: int = 256 << 20


@dataclass(frozen=True)
class Extracted:
    """What came out of an archive."""

    files: Mapping[str, int]  # path below the folder -> bytes
    contents: str  # checksum of names and bytes, whatever the archive's own form
    nested: tuple[str, ...]  # archives within, left as they are


class _Member(NamedTuple):
    name: str
    size: int
    folder: bool
    open: Callable[[], IO[bytes]]


def is_archive(name: str) -> bool:
    """Whether a file of this name is one that `extract` unpacks."""
    return name.lower().endswith(SUFFIXES)


def extract(archive: Path, folder: Path, tell: Tell, limits: Limits | None = None) -> Extracted:
    """Unpack everything into `folder`, which must not exist. Raises DataError, and then leaves no folder."""
    limits = limits or Limits()
    folder.mkdir(parents=True)
    try:
        return _extract(archive, folder, tell, limits)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def contents(archive: Path, tell: Tell) -> str:
    """The checksum that `Extracted.contents` gives, without writing anything. Raises DataError."""
    digests: dict[str, str] = {}
    done = 0
    with _members(archive) as (members, total):
        for member in members:
            if not member.folder:
                sha = hashlib.sha256()
                for chunk in _chunks(member, archive):
                    sha.update(chunk)
                    done += len(chunk)
                    tell(done, total)
                digests[safe_name(member.name, archive)] = sha.hexdigest()
    return _digest(digests)


def _extract(archive: Path, folder: Path, tell: Tell, limits: Limits) -> Extracted:
    ignores_case = _ignores_case(folder)
    packed = archive.stat().st_size
    most = min(limits.bytes, max(limits.free_bytes, limits.ratio * packed))
    files: dict[str, int] = {}
    digests: dict[str, str] = {}
    folded: dict[str, str] = {}
    done = 0
    with _members(archive) as (members, total):
        for count, member in enumerate(members, 1):
            if count > limits.files:
                raise DataError(f"{archive}: holds more than {limits.files} files; nothing was unpacked")
            name = safe_name(member.name, archive)
            if not name:  # "./", the folder itself
                continue
            if ignores_case and folded.setdefault(name.casefold(), name) != name:
                raise DataError(
                    f"{archive}: {folded[name.casefold()]} and {name} are one name on this file system; "
                    "choose a data root on one that tells upper from lower case"
                )
            if done + member.size > most:
                raise _bomb(archive, packed, most)
            size, sha = 0, hashlib.sha256()
            with _writer(folder / name, member.folder, archive) as write:
                for chunk in () if member.folder else _chunks(member, archive):
                    size += len(chunk)
                    if done + size > most:
                        raise _bomb(archive, packed, most)
                    sha.update(chunk)
                    write(chunk)
                    tell(done + size, total)
            if not member.folder:  # of two members with one name the last counts, as in every tool
                done += size
                files[name], digests[name] = size, sha.hexdigest()
    nested = tuple(sorted(name for name in files if is_archive(name)))
    return Extracted(files, _digest(digests), nested)


def _digest(digests: Mapping[str, str]) -> str:
    sha = hashlib.sha256()
    for name in sorted(digests):
        sha.update(f"{name}\0{digests[name]}\n".encode(errors="surrogateescape"))
    return f"sha256:{sha.hexdigest()}"


def _bomb(archive: Path, packed: int, most: int) -> DataError:
    return DataError(
        f"{archive}: {packed} bytes unpack to more than {most}, which no set of images does; "
        "nothing was unpacked: see whether it is the file you meant"
    )


# --- names -------------------------------------------------------------------------------------------


def safe_name(name: str, archive: Path) -> str:
    """A member's path in plain form ("a/b.png"; "" for the folder itself).

    Backslashes are separators, as the tools that write them mean it. Raises DataError for a path that leads
    elsewhere, that a terminal would choke on, or that this file system cannot hold.
    """
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    shown = name.encode("unicode_escape").decode()[:100]
    if plain.startswith("/") or re.match(r"[A-Za-z]:", plain) or ".." in parts:
        raise DataError(f"{archive}: the member {shown} leads outside of the archive; nothing was unpacked")
    if any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in plain):
        raise DataError(f"{archive}: the member {shown} has control characters in its name")
    if parts and parts[0].casefold() == PRIVATE:
        raise DataError(f"{archive}: the member {shown} is named as bench's own folder {PRIVATE}")
    if os.name == "nt" and any(_unfit_for_windows(part) for part in parts):
        raise DataError(
            f"{archive}: Windows cannot hold a file named {shown}; unpack it on another system, or by hand"
        )
    return "/".join(parts)


def _unfit_for_windows(part: str) -> bool:
    return bool(_RESERVED.fullmatch(part) or part[-1] in ". " or set(part) & set('<>:"|?*'))


def _ignores_case(folder: Path) -> bool:
    probe = folder / f"case-{uuid.uuid4().hex}"
    probe.touch()
    try:
        return probe.with_name(probe.name.upper()).exists()
    finally:
        probe.unlink()


# --- reading and writing members ---------------------------------------------------------------------


@contextmanager
def _members(archive: Path) -> Iterator[tuple[Iterator[_Member], int]]:
    """The members of an archive, in its order, and their bytes together (0 where only reading it all would
    tell). Refuses all that is neither file nor folder."""
    try:
        if _is_zip(archive):
            with zipfile.ZipFile(archive) as opened:
                yield _of_zip(opened, archive), sum(info.file_size for info in opened.infolist())
        else:
            with tarfile.open(archive) as opened:
                yield _of_tar(opened, archive), 0
    except tarfile.ReadError:
        raise DataError(
            f"{archive}: is no zip or tar archive, or only a piece of one; delete it and run the same "
            "command again"
        ) from None
    except zipfile.BadZipFile as error:
        raise _damaged(archive, error) from None


def _is_zip(archive: Path) -> bool:
    """By its first bytes too: a tar whose last member is a zip ends like one."""
    with archive.open("rb") as file:
        return file.read(2) == b"PK" and zipfile.is_zipfile(archive)


def _of_zip(opened: zipfile.ZipFile, archive: Path) -> Iterator[_Member]:
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _special(archive, info.filename)
        yield _Member(info.filename, info.file_size, info.is_dir(), _opener(opened, info))


def _opener(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: opened.open(info)


def _of_tar(opened: tarfile.TarFile, archive: Path) -> Iterator[_Member]:
    while (info := _next(opened, archive)) is not None:
        if not (info.isreg() or info.isdir()) or info.issparse():
            raise _special(archive, info.name)
        yield _Member(info.name, info.size if info.isreg() else 0, info.isdir(), _tar_opener(opened, info))
        opened.members.clear()  # type: ignore[attr-defined]  # or a tar of a million files keeps a million headers


def _next(opened: tarfile.TarFile, archive: Path) -> tarfile.TarInfo | None:
    try:
        return opened.next()
    except _DAMAGE as error:
        raise _damaged(archive, error) from None


def _tar_opener(opened: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def open_member() -> IO[bytes]:
        file = opened.extractfile(info)
        assert file is not None  # a regular file
        return file

    return open_member


def _chunks(member: _Member, archive: Path) -> Iterator[bytes]:
    try:
        with member.open() as file:
            left = member.size
            while chunk := file.read(CHUNK):
                left -= len(chunk)
                yield chunk
            if left > 0:
                raise EOFError(f"{member.name} ends early")
    except RuntimeError as error:  # zipfile's word for a password, and for a compression it does not know
        raise DataError(f"{archive}: cannot be unpacked ({error}); unpack it by hand") from None
    except _DAMAGE as error:
        raise _damaged(archive, error) from None


@contextmanager
def _writer(target: Path, folder: bool, archive: Path) -> Iterator[Callable[[bytes], object]]:
    try:
        if folder:
            target.mkdir(parents=True, exist_ok=True)
            yield lambda chunk: None
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            yield file.write
    except OSError as error:
        raise DataError(
            f"{archive}: {target.name} cannot be unpacked to {target.parent} ({error.strerror or error}); "
            "make room or choose another --data, and run the same command again"
        ) from None


def _special(archive: Path, name: str) -> DataError:
    return DataError(
        f"{archive}: the member {name!r} is neither a file nor a folder (a link or a device); "
        "nothing was unpacked"
    )


def _damaged(archive: Path, error: Exception) -> DataError:
    return DataError(f"{archive}: is damaged ({error}); delete it and run the same command again")


# --- moving into place -------------------------------------------------------------------------------


def settle(source: Path, target: Path) -> None:
    """Move what lies in `source` into `target`, which may hold other files; `source` is gone afterwards.

    A file that is there already stays if it is equal; if it differs, DataError is raised and nothing moves.
    Interrupted, the same call goes on. Every folder that is new to `target` comes in one rename.
    """
    differing = sorted(
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if _differs(path, target / path.relative_to(source))
    )
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise DataError(
            f"{target}: {', '.join(differing[:3])}{more} are there already and differ from the archive's; "
            "move them away and run the same command again"
        )
    _merge(source, target)
    shutil.rmtree(source, ignore_errors=True)


def _differs(new: Path, old: Path) -> bool:
    if not os.path.lexists(old):
        return False
    if new.is_dir() or old.is_dir():
        return new.is_dir() != old.is_dir()
    return not filecmp.cmp(new, old, shallow=False)


def _merge(source: Path, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        return
    for entry in sorted(source.iterdir()):
        if entry.is_dir() and (target / entry.name).is_dir():
            _merge(entry, target / entry.name)
        else:
            entry.replace(target / entry.name)
