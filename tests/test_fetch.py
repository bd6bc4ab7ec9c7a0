"""Downloads over a real connection: resumed, checked, recorded, and what a failure says."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import socket
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from served import Server, serving

from bench import (
    Archive,
    ConfigError,
    DataError,
    DataNotFound,
    Dataset,
    Index,
    NoParams,
    PluginError,
    Progress,
    Sample,
)
from bench.data.fetch.download import DownloadError, Published, download
from bench.data.fetch.fetch import FetchTask, fetch_dataset, has_consent, plan_fetch, record_consent
from bench.data.fetch.local_state import is_unfinished
from bench.testing import check_dataset

CONTENT = np.random.default_rng(0).bytes(3_000_000)


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        server.files["/f.bin"] = CONTENT
        yield server


def get(server: Server, target: Path, *paths: str, checksum: str = "") -> str:
    urls = [server.url(path) for path in paths or ("/f.bin",)]
    return download(urls, target, lambda done, total: None, Published(checksum), pause=0.001)


def names_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# --- one file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("checksum", ["", sha256(CONTENT), f"md5:{hashlib.md5(CONTENT).hexdigest()}"])
def test_a_file_arrives_whole_and_alone(server: Server, tmp_path: Path, checksum: str) -> None:
    assert get(server, tmp_path / "f.bin", checksum=checksum) == server.url("/f.bin")
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert names_in(tmp_path) == ["f.bin"]


def test_progress_counts_bytes_to_the_end(server: Server, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    download([server.url("/f.bin")], tmp_path / "f.bin", lambda *counts: reports.append(counts))
    assert reports[0] == (0, len(CONTENT))
    assert reports[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


def test_a_cut_connection_goes_on_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.cut["/f.bin"] = [1_000_000, *[100_000] * 5]  # more often than it would try without headway
    get(server, tmp_path / "f.bin")
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    ranges = [f"bytes={start}-" for start in range(1_000_000, 1_600_000, 100_000)]
    assert [r.range for r in server.requests] == ["", *ranges]


@pytest.mark.skipif(os.name == "nt", reason="sockets that are no file descriptors")
def test_a_reset_connection_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.cut["/f.bin"] = [1_000_000]
    server.resets = True
    get(server, tmp_path / "f.bin")
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert len(server.requests) == 2


def half_way(server: Server, target: Path, size: int = 1_000_000) -> None:
    """What a download that gave up leaves behind."""
    server.cut["/f.bin"] = [size]
    server.codes["/f.bin"] = [200, *[503] * 10]
    with pytest.raises(DownloadError, match="HTTP 503"):
        get(server, target)
    server.codes.clear()
    server.requests.clear()
    assert target.with_name("f.bin.part").stat().st_size == size


def test_a_later_call_goes_on(server: Server, tmp_path: Path) -> None:
    half_way(server, tmp_path / "f.bin")
    get(server, tmp_path / "f.bin")
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert [(r.range, r.sent) for r in server.requests] == [("bytes=1000000-", 2_000_000)]


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    half_way(server, tmp_path / "f.bin")
    server.ranges = False
    get(server, tmp_path / "f.bin")
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert server.requests[-1].sent == len(CONTENT)


def test_a_file_that_changed_meanwhile_starts_again(server: Server, tmp_path: Path) -> None:
    half_way(server, tmp_path / "f.bin")
    server.files["/f.bin"] = CONTENT[::-1]
    get(server, tmp_path / "f.bin")
    assert (tmp_path / "f.bin").read_bytes() == CONTENT[::-1]


def test_without_a_validator_or_checksum_nothing_is_pieced_together(server: Server, tmp_path: Path) -> None:
    server.validators = False
    half_way(server, tmp_path / "f.bin")
    get(server, tmp_path / "f.bin")
    assert [r.range for r in server.requests] == [""]
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_an_answer_with_another_range_is_not_appended(server: Server, tmp_path: Path) -> None:
    half_way(server, tmp_path / "f.bin")
    server.range_error = 1
    get(server, tmp_path / "f.bin")
    assert [r.range for r in server.requests] == ["bytes=1000000-", ""]
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_a_checksum_lets_another_mirror_go_on(server: Server, tmp_path: Path) -> None:
    half_way(server, tmp_path / "f.bin")
    server.files["/mirror.bin"] = CONTENT
    get(server, tmp_path / "f.bin", "/mirror.bin", checksum=sha256(CONTENT))
    assert [r.range for r in server.requests] == ["bytes=1000000-"]
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_without_a_checksum_another_mirror_starts_again(server: Server, tmp_path: Path) -> None:
    half_way(server, tmp_path / "f.bin")
    server.files["/mirror.bin"] = CONTENT
    get(server, tmp_path / "f.bin", "/mirror.bin")
    assert [r.range for r in server.requests] == [""]


def test_pieces_that_do_not_fit_are_thrown_away_once(server: Server, tmp_path: Path) -> None:
    half_way(server, tmp_path / "f.bin")
    (tmp_path / "f.bin.part").write_bytes(b"x" * 1_000_000)
    get(server, tmp_path / "f.bin", checksum=sha256(CONTENT))
    assert [r.range for r in server.requests] == ["bytes=1000000-", ""]
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_a_part_that_is_whole_already_needs_no_byte_more(server: Server, tmp_path: Path) -> None:
    half_way(server, tmp_path / "f.bin")
    (tmp_path / "f.bin.part").write_bytes(CONTENT)
    get(server, tmp_path / "f.bin")
    assert [r.sent for r in server.requests] == [0]
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_started_again(server: Server, tmp_path: Path) -> None:
    half_way(server, tmp_path / "f.bin")
    (tmp_path / "f.bin.part").write_bytes(CONTENT + b"more")
    get(server, tmp_path / "f.bin")
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_is_not_taken_for_a_broken_connection(
    server: Server, one: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "set.zip.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"cannot be written .*make room, or choose another --data"):
        fetch(one, tmp_path)
    assert len(server.requests) == 1


def test_mirrors_are_tried_in_order(server: Server, tmp_path: Path) -> None:
    server.files["/wrong.bin"] = b"something else"
    url = get(server, tmp_path / "f.bin", "/gone.bin", "/wrong.bin", "/f.bin", checksum=sha256(CONTENT))
    assert url == server.url("/f.bin")
    assert [r.path for r in server.requests] == ["/gone.bin", "/wrong.bin", "/f.bin"]


def test_the_error_says_what_every_address_answered(server: Server, tmp_path: Path) -> None:
    server.files["/wrong.bin"] = b"something else"
    server.files["/login.bin"] = b"<html>who are you?</html>"
    server.types["/login.bin"] = "text/html; charset=utf-8"
    with pytest.raises(DownloadError) as caught:
        get(server, tmp_path / "f.bin", "/gone", "/wrong.bin", "/login.bin", checksum=sha256(CONTENT))
    for text in ("HTTP 404", sha256(b"something else"), sha256(CONTENT), "a web page in place of the file"):
        assert text in str(caught.value)
    assert names_in(tmp_path) == []


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.codes["/f.bin"] = [503, 429]
    get(server, tmp_path / "f.bin")
    assert len(server.requests) == 3


def test_without_a_connection_there_is_no_waiting(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/f.bin"
        with pytest.raises(DownloadError, match="cannot be reached"):
            download([url], tmp_path / "f.bin", lambda done, total: None, pause=1000)


def test_other_addresses_than_http_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("")
    with pytest.raises(DownloadError, match="not an http or https address"):
        download([(tmp_path / "secret").as_uri()], tmp_path / "f", lambda done, total: None)


# --- a data set --------------------------------------------------------------------------------------


def packed(files: dict[str, bytes], **options: object) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, **options), content)  # type: ignore[arg-type]
    return buffer.getvalue()


IMAGES = {"set/a/1.png": b"one", "set/a/2.png": b"two", "set/b/3.png": b"three"}


def index(root: Path, params: object) -> Index:
    files = sorted((root / "toy" / "set").glob("?/*.png"))
    if not files:
        raise DataNotFound(f"toy: nothing in {root}")
    return Index(
        classes=("a", "b"), samples=tuple(Sample(id=p.name, label=p.parent.name, path=p) for p in files)
    )


def make(*archives: Archive, **changes: object) -> Dataset:
    dataset = Dataset(
        name="toy",
        about="a toy",
        index=index,
        expected={"a": 2, "b": 1},
        home="https://example.org/toy",
        fetch="ask the toymaker",
        licence="CC BY 4.0",
        citation="Toymaker, 2020",
        archives=lambda params: archives,
    )
    return replace(dataset, **changes)  # type: ignore[arg-type]


def fetch(dataset: Dataset, root: Path, **options: bool) -> FetchTask:
    task = plan_fetch(dataset, NoParams(), root)
    fetch_dataset(task, lambda progress: None, **options)
    return plan_fetch(dataset, NoParams(), root)


@pytest.fixture
def one(server: Server) -> Dataset:
    server.files["/set.zip"] = packed(IMAGES)
    return make(Archive(name="set.zip", urls=(server.url("/set.zip"),)))


def record_of(root: Path, name: str = "set.zip") -> dict:
    return json.loads((root / "toy" / ".bench" / "archives" / f"{name}.json").read_text())


def test_an_archive_is_fetched_unpacked_recorded_and_removed(
    server: Server, one: Dataset, tmp_path: Path
) -> None:
    assert not plan_fetch(one, NoParams(), tmp_path).is_complete
    assert fetch(one, tmp_path).is_complete
    assert names_in(tmp_path / "toy") == [".bench", "set"]
    assert (tmp_path / "toy/set/b/3.png").read_bytes() == b"three"
    record = record_of(tmp_path)
    assert record["checksum"] == sha256(server.files["/set.zip"])
    assert record["url"] == server.url("/set.zip")
    assert record["files"] == {name: len(content) for name, content in IMAGES.items()}
    server.requests.clear()
    assert fetch(one, tmp_path).is_complete
    assert not server.requests


def test_archives_are_kept_if_asked(one: Dataset, tmp_path: Path) -> None:
    fetch(one, tmp_path, keep=True)
    assert names_in(tmp_path / "toy") == [".bench", "set", "set.zip"]


def test_progress_has_every_stage_in_bytes(one: Dataset, tmp_path: Path) -> None:
    reports: list[Progress] = []
    fetch_dataset(plan_fetch(one, NoParams(), tmp_path), reports.append)
    assert list(dict.fromkeys(report.stage for report in reports)) == [
        f"{s} set.zip" for s in ("download", "check", "unpack")
    ]
    assert all(report.in_bytes and report.unit == "toy" for report in reports)


def test_a_deleted_file_is_fetched_again(one: Dataset, tmp_path: Path) -> None:
    fetch(one, tmp_path)
    (tmp_path / "toy/set/a/2.png").unlink()
    assert not plan_fetch(one, NoParams(), tmp_path).is_complete
    assert fetch(one, tmp_path).is_complete
    assert (tmp_path / "toy/set/a/2.png").read_bytes() == b"two"


def test_a_file_of_the_user_is_never_overwritten(one: Dataset, tmp_path: Path) -> None:
    fetch(one, tmp_path)
    (tmp_path / "toy/set/a/2.png").write_bytes(b"the user's, and longer")
    with pytest.raises(DataError, match=r"set/a/2\.png are there already and differ.*move them away"):
        fetch(one, tmp_path)
    assert (tmp_path / "toy/set/a/2.png").read_bytes() == b"the user's, and longer"
    (tmp_path / "toy/set/a/2.png").unlink()
    assert fetch(one, tmp_path).is_complete


def test_an_archive_put_there_by_hand_is_taken_and_left(server: Server, one: Dataset, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "set.zip").write_bytes(server.files["/set.zip"])
    assert fetch(one, tmp_path).is_complete
    assert not server.requests
    assert names_in(tmp_path / "toy") == [".bench", "set", "set.zip"]
    assert record_of(tmp_path)["url"] == ""


def test_an_archive_put_there_in_place_of_a_bad_download_is_left(
    server: Server, one: Dataset, tmp_path: Path
) -> None:
    good = server.files["/set.zip"]
    server.files["/set.zip"] = good[:-30]
    with pytest.raises(DataError, match="delete it"):
        fetch(one, tmp_path)
    (tmp_path / "toy" / "set.zip").unlink()
    del server.files["/set.zip"]
    with pytest.raises(DataNotFound):
        fetch(one, tmp_path)
    (tmp_path / "toy" / "set.zip").write_bytes(good)
    assert fetch(one, tmp_path).is_complete
    assert (tmp_path / "toy" / "set.zip").read_bytes() == good


def test_a_wrong_archive_put_there_by_hand_is_refused(server: Server, tmp_path: Path) -> None:
    known = sha256(packed(IMAGES))
    dataset = make(Archive(name="set.zip", urls=(server.url("/set.zip"),), checksum=known))
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "set.zip").write_bytes(b"wrong")
    with pytest.raises(DataError, match=f"{sha256(b'wrong')}, but {known} is published; delete it"):
        fetch(dataset, tmp_path)
    assert (tmp_path / "toy" / "set.zip").read_bytes() == b"wrong"


def test_images_that_lie_there_already_are_enough(server: Server, one: Dataset, tmp_path: Path) -> None:
    for name, content in IMAGES.items():
        (tmp_path / "toy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "toy" / name).write_bytes(content)
    assert plan_fetch(one, NoParams(), tmp_path).is_complete
    (tmp_path / "toy/set/a/2.png").unlink()
    assert not plan_fetch(one, NoParams(), tmp_path).is_complete


def test_a_file_that_changes_between_downloads_is_named(server: Server, one: Dataset, tmp_path: Path) -> None:
    fetch(one, tmp_path)
    old = sha256(server.files["/set.zip"])
    server.files["/set.zip"] = packed({**IMAGES, "set/b/4.png": b"four"})
    new = sha256(server.files["/set.zip"])
    shutil.rmtree(tmp_path / "toy" / "set")
    for _ in range(2):  # the same when asked again: the user must decide
        with pytest.raises(DataError, match=f"its checksum is {new}, but {old} was recorded on 20") as caught:
            fetch(one, tmp_path)
    record = tmp_path / "toy/.bench/archives/set.zip.json"
    assert f"delete {record}" in str(caught.value)
    record.unlink()
    fetch(one, tmp_path)
    assert (tmp_path / "toy/set/b/4.png").read_bytes() == b"four"


def test_a_rebuilt_archive_is_compared_by_its_contents(server: Server, tmp_path: Path) -> None:
    server.files["/set.zip"] = packed(IMAGES, date_time=(2020, 1, 1, 0, 0, 0))
    dataset = make(Archive(name="set.zip", urls=(server.url("/set.zip"),), rebuilt=True))
    fetch(dataset, tmp_path)
    server.files["/set.zip"] = packed(dict(reversed(IMAGES.items())), date_time=(2021, 2, 2, 0, 0, 0))
    shutil.rmtree(tmp_path / "toy" / "set")
    assert fetch(dataset, tmp_path).is_complete
    server.files["/set.zip"] = packed({**IMAGES, "set/b/3.png": b"eerht"})
    shutil.rmtree(tmp_path / "toy" / "set")
    with pytest.raises(DataError, match=r"its contents is sha256:.*was recorded on"):
        fetch(dataset, tmp_path)
    assert not (tmp_path / "toy" / "set").exists()


@pytest.mark.parametrize("rebuilt", [False, True])
def test_files_that_stay_packed(server: Server, tmp_path: Path, rebuilt: bool) -> None:
    server.files |= {"/x.npz": packed(IMAGES), "/set.zip": packed(IMAGES), "/t.csv": b"a,b\n"}
    dataset = make(
        Archive(name="set.zip", urls=(server.url("/set.zip"),), unpack="deep/er"),
        Archive(name="x.zip", urls=(server.url("/x.npz"),), unpack=None, rebuilt=rebuilt),
        Archive(name="t.csv", urls=(server.url("/t.csv"),), unpack="tables"),
    )
    fetch(dataset, tmp_path)
    unpacked = sorted(
        p.relative_to(tmp_path / "toy").as_posix() for p in (tmp_path / "toy").glob("[!.]*/**/*.*")
    )
    assert unpacked == ["deep/er/set/a/1.png", "deep/er/set/a/2.png", "deep/er/set/b/3.png", "tables/t.csv"]
    assert (tmp_path / "toy/x.zip").read_bytes() == server.files["/x.npz"]
    assert plan_fetch(dataset, NoParams(), tmp_path).pending == ()


def test_two_archives_may_share_a_folder(server: Server, tmp_path: Path) -> None:
    parts = dict(list(IMAGES.items())[:2]), dict(list(IMAGES.items())[2:])
    for i, part in enumerate(parts):
        server.files[f"/{i}.zip"] = packed(part)
    dataset = make(*(Archive(name=f"{i}.zip", urls=(server.url(f"/{i}.zip"),)) for i in range(2)))
    assert fetch(dataset, tmp_path).is_complete


def test_nested_archives_are_left_and_named(server: Server, one: Dataset, tmp_path: Path) -> None:
    server.files["/set.zip"] = packed({**IMAGES, "set/more.zip": packed({"x": b"y"})})
    notes = fetch_dataset(plan_fetch(one, NoParams(), tmp_path), lambda progress: None)
    assert notes == ["set.zip holds archives, left packed: set/more.zip"]
    assert (tmp_path / "toy/set/more.zip").is_file()


def test_without_a_connection_the_steps_by_hand_are_given(server: Server, tmp_path: Path) -> None:
    archive = Archive(name="set.zip", urls=(server.url("/gone.zip"), server.url("/lost.zip")))
    with pytest.raises(DataNotFound) as caught:
        fetch(make(archive), tmp_path)
    for text in ("HTTP 404", "ask the toymaker", str(tmp_path / "toy"), *archive.urls):
        assert text in str(caught.value)


def test_what_cannot_fit_is_not_begun(server: Server, tmp_path: Path) -> None:
    archive = Archive(name="set.zip", urls=(server.url("/set.zip"),), size=10**17)
    with pytest.raises(DataError, match=r"needs about 200000000\.0 GB, and .* are free"):
        fetch(make(archive), tmp_path)
    assert not server.requests


def test_what_has_arrived_needs_no_more_room(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make(Archive(name="t.csv", urls=(server.url("/t.csv"),), size=1000, unpack=None))
    server.files["/t.csv"] = bytes(1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(DataError, match="are free"):
        fetch(dataset, tmp_path)
    (tmp_path / "toy" / "t.csv").write_bytes(bytes(1000))
    fetch(dataset, tmp_path)


def test_a_damaged_archive_leaves_nothing_unpacked(server: Server, one: Dataset, tmp_path: Path) -> None:
    server.files["/set.zip"] = packed(IMAGES)[:-30]
    with pytest.raises(DataError, match=r"set\.zip: is not a zip or tar archive.*delete it"):
        fetch(one, tmp_path)
    assert names_in(tmp_path / "toy") == [".bench", "set.zip"]
    assert not is_unfinished(tmp_path / "toy")


def test_a_data_set_with_a_client_of_its_own(tmp_path: Path) -> None:
    def client(folder: Path, params: object) -> None:
        for name, content in IMAGES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    dataset = make(download=client)
    assert fetch(dataset, tmp_path).is_complete
    (tmp_path / "toy/set/a/1.png").unlink()
    # It counts as fetched, because only its client knows which files it downloads, until none is there.
    assert plan_fetch(dataset, NoParams(), tmp_path).is_complete
    shutil.rmtree(tmp_path / "toy" / "set")
    assert fetch(dataset, tmp_path).is_complete


def test_a_client_that_fails_is_not_recorded(tmp_path: Path) -> None:
    def client(folder: Path, params: object) -> None:
        raise DataNotFound("toy: log in first")

    with pytest.raises(DataNotFound, match="log in"):
        fetch(make(download=client), tmp_path)
    assert not plan_fetch(make(download=client), NoParams(), tmp_path).was_downloaded


def test_what_nobody_can_fetch_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="toy has no download; ask the toymaker"):
        plan_fetch(make(), NoParams(), tmp_path)


ONE = Index(classes=("a",), samples=(Sample(id="1", label="a", array=np.zeros((3, 3), np.uint8)),))
HERE = ("https://example.org/x",)


@pytest.mark.parametrize(
    "archive",
    [
        *(Archive(name=name, urls=HERE) for name in ("../x.zip", "a/b.zip", "..", "")),
        *(
            Archive(name="x.zip", urls=HERE, checksum=checksum)
            for checksum in ("crc:1", "sha256:12", "md5:" + 32 * "x")
        ),
        Archive(name="x.zip", urls=()),
        Archive(name="x.zip", urls=("file:///etc/passwd",)),
        Archive(name="x.zip", urls=HERE, unpack="../elsewhere"),
    ],
)
def test_an_archive_that_cannot_be_fetched_is_a_plugin_error(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"the archive .* mend the plugin"):
        plan_fetch(make(archive), NoParams(), tmp_path)
    with pytest.raises(AssertionError, match=r"the archive .* mend the plugin"):
        check_dataset(make(archive, index=lambda root, params: ONE, expected={}), tmp_path)


def test_consent_holds_for_one_licence_text(one: Dataset, tmp_path: Path) -> None:
    task = plan_fetch(one, NoParams(), tmp_path)
    assert not has_consent(task)
    record_consent(task, "asked")
    assert has_consent(plan_fetch(one, NoParams(), tmp_path))
    assert not has_consent(plan_fetch(replace(one, licence="all rights reserved"), NoParams(), tmp_path))
    consent = json.loads((tmp_path / "toy/.bench/consent.json").read_text())
    assert consent["licence"] == "CC BY 4.0"
    assert consent["citation"] == "Toymaker, 2020"
    assert consent["urls"] == [archive.urls[0] for archive in task.archives]


def test_two_fetches_of_one_data_set_exclude_each_other(one: Dataset, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "toy" / ".bench").mkdir(parents=True)
    with FileLock(tmp_path / "toy" / ".bench" / ".lock"), pytest.raises(DataError, match="another `bench"):
        fetch(one, tmp_path)


def test_what_another_process_has_installed_meanwhile_is_not_fetched_again(
    server: Server, one: Dataset, tmp_path: Path
) -> None:
    task = plan_fetch(one, NoParams(), tmp_path)
    fetch(one, tmp_path)
    server.requests.clear()
    fetch_dataset(task, lambda progress: None)
    assert not server.requests


# --- killed ------------------------------------------------------------------------------------------


def _fetch_until(moment: str, url: str, root: Path) -> None:
    """Fetch, and die as by kill -9 at a moment."""
    from bench.data.fetch import archives, install

    def die(*arguments: object) -> None:
        os._exit(9)

    if moment == "half unpacked":
        count = iter(range(100))
        chunks = archives._chunks
        archives._chunks = lambda *a: die() if next(count) == 2 else chunks(*a)
    elif moment == "unpacked":
        archives.move_into_place = die
    elif moment == "half moved":
        replaced = Path.replace
        count = iter(range(100))
        Path.replace = lambda self, to: (
            die() if self.suffix == ".png" and next(count) == 1 else replaced(self, to)
        )
    elif moment == "moved":
        install.sync_directory = die
    fetch_dataset(
        plan_fetch(make(Archive(name="set.zip", urls=(url,))), NoParams(), root), lambda progress: None
    )


@pytest.mark.parametrize(
    "moments",
    [["half unpacked"], ["unpacked"], ["half moved"], ["moved"], ["moved", "half unpacked"]],
    ids=" and ".join,
)
def test_killed_at_any_moment_the_same_call_goes_on(
    server: Server, one: Dataset, tmp_path: Path, moments: list[str]
) -> None:
    if "half moved" in moments:  # a folder that is there already is filled file by file
        (tmp_path / "toy/set/a").mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    for moment in moments:
        process = context.Process(target=_fetch_until, args=(moment, server.url("/set.zip"), tmp_path))
        process.start()
        process.join(60)
        assert process.exitcode == 9
        if moment != moments[-1]:
            shutil.rmtree(tmp_path / "toy" / "set")
    at_its_place = {
        p.relative_to(tmp_path / "toy").as_posix(): p.read_bytes() for p in tmp_path.glob("toy/set/?/*")
    }
    assert at_its_place.items() <= IMAGES.items(), "what lies at its place is whole"
    assert not (tmp_path / "toy/.bench/archives/set.zip.json").exists()
    assert fetch(one, tmp_path).is_complete
    assert len(server.requests) == 1
    assert names_in(tmp_path / "toy") == [".bench", "set"]
    assert not [p for p in (tmp_path / "toy/.bench").glob("*/*") if p.parent.name != "archives"]


def _download_slowly(url: str, target: Path) -> None:
    download([url], target, lambda done, total: time.sleep(0.05))


def test_a_killed_download_goes_on(server: Server, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_download_slowly, args=(server.url("/f.bin"), tmp_path / "f.bin"))
    process.start()
    part = tmp_path / "f.bin.part"
    while not part.exists() or part.stat().st_size < 500_000:
        assert process.is_alive()
        time.sleep(0.002)
    process.kill()
    process.join()
    arrived = part.stat().st_size
    assert 0 < arrived < len(CONTENT)
    get(server, tmp_path / "f.bin")
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert server.requests[-1].range == f"bytes={arrived}-"
