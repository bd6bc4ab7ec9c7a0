"""Unpack a zip or tar archive from the internet: nothing leaves the folder, nothing fills the disk.

An archive that names a path outside of itself, holds a link or a device, or unpacks to far more than a set
of images does, is refused whole: a data set with such a member is not the one that was asked for. What is
unpacked goes to a folder of its own first (`extract`); `move_into_place` moves it to where it belongs.
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
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, Self, cast

from bench.data.fetch.local_state import STATE_FOLDER, OnProgress, disk_errors
from bench.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
CHUNK = 1 << 20  # bytes; also what a header of a tar may hold
TRAILING_CHUNKS = 64  # that may follow the end of a tar
_READ_WHOLE = (  # headers that `tarfile` reads into memory: long names, and what pax knows beside them
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_UNFIT_FOR_WINDOWS = re.compile(r'(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?|.*[. ]|.*[<>:"|?*].*')


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
    size: int  # bytes, as the archive states them
    is_folder: bool
    is_special: bool  # neither a file nor a folder
    open: Callable[[], IO[bytes]]
    total: int  # bytes of all members together; 0 where only reading all of them would show it


def is_archive(name: str) -> bool:
    """Whether a file of this name is one that `extract` unpacks."""
    return name.lower().endswith(SUFFIXES)


def is_whole(archive: Path) -> bool:
    """Whether a zip or tar archive shows by its own form that its end is there: the directory of a zip, the
    mark at the end of a tar, the ends of compressed streams. Reads all of a tar, and of a zip its end."""
    try:
        with _reading(archive):
            if _is_zip(archive):
                with zipfile.ZipFile(archive) as unzipped:
                    # A zip that ends after a zip within it would be taken for that one, with bytes before it.
                    return min((info.header_offset for info in unzipped.infolist()), default=1) == 0
            with tarfile.open(archive, tarinfo=_Header) as tar:
                while tar.next() is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # or it keeps a million headers
                cast("IO[bytes]", tar.fileobj).seek(tar.offset)
                is_marked = cast("IO[bytes]", tar.fileobj).read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
                _read_to_end(tar)
                return is_marked
    except DataError:
        return False


def extract(archive: Path, folder: Path, on_progress: OnProgress, limits: Limits | None = None) -> Extracted:
    """Unpack everything into `folder`, which must not exist. Raises DataError, and then leaves no folder."""
    folder.mkdir(parents=True)
    try:
        with disk_errors(folder):
            return _read(archive, folder, on_progress, limits or Limits())
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def contents_checksum(archive: Path, on_progress: OnProgress) -> str:
    """The checksum that `Extracted.contents` gives, without writing anything. Raises DataError."""
    return _read(archive, None, on_progress, Limits()).contents


def _read(archive: Path, folder: Path | None, on_progress: OnProgress, limits: Limits) -> Extracted:
    """Read every member, and write it below `folder` unless that is None.

    Raises DataError for what is wrong with the archive, OSError for what cannot be written.
    """
    ignores_case = folder is not None and _ignores_case(folder)
    packed = archive.stat().st_size
    max_bytes = min(limits.bytes, max(limits.free_bytes, limits.ratio * packed))
    files: dict[str, int] = {}
    digests: dict[str, str] = {}
    spellings: dict[str, str] = {}  # a name without regard to case -> the name as it came first
    done = 0
    for count, member in enumerate(_members(archive), 1):
        if count > limits.files:
            raise DataError(f"{archive}: holds more than {limits.files} files; nothing was unpacked")
        if member.is_special:
            raise DataError(
                f"{archive}: the member {member.name!r} is neither a file nor a folder (a link or a device); "
                "nothing was unpacked"
            )
        name = safe_name(member.name, archive)
        if ignores_case and (other := spellings.setdefault(name.casefold(), name)) != name:
            raise DataError(
                f"{archive}: {other} and {name} are one name on this file system; choose a data root on one "
                "that tells upper from lower case"
            )
        target = folder / name if folder else Path(os.devnull)
        if member.is_folder:
            if folder:
                target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        size, sha = 0, hashlib.sha256()
        with target.open("wb") as file:
            for chunk in _chunks(member, archive):
                size += len(chunk)
                if done + max(size, member.size) > max_bytes:
                    raise DataError(
                        f"{archive}: {packed} bytes unpack to more than {max_bytes}, which no set of images "
                        "does; nothing was unpacked: see whether it is the file you meant"
                    )
                sha.update(chunk)
                file.write(chunk)
                on_progress(done + size, member.total)
        done += size
        files[name], digests[name] = size, sha.hexdigest()  # of two members with one name the last counts
    listing = "".join(f"{name}\0{digests[name]}\n" for name in sorted(digests))
    contents = hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()
    return Extracted(files, f"sha256:{contents}", tuple(sorted(filter(is_archive, files))))


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
    if parts and parts[0].casefold() == STATE_FOLDER:
        raise DataError(f"{archive}: the member {shown} is named as bench's own folder {STATE_FOLDER}")
    if os.name == "nt" and any(map(_UNFIT_FOR_WINDOWS.fullmatch, parts)):
        raise DataError(
            f"{archive}: Windows cannot hold a file named {shown}; unpack it on another system, or by hand"
        )
    return "/".join(parts)


def _ignores_case(folder: Path) -> bool:
    """Whether the file system takes "a" and "A" for one name; tried in an empty folder."""
    probe = folder / "a"
    probe.touch()
    ignores_case = (folder / "A").exists()
    probe.unlink()
    return ignores_case


def _is_zip(archive: Path) -> bool:
    with archive.open("rb") as file:  # a tar whose last member is a zip ends like one
        return file.read(2) == b"PK" and zipfile.is_zipfile(archive)


def _members(archive: Path) -> Iterator[_Member]:
    """The members of an archive, in its order; each must be read before the next is taken."""
    with _reading(archive):
        if _is_zip(archive):
            with zipfile.ZipFile(archive) as unzipped:
                total = sum(info.file_size for info in unzipped.infolist())
                for info in unzipped.infolist():
                    is_special = stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR)
                    content = partial(unzipped.open, info)
                    yield _Member(info.filename, info.file_size, info.is_dir(), is_special, content, total)
        else:
            with tarfile.open(archive, tarinfo=_Header) as tar:
                while (entry := tar.next()) is not None:
                    is_special = entry.issparse() or not (entry.isreg() or entry.isdir())
                    # The type says that it may give None: for a folder, which nobody opens.
                    content = cast("partial[IO[bytes]]", partial(tar.extractfile, entry))
                    yield _Member(entry.name, entry.size, entry.isdir(), is_special, content, 0)
                    tar.members.clear()  # type: ignore[attr-defined]  # or it keeps a million headers
                _read_to_end(tar)


class _Header(tarfile.TarInfo):
    """A header of a tar. One that is damaged is an error: `tarfile` takes it for the end, if it is not the
    first. A name without end is not read into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not any(buf):  # nothing more, or the zeros that mark the end
                raise
            raise tarfile.SubsequentHeaderError(str(error)) from None  # type: ignore[attr-defined]
        if header.type in _READ_WHOLE and header.size > CHUNK:
            raise tarfile.TarError(f"a header of {header.size} bytes")
        return header


