"""Downloads from servers that are broken or hostile: each ends, with the file or with one clear error."""

from __future__ import annotations

import hashlib
import io
import itertools
import shutil
import socket
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from served import RawServer, Server, serving, speaking

from bench import Archive, DataError, DataNotFound, Dataset, Index, NoParams, PluginError, Sample
from bench.data.fetch import connection, download
from bench.data.fetch.archives import is_whole
from bench.data.fetch.download import DownloadError, Published
from bench.data.fetch.fetch import fetch_dataset, plan_fetch

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
CERTIFICATE = Path(__file__).with_name("data") / "tls" / "localhost.pem"
NOT_SAID = "the connection ended after {} bytes, and the server did not say how many there are"


@pytest.fixture
def raw() -> Iterator[RawServer]:
    with speaking() as server:
        yield server


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        server.files["/f.bin"] = CONTENT
        yield server


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers are given up on after tenths of a second."""
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 0.3)
    monkeypatch.setattr(connection, "READ_TIMEOUT", 0.3)
    monkeypatch.setattr(connection, "RATE_WINDOW", 0.5)


def head(*lines: str, status: str = "200 OK", version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"{version} {status}", *lines, "", ""]).encode("latin-1")


def redirect(location: str, status: str = "302 Found") -> bytes:
    return head(f"Location: {location}", "Content-Length: 0", status=status)


def chunked(content: bytes, size: int = 50_000) -> list[bytes]:
    pieces = (content[i : i + size] for i in range(0, len(content), size))
    return [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]


def get(*urls: str, to: Path, **published: object) -> str:
    known = Published(**published)  # type: ignore[arg-type]
    return download.download(urls, to / "f.bin", lambda done, total: None, known, pause=0.001)


def refusal(*urls: str, to: Path, **published: object) -> str:
    """The error of a download that nobody gives; nothing has the name of the file then."""
    with pytest.raises(DownloadError) as caught:
        get(*urls, to=to, **published)
    assert not (to / "f.bin").exists()
    return str(caught.value)


# --- redirects ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://[::1", "redirects to http://[::1, which is not an address"),
        ("http://host:notaport/", "redirects to http://host:notaport/, which is not an address"),
        ("http://host:99999/", "redirects to http://host:99999/, which is not an address"),
        ("http://user:secret@127.0.0.1/", "which names a user"),
        ("http:///f.bin", "in a circle, back to http:///f.bin"),
        ("http://a..b/f.bin", "a..b is not the name of a server"),
        ("file:///etc/passwd", "redirects to file:///etc/passwd, which is not an http or https address"),
        ("ftp://127.0.0.1/f.bin", "which is not an http or https address"),
        ("data:text/plain,hello", "which is not an http or https address"),
        ("//[::1", "which is not an address"),
        ("http://\xff\xfe/", "http"),
        ("http://127.0.0.1:1/" + "x" * 5000, "xx..."),
        ("", "redirects (HTTP 302) and does not say where to"),
        ("   ", "redirects (HTTP 302) and does not say where to"),
    ],
)
def test_a_redirect_to_no_address_is_one_error_and_the_next_address_is_asked(
    raw: RawServer, server: Server, tmp_path: Path, location: str, message: str
) -> None:
    raw.says("/f.bin", redirect(location))
    error = refusal(raw.url("/f.bin"), to=tmp_path)
    assert error.startswith(raw.url("/f.bin") + ": ")
    assert message in error or "cannot be reached" in error
    assert len(error) < 600
    assert get(raw.url("/f.bin"), server.url("/f.bin"), to=tmp_path) == server.url("/f.bin")
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_a_redirect_without_a_location_is_an_error(raw: RawServer, tmp_path: Path) -> None:
    raw.says("/f.bin", head("Content-Length: 0", status="301 Moved"))
    assert "redirects (HTTP 301) and does not say where to" in refusal(raw.url("/f.bin"), to=tmp_path)


def test_redirects_in_a_circle_and_without_end_are_told_apart(raw: RawServer, tmp_path: Path) -> None:
    raw.says("/a", redirect("/b", "307 Temporary Redirect"))
    raw.says("/b", redirect("/a", "308 Permanent Redirect"))
    assert "in a circle, back to /a" in refusal(raw.url("/a"), to=tmp_path)
    assert len(raw.heads) == 2
    raw.says("/self", redirect("/self"))
    assert "in a circle" in refusal(raw.url("/self"), to=tmp_path)
    for i in range(30):
        raw.says(f"/{i}", redirect(f"/{i + 1}"))
    raw.heads.clear()
    assert "redirects more than 10 times, at last to /11" in refusal(raw.url("/0"), to=tmp_path)
    assert len(raw.heads) == 11


@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x", "308 x"])
def test_redirects_are_followed_and_the_download_goes_on_behind_them(
    raw: RawServer, server: Server, tmp_path: Path, status: str
) -> None:
    server.cut["/f.bin"] = [100_000]
    raw.says("/f.bin", redirect("sub/../there", status))
    raw.says("/there", redirect(server.url("/f.bin"), status))
    assert get(raw.url("/f.bin"), to=tmp_path) == raw.url("/f.bin")
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert [r.range for r in server.requests] == ["", "bytes=100000-"]


def test_a_redirect_s_own_content_is_not_read(raw: RawServer, server: Server, tmp_path: Path) -> None:
    endless = itertools.chain(
        [head(f"Location: {server.url('/f.bin')}", status="302 Found")], _for_ever(b"x" * 999)
    )
    raw.scripts["/f.bin"] = [lambda: endless]
    get(raw.url("/f.bin"), to=tmp_path)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def _for_ever(part: bytes, pause: float = 0.0) -> Iterator[bytes | float]:
    while True:
        yield part
        yield pause


def test_https_never_falls_to_http(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with speaking(CERTIFICATE) as secure:
        secure.says("/f.bin", redirect(server.url("/f.bin")))
        secure.says("/ok", redirect("/whole"))
        secure.says("/whole", head(f"Content-Length: {len(CONTENT)}"), CONTENT)
        for checksum in ("", SHA256):
            error = refusal(secure.url("/f.bin"), to=tmp_path, checksum=checksum)
            assert f"redirects from https to {server.url('/f.bin')}" in error
        assert not server.requests
        get(secure.url("/ok"), to=tmp_path)
        assert (tmp_path / "f.bin").read_bytes() == CONTENT
        with speaking() as plain:  # up is as good as staying
            plain.says("/f.bin", redirect(secure.url("/whole")))
            get(plain.url("/f.bin"), to=tmp_path)
    monkeypatch.delenv("SSL_CERT_FILE")
    with speaking(CERTIFICATE) as unknown:
        unknown.says("/f.bin", head(f"Content-Length: {len(CONTENT)}"), CONTENT)
        (tmp_path / "f.bin").unlink()
        assert "CERTIFICATE_VERIFY_FAILED" in refusal(unknown.url("/f.bin"), to=tmp_path)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_is_asked_and_its_refusal_told(
    raw: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{scheme}_proxy", raw.address)
    raw.says("http://example.invalid/f.bin", head(f"Content-Length: {len(CONTENT)}"), CONTENT)
    raw.says("example.invalid:443", head("Content-Length: 0", status="403 Not here"))
    if scheme == "http":
        get("http://example.invalid/f.bin", to=tmp_path)
        assert (tmp_path / "f.bin").read_bytes() == CONTENT
    else:
        error = refusal("https://example.invalid/f.bin", to=tmp_path)
        assert "example.invalid cannot be reached (Tunnel connection failed: 403 Not here)" in error
    assert len(raw.heads) == 1


def test_a_proxy_that_is_no_address_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://[::1")
    assert "http://example.invalid/f.bin: " in refusal("http://example.invalid/f.bin", to=tmp_path)


# --- is it whole? ------------------------------------------------------------------------------------


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


FILES = {f"{i}.png": CONTENT[i * 1000 : (i + 1) * 1000] for i in range(20)}


@pytest.mark.parametrize(
    "content",
    [zipped(FILES), *(tarred(FILES, f"w:{packed}") for packed in ("", "gz", "bz2", "xz"))],
    ids=["zip", "tar", "gz", "bz2", "xz"],
)
def test_an_archive_shows_whether_its_end_is_there(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "f.part"
    file.write_bytes(content)
    assert is_whole(file)
    for size in (0, 1, 2, 512, 1536, 5 * 1536, 20 * 1536, len(content) // 2, len(content) - 1):
        if size >= len(content):
            continue
        if content[257:262] == b"ustar" and size > 20 * 1536 + 512:
            continue  # of a plain tar, zeros behind the mark do not count
        file.write_bytes(content[:size])
        assert not is_whole(file), size


def test_a_zip_that_ends_after_a_zip_within_it_is_not_whole(tmp_path: Path) -> None:
    inner = zipped(FILES)
    outer = zipped({"inner.zip": inner, "more.png": CONTENT})
    file = tmp_path / "f.part"
    file.write_bytes(outer[: outer.index(inner) + len(inner)])
    assert zipfile.is_zipfile(file)
    assert not is_whole(file)


def test_without_a_length_an_archive_that_broke_off_is_asked_for_again(
    raw: RawServer, tmp_path: Path
) -> None:
    whole = zipped(FILES)
    plain = head(version="HTTP/1.0")
    raw.scripts["/f.bin"] = [
        lambda: [plain, whole[:9000]],
        lambda: [plain, whole[:15000]],
        lambda: [plain, whole],
    ]
    get(raw.url("/f.bin"), to=tmp_path, is_whole=is_whole)
    assert (tmp_path / "f.bin").read_bytes() == whole
    assert len(raw.heads) == 3


def test_without_a_length_an_archive_that_always_breaks_off_is_not_taken(
    raw: RawServer, tmp_path: Path
) -> None:
    raw.says("/f.bin", head(), zipped(FILES)[:9000])
    assert NOT_SAID.format(9000) in refusal(raw.url("/f.bin"), to=tmp_path, is_whole=is_whole)
    assert len(raw.heads) == download.TRIES


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_without_a_length_a_table_is_not_taken_and_the_next_address_is_asked(
    raw: RawServer, server: Server, tmp_path: Path, version: str
) -> None:
    raw.says("/f.bin", head(version=version), CONTENT)
    assert NOT_SAID.format(300000) in refusal(raw.url("/f.bin"), to=tmp_path)
    assert len(raw.heads) == 1, "nothing would show more the next time"
    assert not list(tmp_path.iterdir())
    assert get(raw.url("/f.bin"), server.url("/f.bin"), to=tmp_path) == server.url("/f.bin")


@pytest.mark.parametrize("known", [{"size": len(CONTENT)}, {"checksum": SHA256}])
def test_a_published_size_or_checksum_shows_that_it_is_whole(
    raw: RawServer, tmp_path: Path, known: dict[str, object]
) -> None:
    raw.scripts["/f.bin"] = [lambda: [head(), CONTENT[:-1]], lambda: [head(), CONTENT]]
    get(raw.url("/f.bin"), to=tmp_path, **known)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert len(raw.heads) == 2


def test_without_a_length_a_server_that_resumes_shows_the_end(raw: RawServer, tmp_path: Path) -> None:
    tag = 'ETag: "1"'
    raw.scripts["/f.bin"] = [
        lambda: [head(tag), CONTENT[:1000]],
        lambda: [
            head(tag, "Content-Range: bytes 1000-1999/300000", "Content-Length: 1000", status="206 x"),
            CONTENT[1000:2000],
        ],
        lambda: [head(tag, "Content-Range: bytes 2000-299999/*", status="206 x"), CONTENT[2000:]],
        lambda: [head("Content-Range: bytes */300000", "Content-Length: 0", status="416 x")],
    ]
    get(raw.url("/f.bin"), to=tmp_path)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    ranges = [line for h in raw.heads for line in h.splitlines() if line.startswith("Range")]
    assert ranges == ["Range: bytes=1000-", "Range: bytes=2000-", "Range: bytes=300000-"]


CHUNKED = head("Transfer-Encoding: chunked")


def test_a_chunked_transfer_is_whole_when_it_says_so(raw: RawServer, tmp_path: Path) -> None:
    raw.says("/f.bin", CHUNKED, *chunked(CONTENT), b"0\r\n\r\n")
    get(raw.url("/f.bin"), to=tmp_path)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert len(raw.heads) == 1


@pytest.mark.parametrize(
    "end",
    [
        chunked(CONTENT),  # between two chunks
        [*chunked(CONTENT)[:3], b"c350\r\n" + CONTENT[:99]],  # within one
        [*chunked(CONTENT)[:3], b"c3"],  # within its size
        [*chunked(CONTENT)[:3], b"0000"],  # within a size that begins with zeros
        [*chunked(CONTENT)[:3], b"zz\r\n"],
        [*chunked(CONTENT)[:3], b"-5\r\n"],
    ],
    ids=["between", "within", "size", "zeros", "nonsense", "negative"],
)
def test_a_chunked_transfer_that_breaks_off_is_not_whole(
    raw: RawServer, tmp_path: Path, end: list[bytes]
) -> None:
    raw.says("/f.bin", CHUNKED, *end)
    assert "the connection ended" in refusal(raw.url("/f.bin"), to=tmp_path)
    raw.scripts["/f.bin"] = [lambda: [CHUNKED, *end], lambda: [CHUNKED, *chunked(CONTENT), b"0\r\n\r\n"]]
    if b"0000" not in end:  # which looks as an end that was not marked; nothing shows more
        get(raw.url("/f.bin"), to=tmp_path)
        assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_the_length_of_a_chunked_transfer_is_not_what_a_header_says(raw: RawServer, tmp_path: Path) -> None:
    both = head("Transfer-Encoding: chunked", "Content-Length: 5")
    raw.says("/f.bin", both, *chunked(CONTENT), b"0\r\n\r\n")
    get(raw.url("/f.bin"), to=tmp_path)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["abc", "-5", "", "1e5", "9" * 5000, "\u0663".encode().decode("latin-1")])
def test_a_length_that_is_none_is_as_if_there_were_none(raw: RawServer, tmp_path: Path, length: str) -> None:
    raw.says("/f.bin", head(f"Content-Length: {length}"), CONTENT)
    assert NOT_SAID.format(300000) in refusal(raw.url("/f.bin"), to=tmp_path)
    get(raw.url("/f.bin"), to=tmp_path, checksum=SHA256)


# --- slow servers ------------------------------------------------------------------------------------


def _then(*parts: bytes, every: bytes, pause: float) -> Callable[[], Iterable[bytes | float]]:
    """A script of these parts, then the same one for ever."""
    return lambda: itertools.chain(parts, _for_ever(every, pause))


LONG = head("Content-Length: 300000")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (lambda: [99.0], "the server sent nothing for 0.3 s"),
        (lambda: [LONG, CONTENT[:400], 99.0], "the server sent nothing for 0.3 s"),
        (_then(LONG, every=b"x", pause=0.1), "fewer than 1000 a second"),
        (_then(b"HTTP/1.1 200 OK\r\n", every=b"X", pause=0.1), "fewer than 1000 a second"),
        (_then(CHUNKED, every=b"1\r\nx\r\n", pause=0.1), "fewer than 1000 a second"),
    ],
    ids=["silent", "stalls", "trickles", "trickling head", "trickling chunks"],
)
@pytest.mark.usefixtures("hurried")
def test_a_slow_server_ends_in_a_stated_time(
    raw: RawServer,
    server: Server,
    tmp_path: Path,
    script: Callable[[], Iterable[bytes | float]],
    message: str,
) -> None:
    raw.scripts["/f.bin"] = [script]
    began = time.monotonic()
    assert message in refusal(raw.url("/f.bin"), to=tmp_path)
    # Each try ends after the window and one more wait.
    assert time.monotonic() - began < download.TRIES * (0.5 + 0.3) + 4
    assert len(raw.heads) == download.TRIES
    assert get(raw.url("/f.bin"), server.url("/f.bin"), to=tmp_path) == server.url("/f.bin")


@pytest.mark.usefixtures("hurried")
def test_a_slow_disk_is_not_the_servers_fault(server: Server, tmp_path: Path) -> None:
    def slowly(done: int, total: int) -> None:
        time.sleep(0.2)

    download.download([server.url("/f.bin")], tmp_path / "f.bin", slowly)
    assert len(server.requests) == 1


def test_a_server_that_gives_a_byte_a_request_is_left(raw: RawServer, tmp_path: Path) -> None:
    def next_byte() -> Iterable[bytes]:
        start = len(raw.heads) - 1
        status = "206 x" if start else "200 x"
        span = [f"Content-Range: bytes {start}-299999/300000"] if start else []
        return [
            head('ETag: "1"', f"Content-Length: {300000 - start}", *span, status=status),
            CONTENT[start:][:1],
        ]

    raw.scripts["/f.bin"] = [next_byte]
    assert "the connection ended after 4 of 300000 bytes" in refusal(raw.url("/f.bin"), to=tmp_path)
    assert len(raw.heads) == download.TRIES


def test_who_cannot_be_connected_to_ends_in_a_stated_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 0.3)
    with socket.socket() as full:  # nobody accepts, and its queue is full
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        began = time.monotonic()
        error = refusal(f"http://127.0.0.1:{full.getsockname()[1]}/f.bin", to=tmp_path)
        assert time.monotonic() - began < 5
        assert "cannot be reached (timed out)" in error or "sent nothing" in error
        for one in waiting:
            one.close()


# --- other answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        _then(b"HTTP/1.1 200 OK\r\n", every=b"X: " + 60_000 * b"y" + b"\r\n", pause=0),
        _then(every=b"HTTP/1.1 100 Continue\r\nX: " + 60_000 * b"y" + b"\r\n\r\n", pause=0),
        _then(every=b"y" * 1000, pause=0),
        _then(CHUNKED, b"0\r\n", every=b"X: " + 60_000 * b"y" + b"\r\n", pause=0),
        _then(CHUNKED, every=b"y" * 1000, pause=0),
    ],
    ids=["headers", "continue", "status line", "trailers", "chunk size"],
)
def test_what_is_not_the_file_and_never_ends(
    raw: RawServer, tmp_path: Path, script: Callable[[], Iterable[bytes | float]]
) -> None:
    raw.scripts["/f.bin"] = [script]
    refusal(raw.url("/f.bin"), to=tmp_path)
    assert len(raw.heads) <= download.TRIES


@pytest.mark.parametrize(
    ("answer", "message", "requests"),
    [
        ([head(status="204 No Content")], "HTTP 204 No Content", 1),
        ([head("Content-Length: 3", status="201 Made"), b"abc"], "HTTP 201 Made", 1),
        ([head("Content-Length: 3", status="202 Accepted"), b"abc"], "HTTP 202 Accepted", download.TRIES),
        ([head(status="304 Not Modified")], "HTTP 304 Not Modified", 1),
        ([head("Content-Length: 0")], "the server sends an empty file", 1),
        ([CHUNKED, b"0\r\n\r\n"], "the server sends an empty file", 1),
        ([head("Content-Encoding: gzip", "Content-Length: 3"), b"abc"], "packs the file (gzip)", 1),
        ([head("Content-Length: 3", status="206 x"), b"abc"], "another range", download.TRIES),
        (
            [head("Content-Range: bytes 0-2/3", "Content-Length: 9", status="206 x"), b"abcdefghi"],
            "sent 9 bytes of a file of 3",
            download.TRIES,
        ),
        (
            [head("Content-Range: bytes 0-2/*", "Content-Length: 3", status="206 x"), b"abc"],
            NOT_SAID.format(3),
            1,
        ),
        ([b"\x16\x03\x01 no web server\r\n\r\n"], "\x16\x03\x01 no web server", download.TRIES),
        ([], "closed connection without response", download.TRIES),
    ],
)
def test_an_answer_that_does_not_bring_the_file(
    raw: RawServer, server: Server, tmp_path: Path, answer: list[bytes], message: str, requests: int
) -> None:
    raw.says("/f.bin", *answer)
    assert message in refusal(raw.url("/f.bin"), to=tmp_path)
    assert len(raw.heads) == requests
    assert get(raw.url("/f.bin"), server.url("/f.bin"), to=tmp_path) == server.url("/f.bin")
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_a_tar_gz_that_is_said_to_be_packed_is_taken(raw: RawServer, tmp_path: Path) -> None:
    raw.says("/f", head("Content-Encoding: x-gzip", "Content-Length: 5"), b"abcde")
    download.download([raw.url("/f")], tmp_path / "f.tar.gz", lambda done, total: None)
    assert (tmp_path / "f.tar.gz").read_bytes() == b"abcde"


def test_a_piece_of_a_piece_is_not_taken_for_the_whole(raw: RawServer, tmp_path: Path) -> None:
    """A server may send less than it was asked for, and says so in Content-Range alone."""
    tag = 'ETag: "1"'

    def piece() -> Iterable[bytes]:
        start = 50_000 * (len(raw.heads) - 1)
        span = f"Content-Range: bytes {start}-{start + 49_999}/300000"
        return [head(tag, span, "Content-Length: 50000", status="206 x"), CONTENT[start : start + 50_000]]

    raw.scripts["/f.bin"] = [piece]
    get(raw.url("/f.bin"), to=tmp_path)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert len(raw.heads) == 6


def test_a_server_that_passes_over_if_range_is_noticed(raw: RawServer, tmp_path: Path) -> None:
    other = CONTENT[::-1]
    raw.scripts["/f.bin"] = [
        lambda: [head('ETag: "old"', "Content-Length: 300000"), CONTENT[:1000]],
        lambda: [
            head(
                'ETag: "new"',
                "Content-Range: bytes 1000-299999/300000",
                "Content-Length: 299000",
                status="206 x",
            ),
            other[1000:],
        ],
        lambda: [head('ETag: "new"', "Content-Length: 300000"), other],
    ]
    get(raw.url("/f.bin"), to=tmp_path)
    assert (tmp_path / "f.bin").read_bytes() == other


def test_a_validator_that_no_header_can_hold_is_not_sent_back(raw: RawServer, tmp_path: Path) -> None:
    odd = head('ETag: "a\r\n b"', "Last-Modified: \x01\xff", "Content-Length: 300000")
    raw.scripts["/f.bin"] = [lambda: [odd, CONTENT[:1000]], lambda: [odd, CONTENT]]
    get(raw.url("/f.bin"), to=tmp_path)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert "If-Range" not in raw.heads[1]


def test_a_length_that_the_disk_has_no_room_for_is_refused_at_once(raw: RawServer, tmp_path: Path) -> None:
    raw.says("/f.bin", head(f"Content-Length: {10**17}"), b"x")
    with pytest.raises(DataError, match=r"f\.bin\.part: the file has 100000000\.0 GB, and .*make room"):
        get(raw.url("/f.bin"), to=tmp_path)
    assert not (tmp_path / "f.bin.part").exists()


def test_a_file_without_end_leaves_room_on_the_disk(
    raw: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter([10 * download.RESERVE, 2 * download.RESERVE, download.RESERVE - 1])
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=next(free)))
    monkeypatch.setattr(download, "LOOK", 1_000_000)
    raw.scripts["/f.bin"] = [_then(head(), every=CONTENT, pause=0)]
    with pytest.raises(DataError, match=r"the server does not say of how many, and .*make room"):
        get(raw.url("/f.bin"), to=tmp_path)
    assert 2_000_000 <= (tmp_path / "f.bin.part").stat().st_size < 3_000_000


# --- a data set --------------------------------------------------------------------------------------


def toys(*archives: Archive) -> Dataset:
    def index(root: Path, params: object) -> Index:
        files = sorted((root / "toy").glob("*.png"))
        if not files:
            raise DataNotFound("toy: nothing there")
        return Index(classes=("a",), samples=tuple(Sample(id=p.name, label="a", path=p) for p in files))

    return Dataset(
        name="toy", about="a toy", index=index, fetch="ask the toymaker", archives=lambda params: archives
    )


def test_the_error_names_the_address_and_what_to_do_by_hand(raw: RawServer, tmp_path: Path) -> None:
    raw.says("/set.zip", redirect("http://[::1"))
    task = plan_fetch(toys(Archive(name="set.zip", urls=(raw.url("/set.zip"),))), NoParams(), tmp_path)
    with pytest.raises(DataNotFound) as caught:
        fetch_dataset(task, lambda progress: None)
    for text in (raw.url("/set.zip"), "http://[::1", "by hand: ask the toymaker", "put these into"):
        assert text in str(caught.value)


def test_what_the_core_knows_of_an_archive_shows_that_it_is_whole(raw: RawServer, tmp_path: Path) -> None:
    raw.says("/set.zip", head(version="HTTP/1.0"), zipped(FILES))
    raw.says("/x.npz", head(version="HTTP/1.0"), zipped(FILES))
    raw.says("/t.csv", head(version="HTTP/1.0"), b"a,b\n")
    archives = (
        Archive(name="set.zip", urls=(raw.url("/set.zip"),)),
        Archive(name="x.npz", urls=(raw.url("/x.npz"),), unpack=None),
        Archive(name="t.csv", urls=(raw.url("/t.csv"),), size=4, unpack=None),
    )
    fetch_dataset(plan_fetch(toys(*archives), NoParams(), tmp_path), lambda progress: None)
    assert plan_fetch(toys(*archives), NoParams(), tmp_path).is_complete
    assert len(raw.heads) == 3


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://[::1", "is not an address"),
        ("http://host:notaport/", "is not an address"),
        ("http://", "names no server"),
        ("http://host/a b", "holds spaces"),
        ("https://me:secret@host/x", "names a user"),
    ],
)
def test_a_plugin_s_address_that_is_none_is_a_plugin_error(url: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(
        PluginError, match=f"the archive 'x.zip' has the address .*, which {fault}.*mend the plugin"
    ):
        plan_fetch(toys(Archive(name="x.zip", urls=("https://example.org/x", url))), NoParams(), tmp_path)
