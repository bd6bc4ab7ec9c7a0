"""`bench verify PACK`: a pack is believed in nothing that can be computed again, and opened with care."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from packable import make_results
from test_pack import bench, refused

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    make_results(folder / "results")
    bench("pack", "--results", folder / "results", "-o", folder / "study.zip")
    return folder / "study.zip"


def files_of(pack: Path) -> Files:
    with zipfile.ZipFile(pack) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(files: Files, target: Path, *, listed: bool = True) -> Path:
    """A zip of these files; with `listed`, its lists say that they are what was packed."""
    if listed:
        crate = json.loads(files["ro-crate-metadata.json"])
        for entity in crate["@graph"]:
            name = entity["@id"].replace("%2B", "+")
            if "sha256" in entity and name in files:
                entity["sha256"] = hashlib.sha256(files[name]).hexdigest()
        files["ro-crate-metadata.json"] = json.dumps(crate).encode()
        names = [name for name in files if name != "checksums.sha256"]
        lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in names]
        files["checksums.sha256"] = "".join(lines).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target


def found(pack: Path) -> list[str]:
    """The problems that are told of a pack, without its own path."""
    lines = bench("verify", pack, code=1).stdout.splitlines()
    assert re.search(r"\d+ problems?$", lines[-1])
    return [line.removeprefix(f"{pack}: ") for line in lines[:-2]]


def named(files: Files, pattern: str) -> str:
    return sorted(name for name in files if re.search(pattern, name))[0]


def sealed(content: dict[str, Any]) -> bytes:
    """A record whose seal is right, whatever it says."""
    content.pop("sha256", None)
    body = json.dumps(content, indent=1).removesuffix("\n}")
    return f'{body},\n "sha256": "{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'.encode()


def test_a_whole_pack_is_computed_again(pack: Path) -> None:
    done = bench("verify", pack).stdout
    sha256 = hashlib.sha256(pack.read_bytes()).hexdigest()
    assert f"study.zip: sha256 {sha256}" in done
    for what in (
        "13 records",
        "3 files left out when packed",
        "3 ensembles",
        "3 splits checked for leaks",
        "2 tables",
    ):
        assert what in done
    assert done.rstrip().endswith("no problem")
    assert int(re.search(r"(\d+) scores", done)[1]) > 50  # type: ignore[index]


def test_verifying_leaves_nothing_behind(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = pack.read_bytes()
    bench("verify", pack)
    assert not list(tmp_path.iterdir())
    assert pack.read_bytes() == before


# --- edited ------------------------------------------------------------------------------------------


def changed_probability(content: bytes) -> bytes:
    """The first test image's probabilities of two classes exchanged: still distributions."""
    table = pq.read_table(io.BytesIO(content))
    row = table["split"].to_pylist().index("test")
    first, second = (table.column(number).to_numpy().copy() for number in (4, 5))
    first[row], second[row] = second[row], first[row]
    for number, values in ((4, first), (5, second)):
        table = table.set_column(number, table.column_names[number], pa.array(values))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def test_a_changed_byte_is_seen(pack: Path, tmp_path: Path) -> None:
    files = files_of(pack)
    name = named(files, r"\.scratch\.r0.*parquet")
    files[name] = changed_probability(files[name])
    problems = found(written(files, tmp_path / "edited.zip", listed=False))
    assert f"{name} is not the file that was packed (its sha256 differs)" in problems
    assert any("was stored" in problem or "were stored" in problem for problem in problems)


def test_predictions_edited_with_every_checksum_still_contradict_tables_and_ensembles(
    pack: Path, tmp_path: Path
) -> None:
    files = files_of(pack)
    name = named(files, r"\.scratch\.r0.*parquet")
    files[name] = changed_probability(files[name])
    record = name.replace("predictions.parquet", "record.json")
    content = json.loads(files[record])
    content["artefacts"]["predictions.parquet"] |= {
        "sha256": hashlib.sha256(files[name]).hexdigest(),
        "bytes": len(files[name]),
    }
    files[record] = sealed(content)
    problems = found(written(files, tmp_path / "edited.zip"))
    assert any(
        "is not what its members give" in each or "are not what its members give" in each for each in problems
    )
    assert any(each.startswith("tables/table.csv: line") and "scratch" in each for each in problems)


def test_a_record_moved_to_another_unit_is_seen(pack: Path, tmp_path: Path) -> None:
    files = files_of(pack)
    name = named(files, r"runs/\S*\.scratch\.r0.*record")
    content = json.loads(files[name])
    content["spec"]["seed"] = 7
    files[name] = sealed(content)
    assert any("not the one it is stored under" in each for each in found(written(files, tmp_path / "e.zip")))


def test_a_record_that_was_edited_is_seen(pack: Path, tmp_path: Path) -> None:
    files = files_of(pack)
    name = named(files, r"runs/\S*\.scratch\.r0.*record")
    files[name] = files[name].replace(b'"rounds": 2', b'"rounds": 3')
    assert any("edited since it was written" in each for each in found(written(files, tmp_path / "e.zip")))


