"""Web servers on 127.0.0.1: one that misbehaves on request, and one that sends whatever it is told to."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple


class Request(NamedTuple):
    path: str
    range: str  # the Range header, or ""
    sent: int  # bytes of the file that were sent


class Server:
    """`files` by path ("/a.zip"); `cut` says after how many bytes the next answer for a path breaks off."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.cut: dict[str, list[int]] = {}
        self.codes: dict[str, list[int]] = {}  # answered in this order, then the file
        self.ranges = True
        self.validators = True  # whether it sends ETags
        self.resets = False  # whether a cut answer ends by a reset in place of a close
        self.range_error = 0  # by how many bytes an answer starts later than it was asked to
        self.requests: list[Request] = []
        self.address = ""

    def url(self, path: str) -> str:
        return self.address + path


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self.close_connection = True
            byte_range = self.headers.get("Range", "")
            content = server.files.get(self.path)
            codes = server.codes.get(self.path, [])
            code = codes.pop(0) if codes else 200 if content is not None else 404
            if code != 200:
                server.requests.append(Request(self.path, byte_range, 0))
                self.send_error(code)
                return
            assert content is not None
            etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            start = self.start_of(byte_range, etag)
            if start and start >= len(content):
                server.requests.append(Request(self.path, byte_range, 0))
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start + server.range_error}-{len(content) - 1}/{len(content)}"
                )
            if server.validators:
                self.send_header("ETag", etag)
            self.send_header("Content-Type", server.types.get(self.path, "application/octet-stream"))
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            cuts = server.cut.get(self.path, [])
            body = content[start:][: cuts.pop(0) if cuts else None]
            server.requests.append(Request(self.path, byte_range, len(body)))
            self.wfile.write(body)
            if server.resets and len(body) < len(content) - start:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                socket.close(self.connection.detach())

        def start_of(self, byte_range: str, etag: str) -> int:
            condition = self.headers.get("If-Range", "")
            if not byte_range or not server.ranges or (condition and condition != etag):
                return 0
            return int(byte_range.removeprefix("bytes=").removesuffix("-"))

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.address = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


@dataclass
class RawServer:
    """A server that sends, for each path, exactly what its script says, and then closes the connection.

    Attributes:
        scripts: by path, what gives the script of each request; the last one is repeated. A script is bytes
            to send and seconds to wait, one after the other, and may be endless.
        heads: of the requests, as they came.
        address: without a slash at the end.
    """

    scripts: dict[str, list[Callable[[], Iterable[bytes | float]]]] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)
    address: str = ""

    def url(self, path: str) -> str:
        return self.address + path

    def says(self, path: str, *parts: bytes | float) -> None:
        """This is sent for every request of `path`."""
        self.scripts[path] = [lambda: parts]


@contextmanager
def speaking(certificate: Path | None = None) -> Iterator[RawServer]:
    """A raw server on 127.0.0.1, over TLS with a `certificate`."""
    server = RawServer()
    closing = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError, ssl.SSLError):
                self.answer()

        def answer(self) -> None:
            connection = self.request
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += connection.recv(1) or b"\r\n\r\n"
            server.heads.append(head.decode("latin-1"))
            scripts = server.scripts[head.split()[1].decode("latin-1")]
            for part in (scripts.pop(0) if len(scripts) > 1 else scripts[0])():
                if closing.is_set():
                    return
                if isinstance(part, bytes):
                    connection.sendall(part)
                else:
                    closing.wait(part)
            connection.shutdown(socket.SHUT_WR)
            if context is not None:
                connection.close()

    class Tcp(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    with Tcp(("127.0.0.1", 0), Handler) as tcp:
        scheme = "https" if certificate else "http"
        server.address = f"{scheme}://127.0.0.1:{tcp.server_address[1]}"
        thread = threading.Thread(target=tcp.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            closing.set()
            tcp.shutdown()
            thread.join()
