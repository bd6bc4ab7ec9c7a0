"""One request over HTTP to a server that may be broken or hostile: whatever it sends, the request ends.

Redirects are followed here, and not by urllib, which reads all of a redirect's own content, fails on an
address that is none, and goes from https to http without a word.
"""

from __future__ import annotations

import http.client
import io
import socket
import string
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from bench.parsing import brief

SCHEMES = ("http", "https")
CONNECT_TIMEOUT = 30.0  # seconds until there is a connection
READ_TIMEOUT = 60.0  # seconds without a byte
LEAST_RATE = 1000.0  # bytes a second that a server must send, on average over RATE_WINDOW
RATE_WINDOW = 60.0  # seconds of waiting for it
MAX_REDIRECTS = 10
CHUNK = 1 << 18
_FRAMING = 1 << 20  # bytes that may come beside a chunk of the file: heads, trailers, sizes of chunks
_REDIRECTS = frozenset({301, 302, 303, 307, 308})  # HTTP status codes
_ADDRESS_SHOWN = 200  # characters


class AddressFailed(Exception):
    """This address will not give the file; the next may."""


class Interrupted(Exception):
    """The transfer stopped before its end; another request may go on."""


class Unreachable(Interrupted):
    """There was no connection to the server."""


def address_fault(url: str) -> str:
    """Why a file cannot be asked for at `url`, after "it"; "" if it can."""
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        return "holds spaces or control characters"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # read for the error that it raises
    except ValueError as error:
        return f"is not an address ({error})"
    if parts.scheme not in SCHEMES:
        return "is not an http or https address"
    if not parts.hostname:
        return "names no server"
    return "names a user, which is not supported" if "@" in parts.netloc else ""


class _Incoming(io.RawIOBase):
    """What a server sends. Reading raises TimeoutError from one that stalls or trickles, and HTTPException
    from one that sends more than was `allowed`: heads and trailers without end."""

    def __init__(self, connection: socket.socket, opened: io.BufferedIOBase) -> None:
        self._connection = connection
        self._opened = opened  # keeps the connection open until it is closed
        self._waited = 0.0  # seconds, in the present window: a slow disk of ours is not the server's fault
        self._came = 0  # bytes, in the present window
        self.allowed = _FRAMING  # bytes
        self.ended = False  # whether more was asked for after the last byte

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self.allowed <= 0:
            raise http.client.HTTPException("the server sends headers without end")
        self._connection.settimeout(READ_TIMEOUT)
        began = time.monotonic()
        try:
            count = self._connection.recv_into(buffer)
        except TimeoutError:
            raise TimeoutError(f"the server sent nothing for {READ_TIMEOUT:g} s") from None
        self._waited += time.monotonic() - began
        self._came += count
        self.allowed -= count
        self.ended = not count
        if self._waited >= RATE_WINDOW:
            if self._came < LEAST_RATE * self._waited:
                raise TimeoutError(
                    f"the server sent {self._came} bytes in {self._waited:.0f} s, "
                    f"fewer than {LEAST_RATE:g} a second"
                )
            self._waited, self._came = 0.0, 0
        return count

    def close(self) -> None:
        self._opened.close()
        super().close()


class Answer(http.client.HTTPResponse):
    """The answer to one request, whatever its status. Close it."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self._incoming = _Incoming(sock, self.fp)
        self.fp = io.BufferedReader(self._incoming)

    @property
    def ended_properly(self) -> bool:
        """After the last byte: whether this was a chunked transfer, and its end was marked as such."""
        return bool(self.chunked) and not self._incoming.ended

    def content(self) -> Iterator[bytes]:
        """The bytes of the file as they come. Raises Interrupted.

        An OSError in here is one of the network, not of the disk.
        """
        done = 0
        try:
            while True:
                self._incoming.allowed = CHUNK + _FRAMING
                if not (chunk := self.read1(CHUNK)):
                    return
                done += len(chunk)
                yield chunk
        except http.client.IncompleteRead:
            raise Interrupted(f"the connection ended within the file, after {done} more bytes") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Interrupted(str(error) or type(error).__name__) from None


class _Connection(http.client.HTTPConnection):
    response_class = Answer


class _SecureConnection(http.client.HTTPSConnection):
    response_class = Answer


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, request)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, request)


class _AnyStatus(urllib.request.HTTPErrorProcessor):
    """No status is an error here, nor a redirect."""

    def http_response(self, request: object, response: Any) -> Any:
        return response

    https_response = http_response


def ask(url: str, headers: Mapping[str, str]) -> Answer:
    """The answer of `url`, or of the address to which it redirects. Raises AddressFailed or Interrupted."""
    if fault := address_fault(url):
        raise AddressFailed(fault)
    asked = [url]
    while True:
        answer = _open(asked[-1], headers)
        if answer.status not in _REDIRECTS:
            return answer
        with answer:
            asked.append(_redirected(asked, answer))


def _redirected(asked: list[str], answer: Answer) -> str:
    """Where an answer redirects to, after the addresses that were `asked`. Raises AddressFailed."""
    # Servers send UTF-8 and spaces as they are; http.client has read them as latin-1.
    location = quote(
        answer.headers.get("Location", "").strip(),
        safe=string.punctuation,
        encoding="latin-1",
        errors="replace",
    )
    if not location:
        raise AddressFailed(f"the server redirects (HTTP {answer.status}) and does not say where to")
    shown = brief(location, _ADDRESS_SHOWN)
    try:
        target = urljoin(asked[-1], location)
    except ValueError as error:
        raise AddressFailed(f"the server redirects to {shown}, which is not an address ({error})") from None
    if fault := address_fault(target):
        raise AddressFailed(f"the server redirects to {shown}, which {fault}")
    if urlsplit(asked[-1]).scheme == "https" and urlsplit(target).scheme == "http":
        raise AddressFailed(
            f"the server redirects from https to {shown}, over which anybody on the way could change the file"
        )
    if target in asked:
        raise AddressFailed(f"the server redirects in a circle, back to {shown}")
    if len(asked) > MAX_REDIRECTS:
        raise AddressFailed(f"the server redirects more than {MAX_REDIRECTS} times, at last to {shown}")
    return target


def _open(url: str, headers: Mapping[str, str]) -> Answer:
    """The answer of one address. Raises AddressFailed or Interrupted."""
    opener = urllib.request.build_opener(_Handler, _SecureHandler, _AnyStatus)
    try:
        answer = opener.open(urllib.request.Request(url, headers=dict(headers)), timeout=CONNECT_TIMEOUT)
    except urllib.error.URLError as error:
        raise Unreachable(f"{_server(url)} cannot be reached ({error.reason})") from None
    except (http.client.InvalidURL, UnicodeError) as error:
        raise AddressFailed(f"{_server(url)} is not the name of a server ({error})") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Interrupted(str(error) or type(error).__name__) from None
    assert isinstance(answer, Answer)
    return answer


def _server(url: str) -> str:
    return brief(urlsplit(url).netloc, _ADDRESS_SHOWN)
