"""`bench data` end to end, on real processes: an invented data set, a server in this process."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import Server, serving, speaking

PLUGIN = """
import os
from dataclasses import dataclass
from bench import Archive, DataNotFound, Dataset, Index, Sample, hookimpl

URLS = tuple(os.environ["TOY_URLS"].split())

@dataclass(frozen=True)
class Params:
    part: str = "all"

def index(root, params):
    files = sorted((root / "toy" / "set").glob("?/*.png"))
    if not files:
        raise DataNotFound(f"toy: no images in {root / 'toy'}; bench data fetch toy")
    samples = tuple(Sample(id=f"{p.parent.name}/{p.stem}", label=p.parent.name, path=p) for p in files)
    notes = ("2 masks passed over",)
    expected = {"a": 3, "b": 2}
    return Index(classes=("a", "b"), samples=samples, version="version 2", expected=expected, notes=notes)

def broken(root, params):
    return 1 / 0

TOY = Dataset(
    name="toy", about="Toys from above", params=Params, index=index, home="https://example.org/toy",
    fetch="ask the toymaker for set.zip", licence="CC BY 4.0", citation="Toymaker, 2020",
    archives=lambda params: (Archive(name="set.zip", urls=URLS),) if params.part == "all" else (),
)

def elsewhere(root, params):
    home = root.parent / "elsewhere"
    samples = tuple(Sample(id=p.name, label="a", path=p) for p in home.glob("*.png"))
    if not samples:
        raise DataNotFound("elsewhere: nothing there")
    return Index(classes=("a",), samples=samples)

@hookimpl
def register_datasets():
    return [
        TOY,
        Dataset(name="broken", about="", index=broken, home="https://example.org"),
        Dataset(name="unsure", about="", index=elsewhere, archives=lambda params: 1 / 0),
        Dataset(name="elsewhere", about="", index=elsewhere, home="https://example.org", fetch="ask for it"),
    ]
