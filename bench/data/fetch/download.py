"""One file over HTTP: resumed where it broke off, tried on mirrors, checked before it takes its name.

    name.part         what has arrived, beside the target
    name.part.json    from which address, and the validator (ETag or date) of that version

A broken download is resumed only if the server still has the version it began with (If-Range), or if a
checksum will show that it does not. A server without ranges sends the whole file again. A file is whole when
all bytes that the server stated have come; where it stated none (HTTP/1.0 ends a file by closing the
connection, as a broken connection does), a checksum, a published size or the file itself has to show it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.data.fetch import connection
from bench.data.fetch.connection import CHUNK, AddressFailed, Answer, Interrupted, Unreachable, ask
from bench.data.fetch.local_state import OnProgress, file_size
from bench.errors import DataError
from bench.files import read_json, sync_directory, write_json

TRIES = 4  # in a row without headway, before the next mirror
TEMPORARY = frozenset({202, 408, 425, 429, 500, 502, 503, 504})  # HTTP status codes that may pass with time
LOOK = 64 << 20  # bytes after which the room on the disk is looked at, where no length is stated
RESERVE = 1 << 30  # bytes that a file of unstated length leaves free
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')
_DATE = re.compile(r"[A-Za-z0-9 :,+-]{10,40}")


class DownloadError(DataError):
    """No address gave the file; the message says why, for each of them."""


class Published(NamedTuple):
    """What is known of a file before it is downloaded.

    Attributes:
        checksum: "sha256:HEX" or "md5:HEX", or "" if unknown.
        size: bytes; 0 if not known.
        is_whole: whether a file on disk shows by its own form that none of it is missing; asked where the
            server did not say how long it is and there is neither checksum nor size. None: it cannot.
    """

    checksum: str = ""
    size: int = 0
    is_whole: Callable[[Path], bool] | None = None


NOTHING = Published()


def file_digest(path: Path, algorithm: str, on_progress: OnProgress = lambda done, total: None) -> str:
    """The checksum of a file as "sha256:HEX" or "md5:HEX". Raises OSError."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    done, total = 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            on_progress(done, total)
    return f"{algorithm}:{digest.hexdigest()}"


def part_of(target: Path) -> Path:
    """The file in which a download of `target` grows."""
    return target.with_name(target.name + ".part")


def download(
    urls: Sequence[str],
    target: Path,
    on_progress: OnProgress,
    published: Published = NOTHING,
    *,
    pause: float = 1.0,
) -> str:
    """Download `target` from the first of `urls` that gives it; returns that address.

    Between tries `pause` seconds pass, then twice as many, and so on. Interrupted, the same call goes on.
    Raises DownloadError if no address gives the file, DataError if the disk has no room for it, OSError if
    it cannot be written.
    """
    part = part_of(target)
    failures = []
    for url in urls:
        try:
            _download_from(url, part, published, on_progress, pause)
        except AddressFailed as failure:
            failures.append(f"{url}: {failure}")
            continue
        part.replace(target)
        _origin_path(part).unlink(missing_ok=True)
        sync_directory(target.parent)
        return url
    raise DownloadError("; ".join(failures) or "there is no address to fetch it from")


def _download_from(url: str, part: Path, published: Published, on_progress: OnProgress, pause: float) -> None:
    """Request from one address until `part` is complete and right. Raises AddressFailed."""
    before = largest = max(file_size(part), 0)
    # A server that sends a byte a request would keep us for ever.
    headway = connection.LEAST_RATE * connection.RATE_WINDOW
    tries = 0  # since the last headway
    while True:
        try:
            _request(url, part, published, on_progress)
            break
        except Interrupted as interruption:
            # A server without ranges starts again each time, so only a part larger than ever is headway.
            size = file_size(part)
            tries += 1
            if size >= largest + headway:
                tries, largest = 0, size
            never_answered = isinstance(interruption, Unreachable) and size <= before
            if tries == TRIES or never_answered:
                raise AddressFailed(str(interruption)) from None
        time.sleep(pause * 2**tries)
    checksum = published.checksum
    actual = file_digest(part, checksum.partition(":")[0]) if checksum else ""
    if actual != checksum:
        _discard(part)
        if not before:
            raise AddressFailed(f"its checksum is {actual}, but {checksum} was expected")
        # The pieces may have been of two versions.
        _download_from(url, part, published, on_progress, pause)