def test_counts_that_are_not_those_of_the_split_are_seen(pack: Path, tmp_path: Path) -> None:
    files = files_of(pack)
    name = named(files, r"runs/\S*\.scratch\.r0.*record")
    content = json.loads(files[name])
    first = next(iter(content["data"]["counts"]["test"].values()))
    first[0] += 40
    files[name] = sealed(content)
    assert any(
        "counts other images than its split" in each for each in found(written(files, tmp_path / "e.zip"))
    )


def test_swapped_predictions_are_seen(pack: Path, tmp_path: Path) -> None:
    files = files_of(pack)
    a, b = named(files, r"\.scratch\.r0.*parquet"), named(files, r"runs/\S*\.egmae\.r0.*parquet")
    files[a], files[b] = files[b], files[a]
    problems = found(written(files, tmp_path / "e.zip"))
    for folder in (a.rpartition("/")[0], b.rpartition("/")[0]):
        assert any(each.startswith(f"{folder}: predictions.parquet") for each in problems)


@pytest.mark.parametrize("table", ["tables/table.csv", "tables/table.md"])
def test_an_edited_table_is_named_with_line_value_and_what_it_should_be(
    pack: Path, tmp_path: Path, table: str
) -> None:
    files = files_of(pack)
    lines = files[table].decode().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if re.search(r'egmae["\s|]', line) and "0." in line)
    digit = re.search(r"0\.\d\d(\d)", lines[at])
    assert digit is not None
    other = str((int(digit[1]) + 1) % 10)
    lines[at] = lines[at][: digit.start(1)] + other + lines[at][digit.end(1) :]
    files[table] = "".join(lines).encode()
    problems = found(written(files, tmp_path / "e.zip"))
    assert len(problems) == 1
    assert problems[0].startswith(f"{table}: line {at + 1}")
    assert digit[0][:-1] + other in problems[0]
    assert digit[0] in problems[0].partition("the results give")[2]


def test_a_table_with_a_row_more_or_less_is_seen(pack: Path, tmp_path: Path) -> None:
    files = files_of(pack)
    lines = files["tables/table.csv"].decode().splitlines(keepends=True)
    files["tables/table.csv"] = "".join([lines[0], lines[1].replace("egmae", "magic"), *lines[2:]]).encode()
    problems = found(written(files, tmp_path / "e.zip"))
    assert any("has the row phantom / test_convnext / magic" in each for each in problems)
    assert any("lacks the row phantom / test_convnext / egmae" in each for each in problems)


def test_a_pack_without_its_tables_is_none(pack: Path, tmp_path: Path) -> None:
    files = files_of(pack)
    del files["tables/table.csv"]
    problems = found(written(files, tmp_path / "e.zip", listed=False))
    assert any("tables/table.csv is listed, and not there" in each for each in problems)


def test_a_crate_whose_listing_lies_is_seen(pack: Path, tmp_path: Path) -> None:
    files = files_of(pack)
    crate = files["ro-crate-metadata.json"].decode()
    sha256 = hashlib.sha256(files["environment.json"]).hexdigest()
    files["ro-crate-metadata.json"] = crate.replace(sha256, "0" * 64).encode()
    problems = found(written(files, tmp_path / "e.zip", listed=False))
    assert "ro-crate-metadata.json gives another sha256 of environment.json" in problems
    assert any("ro-crate-metadata.json is not the file that was packed" in each for each in problems)


def test_what_no_list_names_is_seen(pack: Path, tmp_path: Path) -> None:
    files = files_of(pack)
    files["results/runs/phantom/extra.txt"] = b"more"
    problems = found(written(files, tmp_path / "e.zip", listed=False))
    assert "results/runs/phantom/extra.txt is not in checksums.sha256" in problems
    assert "results/runs/phantom/extra.txt is not in ro-crate-metadata.json" in problems


def test_a_split_with_a_group_on_two_sides_is_seen(tmp_path: Path) -> None:
    make_results(tmp_path / "results", rounds=1, leaking=True)
    bench("pack", "--results", tmp_path / "results", "-o", tmp_path / "leak.zip")
    problems = found(tmp_path / "leak.zip")
    assert len(problems) == 1
    assert "has 1 groups on more than one side, and states nothing" in problems[0]


def test_kept_scores_cannot_be_smuggled_in(pack: Path, tmp_path: Path) -> None:
    files = files_of(pack) | {"results/.scratch/scores/scores.sqlite": b"SQLite format 3\0"}
    assert "hidden" in refused("verify", written(files, tmp_path / "e.zip"))


