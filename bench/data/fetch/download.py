"""One file over HTTP: resumed where it broke off, tried on mirrors, checked before it takes its name.

    name.part         what has arrived, beside the target
    name.part.json    from where, and the server's mark (ETag or date) of that version of the file

A broken download goes on only if the server still has the version it began with (If-Range), or if a checksum
will tell. A server without ranges sends the whole file again.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from bench.data.fetch.archives import Tell
from bench.data.fetch.local_state import on_disk
from bench.errors import DataError
from bench.files import read_json, sync_directory, write_json

CHUNK = 1 << 18
TIMEOUT = 60.0  # seconds without a byte
TRIES = 4  # in a row without a new byte, before the next mirror
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})  # what a server says that may do better later


class DownloadError(DataError):
    """No address gave the file; the message says what each of them said."""


class _Refused(Exception):
    """This address will not give the file; the next may."""


class _Broken(Exception):
    """The transfer stopped half-way; it can go on."""


def file_digest(path: Path, algorithm: str = "sha256", tell: Tell = lambda done, total: None) -> str:
    """The checksum of a file as "sha256:HEX". Raises OSError."""
    sha = hashlib.new(algorithm, usedforsecurity=False)
    done, total = 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha.update(chunk)
            done += len(chunk)
            tell(done, total)
    return f"{algorithm}:{sha.hexdigest()}"


def is_web(url: str) -> bool:
    """Whether an address is one that `download` takes."""
    return url.startswith(("http://", "https://"))


def part_of(target: Path) -> Path:
    """Where a download of `target` grows."""
    return target.with_name(target.name + ".part")


def download(urls: Sequence[str], target: Path, tell: Tell, *, checksum: str = "", pause: float = 1.0) -> str:
    """Bring `target` from the first of `urls` that gives it; returns that address.

    `checksum` is "sha256:HEX", "md5:HEX" or "" if unknown. Between tries `pause` seconds pass, then twice as
    many, and so on. Interrupted, the same call goes on. Raises DownloadError if no address gives the file,
    DataError if it cannot be written.
    """
    part = part_of(target)
    failures = []
    for url in urls:
        fresh = not part.exists()
        for _ in range(2):
            try:
                _whole(url, part, checksum, tell, pause)
            except _Refused as refusal:
                failures.append(f"{url}: {refusal}")
                break
            found = file_digest(part, checksum.partition(":")[0]) if checksum else ""
            if found == checksum:
                part.replace(target)
                _meta(part).unlink(missing_ok=True)
                sync_directory(target.parent)
                return url
            _discard(part)
            if fresh:
                failures.append(f"{url}: its checksum is {found}, but {checksum} was expected")
                break
            fresh = True  # pieces of two versions, perhaps: once more from the start
    raise DownloadError("; ".join(failures) or "there is no address to fetch it from")


def _whole(url: str, part: Path, checksum: str, tell: Tell, pause: float) -> None:
    """Transfer from one address until the file is whole. Raises _Refused when it makes no headway."""
    idle = 0
    arrived = False  # whether this address has ever given something; if not, there is no waiting for it
    most = _size(part)
    while True:
        try:
            _transfer(url, part, checksum, tell)
            return
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            error.close()
            if error.code not in BUSY:
                raise _Refused(reason) from None
        except urllib.error.URLError as error:
            reason = f"cannot be reached ({error.reason})"
            if not arrived:
                raise _Refused(reason) from None
        except (OSError, http.client.HTTPException, _Broken) as error:
            reason = str(error) or type(error).__name__
        headway = _size(part) > most  # more than ever: a server without ranges starts again each time
        most = max(most, _size(part))
        arrived = arrived or headway
        idle = 0 if headway else idle + 1
        if idle == TRIES:
            raise _Refused(reason)
        time.sleep(pause * 2**idle)


def _transfer(url: str, part: Path, checksum: str, tell: Tell) -> None:
    start, mark = _resume_point(url, part, checksum)
    response = _open(url, part, start, mark)
    if response is None:
        return
    with response:
        if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise _Refused("the server sends a web page in place of the file (a login, or a notice?)")
        if response.status != 206:
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            _discard(part)
            raise _Broken("the server sent another range than was asked for")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else 0
        origin = {"url": url, "mark": _mark_of(response.headers)}
        done = _append(response, part, start, total, origin, tell)
    if total and done < total:
        raise _Broken(f"the connection ended after {done} of {total} bytes")


def _open(url: str, part: Path, start: int, mark: str) -> http.client.HTTPResponse | None:
    """The server's answer; None if it says that nothing is left to send."""
    from bench import __version__

    if not is_web(url):
        raise _Refused("is no http or https address")
    headers = {"User-Agent": f"bench/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if mark:
            headers["If-Range"] = mark
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT
        )
        return answer
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        size = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        error.close()
        if size and int(size[1]) == start:
            return None
        _discard(part)
        raise _Broken("the server's file is shorter than what had arrived") from None


def _append(
    response: http.client.HTTPResponse, part: Path, start: int, total: int, origin: dict[str, str], tell: Tell
) -> int:
    """Write what arrives; returns the size of the part."""
    done = start
    with on_disk(part):  # here and below: what the network refuses is an OSError too
        file = io.FileIO(part, "a" if start else "w")
    with file:
        with on_disk(part):  # only now that old bytes are gone may the part bear the new mark
            write_json(_meta(part), origin)
        tell(done, total)
        while chunk := response.read1(CHUNK):
            with on_disk(part):
                _write(file, chunk)
            done += len(chunk)
            tell(done, total)
        with on_disk(part):
            os.fsync(file.fileno())
    return done


def _write(file: io.FileIO, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:  # unbuffered, so that a full disk is noticed here and not when the file is closed
        view = view[file.write(view) :]


def _resume_point(url: str, part: Path, checksum: str) -> tuple[int, str]:
    """From which byte to go on, and the mark of the version that must still be there."""
    start = _size(part)
    meta = read_json(_meta(part)) or {}
    mark = str(meta.get("mark", "")) if meta.get("url") == url else ""
    return (start, mark) if start and (mark or checksum) else (0, "")


def _mark_of(headers: http.client.HTTPMessage) -> str:
    """What If-Range takes: a strong ETag, else the date of change."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified", "")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _meta(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _meta(part).unlink(missing_ok=True)
