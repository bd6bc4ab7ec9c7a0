"""`bench pack`: what is in a pack, that its bytes are settled, and what it says of a machine."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import platform
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from packable import WHERE, make_results
from samples import record_of, run_spec
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import BenchError
from bench.page import html_page
from bench.results import store


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_results(tmp_path_factory.mktemp("study") / "results")


def bench(*arguments: str | Path, code: int = 0) -> Result:
    """A command; its exit code, or that of its error, must be `code`. A page would take seconds a pack."""
    if arguments[0] == "pack" and "--report" not in arguments:
        arguments = (*arguments, "--no-report")
    done: Any = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})
    if done.exception and not isinstance(done.exception, SystemExit):
        assert isinstance(done.exception, BenchError), done.exception
        assert code, done.exception
    else:
        assert done.exit_code == code, done.output
    return done


def refused(*arguments: str | Path) -> str:
    """What an error says."""
    return str(bench(*arguments, code=1).exception)


def packed(results: Path, target: Path, *options: str) -> zipfile.ZipFile:
    bench("pack", "--results", results, "-o", target, *options)
    return zipfile.ZipFile(target)


def metadata(archive: zipfile.ZipFile) -> dict[str, dict[str, Any]]:
    """The entities of a crate by their @id."""
    graph = json.loads(archive.read("ro-crate-metadata.json"))["@graph"]
    return {entity["@id"]: entity for entity in graph}


def test_a_pack_holds_what_a_reviewer_needs(results: Path, tmp_path: Path) -> None:
    archive = packed(results, tmp_path / "study.zip")
    names = archive.namelist()
    for name in (
        "README.md",
        "citations.bib",
        "environment.json",
        "licences.md",
        "tables/table.csv",
        "tables/table.md",
    ):
        assert name in names
    records = [name for name in names if name.endswith("record.json")]
    assert len([name for name in records if name.startswith("results/runs/")]) == 9
    assert len([name for name in records if name.startswith("results/pretrain/")]) == 3
    assert len([name for name in records if name.startswith("results/failures/")]) == 1
    assert len([name for name in names if name.startswith("results/splits/")]) == 3
    for path in (results / "runs").glob("*/*/*"):
        assert archive.read(f"results/{path.relative_to(results).as_posix()}") == path.read_bytes()
    assert not [name for name in names if name.endswith(".safetensors")]
    assert b"egmae" in archive.read("tables/table.md")
    assert "@" in archive.read("citations.bib").decode()
    assert "- dataset phantom: MIT" in archive.read("licences.md").decode()
    units = [each["units"] for each in json.loads(archive.read("environment.json"))["made_with"]]
    assert sum(units) == 12


def test_the_lists_of_a_pack_name_every_file_with_its_checksum(results: Path, tmp_path: Path) -> None:
    archive = packed(results, tmp_path / "study.zip")
    lines = archive.read("checksums.sha256").decode().splitlines()
    listed = {line[66:]: line[:64] for line in lines}
    assert set(listed) == set(archive.namelist()) - {"checksums.sha256"}
    entities = metadata(archive)
    for name, sha256 in listed.items():
        assert hashlib.sha256(archive.read(name)).hexdigest() == sha256
        if name != "ro-crate-metadata.json":
            entity = entities[name.replace("+", "%2B")]
            assert (entity["sha256"], entity["@type"]) == (sha256, "File")
            assert int(entity["contentSize"]) == archive.getinfo(name).file_size


def test_the_same_results_give_the_same_bytes(results: Path, tmp_path: Path) -> None:
    first = bench("pack", "--results", results, "-o", tmp_path / "a.zip").stdout
    copy = tmp_path / "elsewhere" / "copied"
    shutil.copytree(results, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    again = bench("pack", "--results", copy, "-o", tmp_path / "b.zip").stdout
    content = (tmp_path / "a.zip").read_bytes()
    assert content == (tmp_path / "b.zip").read_bytes()
    assert first == again == f"sha256 {hashlib.sha256(content).hexdigest()}\n"
    infos = zipfile.ZipFile(tmp_path / "a.zip").infolist()
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}


def test_other_results_give_other_bytes(results: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copied"
    shutil.copytree(results, copy)
    shutil.rmtree(next((copy / "failures" / "phantom").iterdir()))
    assert bench("pack", "--results", results, "-o", tmp_path / "a.zip").stdout != (
        bench("pack", "--results", copy, "-o", tmp_path / "b.zip").stdout
    )


def test_encoders_and_kept_networks_come_when_they_are_asked_for(results: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copied"
    shutil.copytree(results, copy)
    unit = next((copy / "runs" / "phantom").glob("*scratch*"))
    kept = copy / "kept" / unit.relative_to(copy)
    kept.mkdir(parents=True)
    (kept / "model.safetensors").write_bytes(b"weights")
    plain = packed(copy, tmp_path / "plain.zip").namelist()
    assert len([name for name in plain if name.endswith("encoder.safetensors.left-out")]) == 3
    assert not [name for name in plain if "/kept/" in name]
    large = packed(copy, tmp_path / "large.zip", "--encoders", "--models").namelist()
    assert len([name for name in large if name.endswith("encoder.safetensors")]) == 3
    assert f"results/{kept.relative_to(copy).as_posix()}/model.safetensors" in large


def test_a_pack_names_no_path_host_or_user(results: Path, tmp_path: Path) -> None:
    archive = packed(results, tmp_path / "study.zip")
    everything = b"".join(map(archive.read, archive.namelist())).decode("utf-8", "replace")
    for secret in ("/home/ada", str(results), str(tmp_path), str(Path.home()) + "/"):
        assert secret not in everything
    for name in (platform.node(), getpass.getuser()):
        assert len(name) < 5 or f'"{name}"' not in everything
    failure = json.loads(archive.read(next(n for n in archive.namelist() if "/failures/" in n)))
    assert failure["reason"] == "ValueError: broken (.../somewhere/net.py:7)"
    assert 'File ".../somewhere/net.py", line 7' in failure["traceback"]


def test_a_failure_without_its_paths_is_still_a_sealed_record(results: Path, tmp_path: Path) -> None:
    archive = packed(results, tmp_path / "study.zip")
    archive.extractall(tmp_path / "there")
    (path,) = (tmp_path / "there" / "results" / "failures" / "phantom").iterdir()
    assert store.read_folder(path).reason.startswith("ValueError")
    (own,) = (results / "failures" / "phantom").iterdir()
    assert WHERE in store.read_folder(own).reason  # the results themselves are as they were


def test_a_record_that_names_a_path_is_refused_unless_it_may(results: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copied"
    shutil.copytree(results, copy)
    unit = next((copy / "runs" / "phantom").glob("test_convnext.scratch.r0*"))
    old = store.read_folder(unit)
    parts = {part: store.read_predictions(unit, part) for part in ("val", "test")}
    shutil.rmtree(unit)
    store.write(
        copy, record_of(old.spec, data=old.data, notes=("from /data/lab/weights.pt",)), predictions=parts
    )
    said = refused("pack", "--results", copy, "-o", tmp_path / "a.zip")
    assert "/data/lab/weights.pt" in said
    assert "--with-paths" in said
    assert not (tmp_path / "a.zip").exists()
    bench("pack", "--results", copy, "-o", tmp_path / "a.zip", "--with-paths")


def test_what_is_said_of_a_pack_is_in_its_metadata(results: Path, tmp_path: Path) -> None:
    about = ["--license", "CC-BY-4.0", "--published", "2026-11-28", "--name", "My study"]
    people = ["--author", "Ada Lovelace <0000-0002-1825-0097>", "--author", "Nobody Else"]
    entities = metadata(packed(results, tmp_path / "study.zip", *about, *people))
    root = entities["./"]
    assert root["datePublished"] == "2026-11-28"
    assert root["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}
    assert root["name"] == "My study"
    ada, nobody = (entities[author["@id"]] for author in root["author"])
    assert (ada["@id"], ada["name"]) == ("https://orcid.org/0000-0002-1825-0097", "Ada Lovelace")
    assert (nobody["@id"], nobody["name"]) == ("#Nobody%20Else", "Nobody Else")
    bare = metadata(packed(results, tmp_path / "bare.zip"))["./"]
    assert not {"datePublished", "license", "author"} & bare.keys()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--author", "Ada <0000-0002-1825-0098>"], "is no ORCID iD"),
        (["--author", "Ada <me@x.org>"], "is no ORCID iD"),
        (["--author", ""], "must be a name"),
        (["--published", "tomorrow"], "must be a day"),
        (["--license", "my own words"], "SPDX"),
        (["-o", "study.tar"], "ends in .zip"),
        (["-d", "busi"], "unknown dataset 'busi'"),
        (["--report", "nowhere.html"], "cannot be read"),
        (["--report", __file__], "is no page of bench"),
    ],
)
def test_nonsense_is_one_error_and_writes_nothing(
    results: Path, tmp_path: Path, options: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused("pack", "--results", results, *options)
    assert not list(tmp_path.glob("*.zip"))


def test_a_file_that_is_no_zip_is_not_replaced(results: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.zip").write_text("my only copy", encoding="utf-8")
    assert "is no zip" in refused("pack", "--results", results, "-o", tmp_path / "thesis.zip")
    assert (tmp_path / "thesis.zip").read_text(encoding="utf-8") == "my only copy"


def test_damaged_results_are_not_packed(results: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copied"
    shutil.copytree(results, copy)
    file = next((copy / "runs" / "phantom").glob("test_convnext.scratch.r1*")) / "predictions.parquet"
    content = bytearray(file.read_bytes())
    content[50] ^= 1
    file.write_bytes(content)
    assert "is not the file that was stored" in refused("pack", "--results", copy, "-o", tmp_path / "a.zip")
    file.unlink()
    assert "damaged" in refused("pack", "--results", copy, "-o", tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_a_missing_manifest_is_said(results: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copied"
    shutil.copytree(results, copy)
    shutil.rmtree(copy / "splits")
    assert "has no manifest of split" in refused("pack", "--results", copy, "-o", tmp_path / "a.zip")


def test_nothing_to_pack(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    assert "no finished runs" in refused("pack", "--results", tmp_path / "results", "-o", tmp_path / "a.zip")


def test_a_page_is_made_where_it_can_be(results: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    for name in ("a.zip", "b.zip"):
        arguments = ["pack", "--results", str(results), "-o", str(tmp_path / name)]
        assert CliRunner().invoke(app, arguments, env={"COLUMNS": "200"}).exit_code == 0
    page = zipfile.ZipFile(tmp_path / "a.zip").read("report.html").decode()
    assert "scratch" in page
    assert "data:image" not in page
    assert "/home/ada" not in page
    assert str(tmp_path) not in page
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_without_its_packages_a_pack_has_no_page(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    arguments = ["pack", "--results", str(results), "-o", str(tmp_path / "a.zip")]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "no page of the results is packed" in done.stderr
    assert 'pip install "medbench[report]"' in done.stderr
    assert "report.html" not in zipfile.ZipFile(tmp_path / "a.zip").namelist()


def test_a_page_of_the_results_is_packed(results: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(html_page("Report", "<p>all of it</p>"), encoding="utf-8")
    archive = packed(results, tmp_path / "study.zip", "--report", str(tmp_path / "report.html"))
    assert b"all of it" in archive.read("report.html")
    assert "report.html" in archive.read("README.md").decode()


def test_data_sets_are_packed_one_by_one(results: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copied"
    shutil.copytree(results, copy)
    store.write_failure(copy, store.read_folder(next((copy / "failures" / "phantom").iterdir())))
    spec = run_spec("scratch", 0)  # of another data set, whose split is nowhere
    store.write_failure(copy, record_of(spec, status="failed", reason="x", traceback="y"))
    names = packed(copy, tmp_path / "study.zip", "-d", "phantom").namelist()
    assert not [name for name in names if "busi" in name]
    assert [name for name in packed(copy, tmp_path / "all.zip").namelist() if "/failures/busi/" in name]


def test_the_readme_names_the_plugins_that_a_reviewer_needs() -> None:
    from bench.pack.build import _readme
    from bench.pack.crate import Facts

    assert "install them too: their-plugin" in _readme(Facts(plugins=["their-plugin"]), False)