def _request(url: str, part: Path, published: Published, on_progress: OnProgress) -> None:
    """Ask once for what `part` lacks, and append it. Raises Interrupted or AddressFailed."""
    from bench import __version__

    start, validator = _resume_point(url, part, published.checksum)
    headers = {"User-Agent": f"bench/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-"} | ({"If-Range": validator} if validator else {})
    with ask(url, headers) as answer:
        if answer.status == 416 and start:
            if answer.headers.get("Content-Range", "") == f"bytes */{start}":
                return  # `part` is complete
            _discard(part)
            raise Interrupted("the server's file is shorter than what had arrived")
        _check_answer(answer, part)
        if answer.status != 206:
            start = 0
        total = _complete_length(answer, start, validator, part)
        done = _receive(answer, part, start, total, url, on_progress)
    if done < total:
        raise Interrupted(f"the connection ended after {done} of {total} bytes")
    if total and done > total:
        _discard(part)
        raise Interrupted(f"the server sent {done} bytes of a file of {total}")
    if not done:
        _discard(part)
        raise AddressFailed("the server sends an empty file")
    if not total and (answer.status == 206 or not answer.ended_properly):
        _require_whole(part, published, can_resume=bool(_validator(answer)))


def _check_answer(answer: Answer, part: Path) -> None:
    """Raise Interrupted or AddressFailed for an answer that does not bring the file."""
    if answer.status not in (200, 206):
        reason = f"HTTP {answer.status} {answer.reason}".rstrip()
        raise Interrupted(reason) if answer.status in TEMPORARY else AddressFailed(reason)
    if answer.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise AddressFailed("the server sends a web page in place of the file (a login, or a notice?)")
    packed = answer.headers.get("Content-Encoding", "identity").strip().lower()
    # Some servers say so of a .tar.gz, which is packed once.
    if packed not in ("", "identity") and not part.name.endswith((".gz.part", ".tgz.part")):
        raise AddressFailed(f"the server packs the file ({packed}), which it was asked not to do")


def _complete_length(answer: Answer, start: int, validator: str, part: Path) -> int:
    """Bytes of the whole file; 0 if the server does not say. Raises Interrupted if it sends a piece that does
    not go on at `start`, where `part` ends."""
    if answer.status != 206:
        return 0 if answer.chunked else answer.length or 0
    stated = re.fullmatch(
        r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", answer.headers.get("Content-Range", ""), re.ASCII
    )
    if not stated or int(stated[1]) != start:
        _discard(part)
        raise Interrupted("the server sent another range than was asked for")
    version = _validator(answer)
    # A server may pass over If-Range.
    if validator and version and version != validator and (version[0] == '"') == (validator[0] == '"'):
        _discard(part)
        raise Interrupted("the server has another version of the file than the one that had arrived")
    return 0 if stated[2] == "*" else int(stated[2])


def _receive(answer: Answer, part: Path, start: int, total: int, url: str, on_progress: OnProgress) -> int:
    """Append what the server sends to the first `start` bytes of `part`; returns how many these are then.

    Raises Interrupted, or DataError where the disk has no room for `total` bytes.
    """
    _require_room(part, total - max(file_size(part), 0), f"the file has {total / 1e9:.1f} GB")
    done = start
    next_look = done + LOOK
    with part.open("ab" if start else "wb") as file:
        # After the old bytes are gone: they must never stand beside the validator of a new version.
        write_json(_origin_path(part), {"url": url, "mark": _validator(answer)})
        on_progress(done, total)
        for chunk in answer.content():
            file.write(chunk)
            done += len(chunk)
            on_progress(done, total)
            if not total and done >= next_look:  # it may have no end
                _require_room(
                    part, RESERVE, f"{done / 1e9:.1f} GB have come, the server does not say of how many"
                )
                next_look = done + LOOK
        file.flush()
        os.fsync(file.fileno())
    return done


def _require_room(part: Path, needed: int, why: str) -> None:
    """Raise DataError if fewer than `needed` bytes are free."""
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise DataError(
            f"{part}: {why}, and {free / 1e9:.1f} GB are free; make room, or choose another --data, and "
            "run the same command again"
        )


def _require_whole(part: Path, published: Published, can_resume: bool) -> None:
    """Raise Interrupted or AddressFailed for a file of unstated length, unless something shows its end."""
    size, checksum = file_size(part), published.checksum
    reason = f"the connection ended after {size} bytes, and the server did not say how many there are"
    if checksum:
        actual = file_digest(part, checksum.partition(":")[0])
        if actual == checksum:
            return
        reason += f"; their checksum is {actual}, but {checksum} was expected"
    elif size == published.size or (published.is_whole and published.is_whole(part)):
        return
    if checksum or published.size or published.is_whole or can_resume:  # another request may show more
        raise Interrupted(reason)
    _discard(part)
    raise AddressFailed(reason)


def _validator(answer: Answer) -> str:
    """What If-Range takes: a strong ETag, else the date of change; "" if there is neither."""
    etag, date = answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", "")
    return etag if _STRONG_ETAG.fullmatch(etag) else date if _DATE.fullmatch(date) else ""


def _resume_point(url: str, part: Path, checksum: str) -> tuple[int, str]:
    """From which byte to go on, and the validator of the version that the server must still have."""
    size = file_size(part)
    origin = read_json(_origin_path(part)) or {}
    validator = str(origin.get("mark", "")) if origin.get("url") == url else ""
    return (size, validator) if size > 0 and (validator or checksum) else (0, "")


def _origin_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _origin_path(part).unlink(missing_ok=True)