# --- hostile -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../evil.txt", "results/../../evil.txt", "/tmp/evil.txt", "..\\evil.txt", "C:\\evil.txt"]
)
def test_a_path_that_leads_out_is_refused(pack: Path, tmp_path: Path, name: str) -> None:
    target = written(files_of(pack) | {name: b"evil"}, tmp_path / "e.zip")
    assert "out of" in refused("verify", target) or "outside" in refused("verify", target)
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("name", ["../../../../README.md", "..\\..\\..\\..\\README.md", "/README.md", "a\0b"])
def test_a_record_that_names_a_file_elsewhere_is_refused(pack: Path, tmp_path: Path, name: str) -> None:
    """Merged, it would be copied as far out of the results folder as it lies out of the unit in the pack."""
    files = files_of(pack)
    record = named(files, r"runs/\S*\.scratch\.r0.*record")
    content = json.loads(files[record])
    readme = files["README.md"]
    content["artefacts"][name] = {"sha256": hashlib.sha256(readme).hexdigest(), "bytes": len(readme)}
    files[record] = sealed(content)
    target = written(files, tmp_path / "e.zip")
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    said = bench("merge", target, "--into", tmp_path / "union", code=1).stdout
    assert "does not lie beside it" in said
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(("place", "bits"), [(6, 99), (9, 8)])
def test_a_directory_of_a_zip_that_cannot_be_read_is_one_error(
    pack: Path, tmp_path: Path, place: int, bits: int
) -> None:
    """Of a version to come; with a name in UTF-8 that is none."""
    content = bytearray(pack.read_bytes())
    entry = content.rfind(b"PK\x01\x02")
    content[entry + place] |= bits
    content[entry + 46] = 0xFF
    (tmp_path / "e.zip").write_bytes(content)
    assert "is no zip that can be read" in refused("verify", tmp_path / "e.zip")


def test_a_table_that_is_no_csv_is_a_problem(pack: Path, tmp_path: Path) -> None:
    files = files_of(pack)
    files["tables/table.csv"] += b"x" * 200_000
    assert any("is no CSV" in problem for problem in found(written(files, tmp_path / "e.zip")))


def test_an_unpacked_pack_is_not_taken_for_results_without_a_problem(pack: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(pack, tmp_path / "there")
    assert "is an unpacked pack; give the zip" in refused("verify", tmp_path / "there")


def test_a_link_is_refused(pack: Path, tmp_path: Path) -> None:
    target = written(files_of(pack), tmp_path / "e.zip")
    with zipfile.ZipFile(target, "a") as archive:
        info = zipfile.ZipInfo("results/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert "a link or a device" in refused("verify", target)


def test_a_bomb_is_refused(pack: Path, tmp_path: Path) -> None:
    target = written(files_of(pack), tmp_path / "e.zip")
    with (
        zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("results/big", "w") as file,
    ):
        for _ in range(300):
            file.write(bytes(1 << 20))
    assert "unpack to more than" in refused("verify", target)


def test_a_name_that_comes_twice_is_refused(pack: Path, tmp_path: Path) -> None:
    target = written(files_of(pack), tmp_path / "e.zip")
    with zipfile.ZipFile(target, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("environment.json", "{}")
    assert "environment.json twice" in refused("verify", target)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: b"no zip at all", "is no zip"),
        (lambda content: content[: len(content) // 2], "is no zip"),
        (lambda content: b"", "is no zip"),
    ],
)
def test_what_is_no_zip_is_one_error(
    pack: Path, tmp_path: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    (tmp_path / "e.zip").write_bytes(damage(pack.read_bytes()))
    assert said in refused("verify", tmp_path / "e.zip")


def test_a_flipped_bit_in_the_zip_is_seen(pack: Path, tmp_path: Path) -> None:
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 16
    (tmp_path / "e.zip").write_bytes(content)
    done = bench("verify", tmp_path / "e.zip", code=1)
    assert "no problem" not in done.output


def test_another_zip_is_no_pack(tmp_path: Path) -> None:
    assert "is no pack of bench" in refused(
        "verify", written({"a.txt": b"a"}, tmp_path / "e.zip", listed=False)
    )
    assert "no such file" in refused("verify", tmp_path / "nowhere.zip")


def test_an_ensemble_whose_plugin_is_not_here_is_said_and_no_problem(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench import registry
    from bench.errors import UnknownName

    real = registry.Components.get

    def get(self: Any, name: str) -> Any:
        if name == "mean":
            raise UnknownName("ensemble", name, [])
        return real(self, name)

    monkeypatch.setattr(registry.Components, "get", get)
    done = bench("verify", pack).stdout
    assert done.count("cannot be combined again") == 3
    assert "no problem" in done


def test_results_merged_from_a_pack_are_whole(pack: Path, tmp_path: Path) -> None:
    """A results folder in which encoders were left out is verified like any other."""
    shutil.unpack_archive(pack, tmp_path / "there")
    done = bench("verify", tmp_path / "there" / "results", "--recompute").stdout
    assert "3 files left out when packed" in done
    marker = next((tmp_path / "there").rglob("*.left-out"))
    marker.unlink()
    assert "encoder.safetensors is missing" in bench("verify", tmp_path / "there" / "results", code=1).stdout