def _read_to_end(tar: tarfile.TarFile) -> None:
    """Read what follows the last member: the checksum of a compressed stream is compared at its end."""
    for _ in range(TRAILING_CHUNKS):
        if not cast("IO[bytes]", tar.fileobj).read(CHUNK):
            return
    raise tarfile.TarError(f"more than {TRAILING_CHUNKS * CHUNK} bytes follow its end")


def _chunks(member: _Member, archive: Path) -> Iterator[bytes]:
    with _reading(archive), member.open() as file:
        missing = member.size
        while chunk := file.read(CHUNK):
            missing -= len(chunk)
            yield chunk
        if missing > 0:
            raise EOFError(f"{member.name} ends early")


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Say in one line what is wrong with an archive. An OSError in here is one of reading it."""
    remedy = "delete it and run the same command again"
    try:
        yield
    except tarfile.ReadError:
        raise DataError(f"{archive}: is not a zip or tar archive, or only a piece of one; {remedy}") from None
    except RuntimeError as error:  # zipfile's, for a password or a compression that it does not know
        raise DataError(f"{archive}: cannot be unpacked ({error}); unpack it by hand") from None
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise DataError(f"{archive}: is damaged ({error}); {remedy}") from None


def move_into_place(source: Path, target: Path) -> None:
    """Move what lies in `source` into `target`, which may hold other files; `source` is gone afterwards.

    A file that is in `target` already stays if it is equal; if it differs, DataError is raised and nothing
    moves. Interrupted, the same call goes on. Every folder that is new to `target` comes in one rename.
    """
    pairs = [(path, target / path.relative_to(source)) for path in source.rglob("*")]
    differing = sorted(
        new.relative_to(source).as_posix()
        for new, old in pairs
        if os.path.lexists(old) and not (new.is_dir() and old.is_dir()) and not filecmp.cmp(new, old, False)
    )
    if differing:
        others = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise DataError(
            f"{target}: {', '.join(differing[:3])}{others} are there already and differ from the archive's; "
            "move them away and run the same command again"
        )
    _merge(source, target)
    shutil.rmtree(source, ignore_errors=True)


def _merge(source: Path, target: Path) -> None:
    if source.is_dir() and target.is_dir():
        for entry in sorted(source.iterdir()):
            _merge(entry, target / entry.name)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
