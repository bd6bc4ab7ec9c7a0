"""Archives that are hostile, damaged or unusual."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import DataError
from bench.data.fetch import archives
from bench.data.fetch.archives import (
    Extracted,
    Limits,
    contents_checksum,
    extract,
    move_into_place,
    safe_name,
)
from bench.files import read_json, write_json

NOISE = np.random.default_rng(0).bytes(200_000)
FILES = {"set/a/1.png": NOISE, "set/ä ö/2.png": b"", "set/deep/er/3.png": b"three"}


def make_zip(path: Path, files: dict[str, bytes], **options: int) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", **options) as archive:  # type: ignore[call-overload]
        warnings.simplefilter("ignore")  # about a name that is there twice
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            add(archive, name, content)
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **attributes: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    archive.addfile(info, io.BytesIO(content))


def unpack(path: Path, limits: Limits | None = None) -> Extracted:
    return extract(path, path.parent / "out", lambda done, total: None, limits)


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


MAKERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "zip": make_zip,
    "deflated.zip": lambda p, f: make_zip(p, f, compression=zipfile.ZIP_DEFLATED),
    "tar": lambda p, f: make_tar(p, f, "w"),
    "tar.gz": make_tar,
    "tar.xz": lambda p, f: make_tar(p, f, "w:xz"),
    "tar.bz2": lambda p, f: make_tar(p, f, "w:bz2"),
}


@pytest.mark.parametrize("form", MAKERS)
def test_everything_comes_out(tmp_path: Path, form: str) -> None:
    path = MAKERS[form](tmp_path / f"x.{form}", FILES)
    extracted = unpack(path)
    assert files_below(tmp_path / "out") == FILES
    assert extracted.files == {name: len(content) for name, content in FILES.items()}
    assert extracted.contents == contents_checksum(path, lambda done, total: None)


def test_contents_do_not_depend_on_the_form(tmp_path: Path) -> None:
    checksums = {
        contents_checksum(make(tmp_path / f"x.{form}", files), lambda done, total: None)
        for form, make in MAKERS.items()
        for files in (FILES, dict(reversed(FILES.items())))
    }
    assert len(checksums) == 1
    other = make_zip(tmp_path / "y.zip", {**FILES, "set/deep/er/3.png": b"other"})
    assert contents_checksum(other, lambda done, total: None) not in checksums


def test_a_name_in_no_known_encoding_is_kept(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", {os.fsdecode(b"caf\xe9.png"): b"x"}, "w")
    extracted = unpack(path)
    assert [os.fsencode(name) for name in extracted.files] == [b"caf\xe9.png"]
    write_json(tmp_path / "record.json", {"files": dict(extracted.files)})
    assert read_json(tmp_path / "record.json") == {"files": extracted.files}


def test_folders_without_files_are_created(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"./": b"", "empty/": b"", "a.png": b"a"})
    assert list(unpack(path).files) == ["a.png"]
    assert (tmp_path / "out" / "empty").is_dir()


def test_nested_archives_are_named(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", FILES).read_bytes()
    path = make_tar(tmp_path / "x.tar", {"b/inner.zip": inner, "a/INNER.TAR.GZ": b"", "z.png": b""}, "w")
    assert unpack(path).nested == ("a/INNER.TAR.GZ", "b/inner.zip")


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"evil.png": b""}).read_bytes()
    assert list(unpack(make_tar(tmp_path / "x.tar", {"inner.zip": inner}, "w")).files) == ["inner.zip"]


# --- hostile -----------------------------------------------------------------------------------------

OUTSIDE = ["../x", "a/../../x", "/etc/x", "C:/x", "c:x", "..\\x", "\\\\host\\x", "a/..", "\\x"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_no_path_leads_out(tmp_path: Path, name: str, form: str) -> None:
    path = MAKERS[form](tmp_path / f"x.{form}", {"good.png": b"", name: b"evil"})
    with pytest.raises(DataError, match="leads outside"):
        unpack(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "a\x7f", "a\x9b2Jb"])
def test_names_that_a_terminal_would_act_on_are_refused_and_shown_harmless(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="control characters") as caught:
        unpack(make_tar(tmp_path / "x.tar.gz", {name: b""}))
    assert str(caught.value).isprintable()


def test_our_own_folder_is_not_an_archives(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="bench's own folder"):
        unpack(make_zip(tmp_path / "x.zip", {".bench/consent.json": b"{}"}))


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "a.png", b"a")
        add(archive, "way-out", type=kind, linkname="/etc")
        add(archive, "way-out/passwd", b"evil")
    with pytest.raises(DataError, match="'way-out' is neither a file nor a folder"):
        unpack(tmp_path / "x.tar")
    assert not (tmp_path / "out").exists()


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("way-out")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(info, "/etc")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        unpack(tmp_path / "x.zip")


@pytest.mark.parametrize("form", ["deflated.zip", "tar.gz"])
def test_a_bomb_is_stopped_before_it_fills_the_disk(tmp_path: Path, form: str) -> None:
    path = MAKERS[form](tmp_path / f"x.{form}", {"a.png": bytes(4_000_000)})
    written: list[int] = []
    with pytest.raises(DataError, match="which no set of images does"):
        extract(
            path, tmp_path / "out", lambda done, total: written.append(done), Limits(free_bytes=2_000_000)
        )
    assert not written
    assert not (tmp_path / "out").exists()


def test_many_small_bombs_count_together(tmp_path: Path) -> None:
    files = {f"{i}.png": bytes(90_000) for i in range(20)}
    path = make_zip(tmp_path / "x.zip", files, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="which no set of images does"):
        unpack(path, Limits(free_bytes=1_000_000))


@pytest.mark.parametrize("stated", [10, len(NOISE) + 10])
def test_a_zip_that_lies_about_a_size_is_refused(tmp_path: Path, stated: int) -> None:
    path = make_zip(tmp_path / "x.zip", {"a.png": NOISE}, compression=zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    size, lie = (n.to_bytes(4, "little") for n in (len(NOISE), stated))
    assert content.count(size) >= 2
    path.write_bytes(content.replace(size, lie))
    with pytest.raises(DataError, match="damaged"):
        unpack(path)


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {f"{i}.png": b"" for i in range(11)})
    with pytest.raises(DataError, match="more than 10 files"):
        unpack(path, Limits(files=10))
    assert len(unpack(path, Limits(files=11)).files) == 11


# --- damage and oddities -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", MAKERS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_half_an_archive_is_refused(tmp_path: Path, form: str, share: float) -> None:
    path = MAKERS[form](tmp_path / f"x.{form}", {"1.png": NOISE, "2.png": NOISE[::-1]})
    whole = path.read_bytes()
    if form == "tar" and share == 0.99:
        share = 0.95  # its last bytes are only padding
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="same command again"):
        unpack(path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"<html>not found</html>", bytes(3)])
def test_what_is_not_an_archive_is_named_as_such(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(DataError, match="is not a zip or tar archive") as caught:
        unpack(tmp_path / "x.zip")
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"1.png": NOISE})
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        unpack(path)


def test_a_damaged_header_is_not_taken_for_the_end_of_a_tar(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", {"1.png": b"one", "2.png": b"two"}, "w")
    content = bytearray(path.read_bytes())
    content[1024] ^= 1  # in the second name
    path.write_bytes(content)
    with pytest.raises(DataError, match="delete it and run the same command again"):
        unpack(path)
    path.write_bytes(content[:1024] + b"x" * 100)
    with pytest.raises(DataError, match="delete it and run the same command again"):
        unpack(path)


def test_the_checksum_of_a_compressed_tar_is_compared(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar.gz", FILES)
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is damaged \(CRC"):
        unpack(path)
    path.write_bytes(content[:-8])
    with pytest.raises(DataError, match="is damaged"):
        unpack(path)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_name_without_end_is_not_read_into_memory(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 1 << 30
    with gzip.open(tmp_path / "x.tar.gz", "wb", compresslevel=1) as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(DataError, match="a header of 1073741824 bytes"):
        unpack(tmp_path / "x.tar.gz")
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def test_what_follows_a_tar_for_ever_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "TRAILING_CHUNKS", 4)
    path = make_tar(tmp_path / "x.tar", {"1.png": b"one"}, "w")
    packed = gzip.compress(path.read_bytes() + bytes(5 << 20))
    (tmp_path / "x.tar.gz").write_bytes(packed)
    with pytest.raises(DataError, match="more than 4194304 bytes follow its end"):
        unpack(tmp_path / "x.tar.gz")


def test_a_password_is_named(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"1.png": b"secret"})
    content = bytearray(path.read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"password required.*by hand"):
        unpack(path)


def test_backslashes_are_separators(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", {"set\\a\\1.png": b"one"}, "w")
    assert list(unpack(path).files) == ["set/a/1.png"]
    assert (tmp_path / "out/set/a/1.png").read_bytes() == b"one"


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_of_one_name_twice_the_last_counts(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"x.{form}"
    if form == "zip":
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
            warnings.simplefilter("ignore")
            archive.writestr("a.png", b"first")
            archive.writestr("./a.png", b"the last")
    else:
        with tarfile.open(path, "w") as archive:
            add(archive, "a.png", b"first")
            add(archive, "a.png", b"the last")
    assert unpack(path).files == {"a.png": 8}
    assert files_below(tmp_path / "out") == {"a.png": b"the last"}


def test_a_file_where_a_folder_must_be_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        unpack(make_tar(tmp_path / "x.tar", {"a": b"file", "a/b.png": b"below a file"}, "w"))


def test_names_that_differ_in_case_need_a_file_system_that_tells_them_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_zip(tmp_path / "x.zip", {"set/A.png": b"1", "SET/a.png": b"2"})
    if not archives._ignores_case(tmp_path):
        assert len(unpack(path).files) == 2
    monkeypatch.setattr(archives, "_ignores_case", lambda folder: True)
    with pytest.raises(DataError, match=r"set/A\.png and SET/a\.png are one name"):
        extract(path, tmp_path / "again", lambda done, total: None)


@pytest.mark.parametrize("name", ["con", "a/NUL.png", "com1.tar.gz", "a./b", "b ", "ab:c", "what?.png"])
def test_what_windows_cannot_hold_is_refused_there_only(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.name != "nt":
        assert safe_name(name, Path("x.zip")) == name
    path = Path("x.zip")
    monkeypatch.setattr(os, "name", "nt")
    try:
        with pytest.raises(DataError, match="Windows cannot hold"):
            safe_name(name, path)
        assert safe_name("benign (1)/image.png", path) == "benign (1)/image.png"
    finally:
        monkeypatch.undo()


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab./\\: \0\n", max_size=12))
def test_whatever_the_name_it_stays_below_the_folder(name: str) -> None:
    try:
        plain = safe_name(name, Path("x.zip"))
    except DataError:
        return
    where = os.path.normpath(os.path.join("/home/out", plain))
    assert where == "/home/out" + (f"/{plain}" if plain else "")


# --- into place --------------------------------------------------------------------------------------


def test_moving_into_place_fills_in_and_keeps_what_is_there(tmp_path: Path) -> None:
    for name, content in {"new/set/1": b"1", "new/set/2": b"2", "old/set/2": b"2", "old/set/3": b"3"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    move_into_place(tmp_path / "new", tmp_path / "old")
    assert files_below(tmp_path) == {"old/set/1": b"1", "old/set/2": b"2", "old/set/3": b"3"}
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("old", ["set/1", "set"])
def test_nothing_moves_if_anything_differs(tmp_path: Path, old: str) -> None:
    (tmp_path / "new" / "set").mkdir(parents=True)
    (tmp_path / "new" / "set" / "1").write_bytes(b"new")
    (tmp_path / "new" / "a").write_bytes(b"fine")
    (tmp_path / "old" / old).parent.mkdir(parents=True)
    (tmp_path / "old" / old).write_bytes(b"old")
    before = files_below(tmp_path)
    with pytest.raises(DataError, match=f"{old} .*differ"):
        move_into_place(tmp_path / "new", tmp_path / "old")
    assert files_below(tmp_path) == before