"""


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50), dtype=np.uint8)).save(
        buffer, "png"
    )
    return buffer.getvalue()


@pytest.fixture
def server() -> Iterator[Server]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i, name in enumerate(("a/1", "a/2", "a/3", "b/1", "b/2")):
            archive.writestr(f"set/{name}.png", png(i))
    with serving() as server:
        server.files["/set.zip"] = buffer.getvalue()
        yield server


Bench = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "toys.py").write_text(PLUGIN)
    info = folder / "toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bench]\ntoys = toys\n")
    return folder


@pytest.fixture
def env(server: Server, plugin: Path, tmp_path: Path) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BENCH_")}
    path = os.pathsep.join(filter(None, [str(plugin), os.environ.get("PYTHONPATH", "")]))
    more = {"PYTHONPATH": path, "COLUMNS": "160", "TOY_URLS": server.url("/set.zip"), "NO_PROXY": "*"}
    return clean | more | {"BENCH_DATA": str(tmp_path / "data")}


@pytest.fixture
def bench(env: dict[str, str], tmp_path: Path) -> Bench:
    def run(*arguments: str, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "bench", "data", *arguments],
            cwd=tmp_path,
            env=env | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def test_fetch_verify_and_list_agree(bench: Bench, server: Server, tmp_path: Path) -> None:
    assert "not here" in row(bench("list"), "toy")
    assert "bench data fetch toy" in row(bench("list"), "toy")
    done = bench("fetch", "toy", "--yes")
    for text in (
        "CC BY 4.0",
        "Toymaker, 2020",
        "set.zip",
        server.url("/set.zip"),
        str(tmp_path / "data/toy"),
    ):
        assert text in done.stdout
    assert f"toy is now in {tmp_path / 'data/toy/set'}: 5 images of 2 classes, version 2" in done.stdout
    assert json.loads((tmp_path / "data/toy/.bench/consent.json").read_text())["consent"] == "--yes"
    done = bench("verify", "toy")
    assert f"toy, version 2: 5 images of 2 classes, in {tmp_path / 'data/toy/set'}\n" in done.stdout
    assert "toy is whole: 5 images, all of them readable" in done.stdout
    assert "note: 2 masks passed over" in done.stdout
    assert "version 2, complete" in row(bench("list"), "toy")
    server.requests.clear()
    assert "toy is already in" in bench("fetch", "toy").stdout
    assert not server.requests


def row(done: subprocess.CompletedProcess[str], name: str) -> str:
    (line,) = (line for line in done.stdout.splitlines() if line.split()[:1] == [name])
    return line


def test_verify_names_all_that_is_wrong(bench: Bench, tmp_path: Path) -> None:
    bench("fetch", "toy", "--yes", "--keep-archives")
    home = tmp_path / "data/toy/set"
    (home / "a/1.png").unlink()
    (home / "a/2.png").write_bytes(b"junk")
    (home / "b/1.png").write_bytes((home / "b/1.png").read_bytes()[:200])
    (tmp_path / "data/toy/set.zip").write_bytes(b"junk")
    done = bench("verify", "toy", code=1)
    assert row(done, "a").split() == ["a", "2", "3", "-1"]
    assert row(done, "b").split() == ["b", "2", "2"]
    assert row(done, "all").split() == ["all", "4", "5", "-1"]
    unreadable = [line for line in done.stdout.splitlines() if line.startswith("unreadable: ")]
    assert [line.split(": ")[1] for line in unreadable] == [str(home / "a/2.png"), str(home / "b/1.png")]
    assert "set.zip: has sha256:" in done.stdout
    (summary,) = (line for line in done.stdout.splitlines() if line.startswith("toy is not as it should be"))
    for text in (
        "1 class count differs",
        "2 images cannot be read",
        "1 archive is damaged",
        "3 unpacked files are gone or cut short",
        "move the faulty files away and run `bench data fetch toy`",
    ):
        assert text in summary
    assert "4 of 5  version 2, differs: a 2 of 3" in row(bench("list"), "toy")
    for faulty in ("set/a/2.png", "set/b/1.png", "set.zip"):
        (tmp_path / "data/toy" / faulty).unlink()
    bench("fetch", "toy")
    bench("verify", "toy")


def test_without_a_terminal_consent_needs_yes(bench: Bench, server: Server, tmp_path: Path) -> None:
    done = bench("fetch", "toy", code=2)
    assert "CC BY 4.0" in done.stdout
    assert done.stderr.startswith("error: toy: nobody can be asked here")
    assert "--yes" in done.stderr
    assert not server.requests
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(os.name == "nt", reason="a pseudo-terminal")
@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_on_a_terminal_consent_is_asked_for(
    env: dict[str, str], server: Server, tmp_path: Path, answer: str, code: int
) -> None:
    import pty

    terminal, stdin = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "data", "fetch", "toy"],
        cwd=tmp_path,
        env=env,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.write(terminal, f"{answer}\n".encode())
    output, _ = process.communicate(timeout=60)
    os.close(terminal)
    os.close(stdin)
    assert "Do you agree to the licence, and to cite the authors?" in output
    assert process.returncode == code, output
    assert bool(server.requests) == (answer == "y")
    assert ("nothing was fetched" in output) == (answer == "n")
    consent = tmp_path / "data/toy/.bench/consent.json"
    assert consent.exists() == (answer == "y")
    if answer == "y":
        assert json.loads(consent.read_text())["consent"] == "asked"


def test_offline_the_steps_by_hand_are_given_and_then_work(
    bench: Bench, server: Server, tmp_path: Path
) -> None:
    content = server.files.pop("/set.zip")
    done = bench("fetch", "toy", "--yes", code=1)
    for text in ("HTTP 404", "ask the toymaker", server.url("/set.zip"), str(tmp_path / "data/toy")):
        assert text in done.stderr
    (tmp_path / "data/toy/set.zip").write_bytes(content)
    assert "5 images" in bench("fetch", "toy").stdout
    bench("verify", "toy")
    assert "set.zip: checksum as recorded" in bench("verify", "toy").stdout


def test_a_redirect_to_no_address_is_one_error_without_a_traceback(bench: Bench, tmp_path: Path) -> None:
    with speaking() as raw:
        raw.says("/set.zip", b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n")
        raw.says("/odd.zip", b"HTTP/1.1 404 \x1b[31mGone\r\n\r\n")
        done = bench("fetch", "toy", "--yes", code=1, TOY_URLS=f"{raw.url('/set.zip')} {raw.url('/odd.zip')}")
    assert done.stderr.startswith(
        f"error: {raw.url('/set.zip')}: the server redirects to http://[::1, which is"
    )
    assert "HTTP 404 \\x1b[31mGone" in done.stderr
    assert "ask the toymaker" in done.stderr


def test_an_interrupted_fetch_is_listed_and_goes_on(
    bench: Bench, env: dict[str, str], server: Server, tmp_path: Path
) -> None:
    server.cut["/set.zip"] = [3000] * 1000
    server.ranges = server.validators = False  # so that it starts again and again, and never ends
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "data", "fetch", "toy", "--yes"],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    part = tmp_path / "data/toy/set.zip.part"
    deadline = time.monotonic() + 60
    while not part.exists() or not part.stat().st_size:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.startswith("what has arrived is kept\ninterrupted; to go on: bench data fetch toy")
    assert part.exists()
    assert "unfinished" in row(bench("list"), "toy")
    server.cut.clear()
    done = bench("fetch", "toy")
    assert "have arrived" in done.stdout
    assert "version 2, complete" in row(bench("list"), "toy")


def test_a_list_survives_a_broken_index(bench: Bench) -> None:
    done = bench("list")
    assert "failed" in row(done, "broken")
    assert "ZeroDivisionError: division by zero" in row(done, "broken")
    assert "ZeroDivisionError: division by zero" in row(done, "unsure")
    assert row(done, "busi")
    assert "nothing to fetch" in row(done, "phantom")


def test_a_data_set_that_looks_elsewhere_is_said_to(bench: Bench, tmp_path: Path) -> None:
    assert row(bench("list"), "elsewhere").split()[1:] == ["not", "here", "ask", "for", "it"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/1.png").write_bytes(png(1))
    line = row(bench("list"), "elsewhere")
    assert "1 classes" not in line
    assert f"{tmp_path / 'elsewhere'}   (not below the data root)" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fetch", "toyy"), "unknown dataset 'toyy'; did you mean toy?"),
        (("verify", "toyy"), "unknown dataset 'toyy'; did you mean toy?"),
        (
            ("fetch", "phantom"),
            "phantom has no download; nothing to fetch: the images",
        ),
        (("fetch", "folder"), "folder has no download; with --data, give a folder"),
        (("fetch", "toy", "--set", "dataset.toy.part=none"), "toy has no download; ask the toymaker"),
        (("fetch", "toy", "--set", "dataset.toy.size=3"), "dataset.toy.size: no such key"),
        (("fetch", "toy", "--set", "protocol.rounds=3"), "here only dataset.toy.PARAMETER=value"),
        (("fetch", "toy", "--set", "dataset.busi.x=3"), "here only dataset.toy.PARAMETER=value"),
    ],
)
def test_bad_input_is_one_clear_line(bench: Bench, arguments: tuple[str, ...], message: str) -> None:
    done = bench(*arguments, code=2)
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_verify_of_what_is_not_here(bench: Bench) -> None:
    done = bench("verify", "toy", code=1)
    assert "bench data fetch toy" in done.stderr
    assert done.stderr.count("\n") == 1


def test_verify_looks_at_images_made_in_memory(bench: Bench) -> None:
    done = bench("verify", "phantom", "--threads", "1")
    assert "phantom is whole: 330 images" in done.stdout


def test_data_help_loads_nothing_heavy(env: dict[str, str]) -> None:
    script = (
        "import sys\nfrom bench.cli import main\n"
        "sys.argv = ['bench', 'data', sys.argv[1]]\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code, e.code\n"
        "print(sorted({'torch', 'timm', 'pandas', 'sklearn'} & set(sys.modules)))"
    )
    for word in ("--help", "list"):
        command = [sys.executable, "-c", script, word]
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        assert done.stdout.rstrip().endswith("[]")
