"""One file over HTTP: resumed where it broke off, tried on mirrors, checked before it takes its name.

    name.part         what has arrived, beside the target
    name.part.json    from which address, and the validator (ETag or date) of that version

A broken download is resumed only if the server still has the version it began with (If-Range), or if a
checksum will show that it does not. A server without ranges sends the whole file again.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.data.fetch.local_state import OnProgress, file_size
from bench.errors import DataError
from bench.files import read_json, sync_directory, write_json

SCHEMES = ("http://", "https://")  # how an address begins that `download` takes
CHUNK = 1 << 18
TIMEOUT = 60.0  # seconds without a byte
TRIES = 4  # in a row without a new byte, before the next mirror
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})  # HTTP status codes that may pass with time


class DownloadError(DataError):
    """No address gave the file; the message says why, for each of them."""


class _AddressFailed(Exception):
    """This address will not give the file; the next may."""


class _Interrupted(Exception):
    """The transfer stopped before its end; another request may go on."""


class _Unreachable(_Interrupted):
    """There was no connection to the server."""


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
    urls: Sequence[str], target: Path, on_progress: OnProgress, *, checksum: str = "", pause: float = 1.0
) -> str:
    """Download `target` from the first of `urls` that gives it; returns that address.

    `checksum` is "sha256:HEX", "md5:HEX" or "" if unknown. Between tries `pause` seconds pass, then twice as
    many, and so on. Interrupted, the same call goes on. Raises DownloadError if no address gives the file,
    OSError if it cannot be written.
    """
    part = part_of(target)
    failures = []
    for url in urls:
        try:
            _download_from(url, part, checksum, on_progress, pause)
        except _AddressFailed as failure:
            failures.append(f"{url}: {failure}")
            continue
        part.replace(target)
        _origin_path(part).unlink(missing_ok=True)
        sync_directory(target.parent)
        return url
    raise DownloadError("; ".join(failures) or "there is no address to fetch it from")


def _download_from(url: str, part: Path, checksum: str, on_progress: OnProgress, pause: float) -> None:
    """Request from one address until `part` is complete and right. Raises _AddressFailed."""
    before = largest = max(file_size(part), 0)
    tries = 0  # since the last new byte
    while True:
        try:
            _request(url, part, checksum, on_progress)
            break
        except _Interrupted as interruption:
            # A server without ranges starts again each time, so only a part larger than ever is headway.
            size = file_size(part)
            tries = 0 if size > largest else tries + 1
            largest = max(largest, size)
            never_answered = isinstance(interruption, _Unreachable) and largest == before
            if tries == TRIES or never_answered:
                raise _AddressFailed(str(interruption)) from None
        time.sleep(pause * 2**tries)
    actual = file_digest(part, checksum.partition(":")[0]) if checksum else ""
    if actual != checksum:
        _discard(part)
        if not before:
            raise _AddressFailed(f"its checksum is {actual}, but {checksum} was expected")
        _download_from(url, part, checksum, on_progress, pause)  # the pieces may have been of two versions


def _request(url: str, part: Path, checksum: str, on_progress: OnProgress) -> None:
    """Ask once for what `part` lacks, and append it. Raises _Interrupted or _AddressFailed."""
    from bench import __version__

    if not url.startswith(SCHEMES):
        raise _AddressFailed("is not an http or https address")
    start, validator = _resume_point(url, part, checksum)
    headers = {"User-Agent": f"bench/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-"} | ({"If-Range": validator} if validator else {})
    with _answer(urllib.request.Request(url, headers=headers)) as response:
        content_range = response.headers.get("Content-Range", "")
        if response.status == 416 and start:
            if content_range == f"bytes */{start}":
                return  # `part` is complete
            _discard(part)
            raise _Interrupted("the server's file is shorter than what had arrived")
        if isinstance(response, urllib.error.HTTPError):
            reason = f"HTTP {response.code} {response.reason}"
            raise _Interrupted(reason) if response.code in TEMPORARY else _AddressFailed(reason)
        if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise _AddressFailed("the server sends a web page in place of the file (a login, or a notice?)")
        if response.status != 206:
            start = 0
        elif not content_range.startswith(f"bytes {start}-"):
            _discard(part)
            raise _Interrupted("the server sent another range than was asked for")
        done = start
        # If-Range takes a strong ETag, else the date of change.
        etag = response.headers.get("ETag", "")
        validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else 0
        with part.open("ab" if start else "wb") as file:
            # After the old bytes are gone: they must never stand beside the validator of a new version.
            write_json(_origin_path(part), {"url": url, "mark": validator})
            on_progress(done, total)
            for chunk in _body(response):
                file.write(chunk)
                done += len(chunk)
                on_progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    if done < total:
        raise _Interrupted(f"the connection ended after {done} of {total} bytes")


def _answer(request: urllib.request.Request) -> http.client.HTTPResponse | urllib.error.HTTPError:
    """The server's answer; an error status is an answer too. Raises _Interrupted."""
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
        return response
    except urllib.error.HTTPError as error:
        return error
    except urllib.error.URLError as error:
        raise _Unreachable(f"cannot be reached ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(str(error) or type(error).__name__) from None


def _body(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """What the server sends. An OSError in here is one of the network, not of the disk."""
    try:
        while chunk := response.read1(CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(str(error) or type(error).__name__) from None


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
