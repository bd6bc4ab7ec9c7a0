"""Classes, groups, sources and external tests of a data set, from the command line to the table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from samples import data_of, predictions, record_of, run_spec
from test_cli import PROTOCOL, environment
from typer.testing import CliRunner

from bench import Study
from bench.cli import app
from bench.comparison.again import command_of
from bench.comparison.tables import tables_of
from bench.data.splits.manifest import read_manifest
from bench.errors import BenchError, ConfigError
from bench.execution.session import Session
from bench.identity import Ref
from bench.interfaces.executor import Environment
from bench.registry import installed
from bench.results import store
from bench.results.record import Record

DATASETS = installed().datasets


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("BENCH_DATA", "BENCH_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tiny.toml").write_text(PROTOCOL)

    def run(*arguments: str, refused: bool = False) -> str:
        """What it shows, or the one line of its error."""
        done = CliRunner().invoke(app, list(arguments), env=environment(COLUMNS="200"))
        assert isinstance(done.exception, BenchError) if refused else done.exit_code == 0, done
        return str(done.exception) if refused else done.output

    return run


def images(root: Path, counts: Mapping[str, int], seed: int = 0) -> Path:
    """Class folders of images that nobody would take for one another."""
    random = np.random.default_rng(seed)
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for i in range(count):
            pixels = random.integers(0, 256, (40, 44), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{i}.png")
    return root


def table_of_sources(root: Path, count: int = 12) -> Path:
    """A csv of images of three sources, of which the last two images say none."""
    images(root, {"a": count, "b": count})
    rows = [f"{label}/{i}.png,{label},{'xyz'[i % 3]}" for label in "ab" for i in range(count)]
    rows[-2:] = [row.rpartition(",")[0] + "," for row in rows[-2:]]
    path = root / "labels.csv"
    path.write_text("path,label,source\n" + "\n".join(rows) + "\n")
    return path


def manifest(folder: Path, round_: int = 0) -> dict[str, Any]:
    """The manifest of the split that was frozen last."""
    paths = sorted(
        folder.glob(f"results/splits/*/r{round_}.*.json"), key=lambda path: path.stat().st_mtime_ns
    )
    content: dict[str, Any] = json.loads(paths[-1].read_text())
    return content


def parts(content: Mapping[str, Any]) -> dict[str, str]:
    return {id_: part for id_, _, _, _, part in content["images"]}


def groups(content: Mapping[str, Any]) -> dict[str, str]:
    return {id_: group for id_, _, _, group, _ in content["images"]}


def ref_of(**params: Any) -> Ref:
    return DATASETS.ref("phantom", params)


# --- identity ----------------------------------------------------------------------------------------


def test_defaults_leave_a_reference_as_it_was_and_paths_are_in_no_key() -> None:
    plain = Ref("phantom")
    assert ref_of() == ref_of(classes="", merge="", groups="", group_by="group", test_on="") == plain
    assert ref_of(groups="seen.csv").params == {}
    assert ref_of(groups="seen.csv").local == {"groups": "seen.csv"}
    assert DATASETS.ref("phantom", {"test_on": "folder:/elsewhere"}).params == {"test_on": "folder"}


def test_one_selection_has_one_identity_however_it_is_written() -> None:
    assert (
        ref_of(classes="smooth, irregular").params
        == ref_of(classes=["smooth", "irregular"]).params
        == {"classes": ["smooth", "irregular"]}
    )
    assert ref_of(merge="smooth=a;irregular=b").params == ref_of(merge=["smooth=a", "irregular=b"]).params
    nested = ref_of(test_on={"name": "phantom", "seed": 1, "patients": 132})
    assert nested.params == {"test_on": {"name": "phantom", "seed": 1}}
    external = DATASETS.external(nested)
    assert external is not None
    assert external.dataset == Ref("phantom", {"seed": 1})


def test_parameters_of_the_external_test_set_are_set_as_its_own() -> None:
    values = {
        "dataset.phantom.test_on": "folder:/b",
        "dataset.folder.group": "(p)",
        "dataset.folder.groups": "g",
    }
    (ref,) = Study.from_names("phantom", "scratch", values=values).datasets
    assert ref.params == {"test_on": {"name": "folder", "group": "(p)"}}
    external = DATASETS.external(ref)
    assert external is not None
    assert external.dataset == DATASETS.ref("folder", {"group": "(p)", "groups": "g"})
    assert external.root == Path("/b")
    both = {
        "dataset.phantom.test_on": "folder",
        "dataset.folder.test_on": "phantom",
        "dataset.folder.group": "(p)",
    }
    one, other = Study.from_names("phantom,folder", "scratch", values=both).datasets
    assert one.params == {"test_on": {"name": "folder", "group": "(p)"}}
    assert other.params == {"group": "(p)", "test_on": "phantom"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"dataset.phantom.test_on": "phantom"},
            "dataset.phantom.test_on: phantom cannot be tested on itself; name another data set, or another "
            'copy as "phantom:PATH"',
        ),
        (
            {"dataset.phantom.test_on": "fantom"},
            "dataset.phantom.test_on: unknown dataset 'fantom'; did you mean phantom?",
        ),
        (
            {"dataset.phantom.test_on": {"seed": 2}},
            'dataset.phantom.test_on: must be "NAME", "NAME:PATH", or a table {name = "NAME", KEY = VALUE}',
        ),
        (
            {"dataset.phantom.test_on": {"name": "folder", "test_source": "x"}},
            "dataset.phantom.test_on.test_source: all images of folder are the test part; leave it out",
        ),
        (
            {"dataset.phantom.test_on": "folder", "dataset.folder.test_source": "x"},
            "dataset.folder.test_source: folder is what phantom is tested on, and nothing else in this "
            "study; leave it out",
        ),
        (
            {"dataset.phantom.test_on": "folder", "dataset.phantom.test_source": "x"},
            "dataset.phantom: test_on and test_source both say what is tested on; give one of them",
        ),
        (
            {"dataset.folder.classes": "a,b"},
            "dataset.folder: parameters for a dataset that this study does not name",
        ),
        ({"dataset.phantom.clases": "a"}, "dataset.phantom.clases: no such key; did you mean classes?"),
        (
            {"dataset.phantom.group_by": "site"},
            "dataset.phantom.group_by = 'site': must be 'group' or 'source'",
        ),
    ],
)
def test_values_that_cannot_be_meant(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Study.from_names("phantom", "scratch", values=values)
    assert str(error.value) == message


def test_a_parameter_of_the_data_sets_own_goes_first() -> None:
    import dataclasses

    from bench.registry import Entry

    @dataclasses.dataclass(frozen=True)
    class Params:
        """Own.

        Attributes:
            merge: a number.
        """

        merge: int = 0

    entry = DATASETS.entries["phantom"]
    own = Entry(dataclasses.replace(entry.component, name="own", params=Params), entry.plugin)
    datasets = dataclasses.replace(DATASETS, entries={**DATASETS.entries, "own": own})
    ref = datasets.ref("own", {"merge": 3, "classes": "a,b"})
    assert ref.params == {"merge": 3, "classes": ["a", "b"]}
    assert datasets.params(ref) == Params(merge=3)
    assert (datasets.selection(ref).merge, datasets.selection(ref).classes) == ((), ("a", "b"))


# --- commands that list a data set -------------------------------------------------------------------


def test_show_says_what_every_data_set_takes(bench: Any) -> None:
    for name in ("phantom", "isic2018", "folder"):
        shown = bench("show", name)
        for key in ("classes", "merge", "groups", "group_by", "test_source", "test_on"):
            assert f"dataset.{name}.{key} " in shown


def test_verify_counts_what_is_selected(bench: Any) -> None:
    set_ = ["--set", "dataset.phantom.merge=*=lesion", "--set", "dataset.phantom.classes=lesion,no_lesion"]
    shown = bench("data", "verify", "phantom", *set_)
    lines = [line.split() for line in shown.splitlines()]
    start = lines.index(["class", "images", "expected"])
    assert lines[start + 1 : start + 4] == [
        ["lesion", "269", "269"],
        ["no_lesion", "61", "61"],
        ["all", "330", "330"],
    ]
    assert "note: class lesion stands for smooth, irregular" in shown
    assert "phantom is whole: 330 images" in shown
    shown = bench("data", "verify", "phantom", "--set", "dataset.phantom.classes=smooth,benign", refused=True)
    assert "dataset.phantom.classes: no class benign; classes: no_lesion, smooth, irregular" in shown


def test_a_reviewed_file_changes_the_manifest_and_its_hash_by_what_it_decides(
    bench: Any, tmp_path: Path
) -> None:
    data = images(tmp_path / "data", {"a": 12, "b": 12})

    def split(text: str) -> dict[str, Any]:
        (tmp_path / "seen.csv").write_text(text)
        bench(
            "data",
            "split",
            "folder",
            "--data",
            str(data),
            "--rounds",
            "1",
            "--set",
            "dataset.folder.groups=seen.csv",
        )
        return manifest(tmp_path)

    bench("data", "split", "folder", "--data", str(data), "--rounds", "1")
    plain = manifest(tmp_path)
    together = ["a/0.png", "a/1.png", "a/2.png", "a/3.png", "b/0.png"]
    first = split("id,group,exclude\n" + "".join(f"{id_},one,\n" for id_ in together) + "b/5.png,,yes\n")
    assert {groups(first)[id_] for id_ in together} == {"one"}
    assert len({parts(first)[id_] for id_ in together}) == 1
    assert set(parts(plain)) - set(parts(first)) == {"b/5.png"}
    assert first["hash"] != plain["hash"]
    lines = [f"{id_},one,no,,looked at\n" for id_ in reversed(together)]
    again = split("id,group,exclude,phash,reason\nb/5.png,,true,,\n" + "".join(lines))
    assert again["hash"] == first["hash"]
    other = split("id,group\n" + "".join(f"{id_},one\n" for id_ in together[1:]))
    assert other["hash"] not in (first["hash"], plain["hash"])


def test_broken_reviewed_files_are_one_line(bench: Any, tmp_path: Path) -> None:
    command = ["data", "audit", "phantom", "--set"]
    shown = bench(*command, "dataset.phantom.groups=no.csv", refused=True)
    assert "dataset.phantom.groups = no.csv: no such file; name a reviewed csv file, or none" in shown
    (tmp_path / "seen.csv").write_text("id,group\nsmooth/p0001-9,x\n")
    shown = bench(*command, "dataset.phantom.groups=seen.csv", refused=True)
    assert "seen.csv: 1 of its 1 ids are no images of phantom: smooth/p0001-9; its ids are like" in shown


def test_the_file_that_comes_with_a_data_set_is_used_unless_told_otherwise(tmp_path: Path) -> None:
    import dataclasses

    from bench.registry import Entry

    file, other = tmp_path / "shipped.csv", tmp_path / "other.csv"
    file.write_text("id,group\nirregular/p0100-0,x\nsmooth/p0030-0,x\n")
    other.write_text("id,group,exclude\nirregular/p0100-0,,yes\n")
    entry = DATASETS.entries["phantom"]
    shipped = Entry(dataclasses.replace(entry.component, reviewed=file), entry.plugin)
    datasets = dataclasses.replace(DATASETS, entries={**DATASETS.entries, "phantom": shipped})
    registry = dataclasses.replace(installed(), datasets=datasets)
    session = Session(Environment(data=tmp_path, results=tmp_path / "results"), registry)

    def opened(**params: Any) -> tuple[list[str], set[str]]:
        seen = session.images(datasets.ref("phantom", params), (32,))
        wanted = {"irregular/p0100-0", "smooth/p0030-0"}
        pairs = zip(seen.ids, seen.groups, strict=True)
        return [each.name for each in seen.reviewed], {group for id_, group in pairs if id_ in wanted}

    assert opened() == (["shipped.csv"], {"x"})
    assert opened(groups="none") == ([], {"p0100", "p0030"})
    assert opened(groups=str(other)) == (["other.csv"], {"p0030"})
    whole = session.images(datasets.ref("phantom", {"groups": "none"}), (32,))
    joined = session.images(datasets.ref("phantom", {}), (32,))
    both = {g for g in whole.groups if g in ("p0100", "p0030")}
    pairs = zip(joined.ids, joined.groups, strict=True)
    assert {g for id_, g in pairs if id_.partition("/")[2][:5] in both} == {"x"}, "whole patients are joined"


def test_a_record_keeps_what_was_changed_and_the_reviewed_file(tmp_path: Path) -> None:
    changed = data_of(changes=("class x stands for a, b",), reviewed={"seen.csv": "f" * 64})
    plain, other = record_of(run_spec()), record_of(run_spec(round_=1), data=changed)
    paths = [
        store.write(tmp_path, each, predictions={"val": predictions(), "test": predictions()})
        for each in (plain, other)
    ]
    data = [json.loads((path / "record.json").read_text())["data"] for path in paths]
    assert not {"changes", "reviewed"} & set(data[0])
    assert (data[1]["changes"], data[1]["reviewed"]) == (["class x stands for a, b"], changed.reviewed)
    assert [store.read(tmp_path, each.spec).data for each in (plain, other)] == [plain.data, changed]


# --- studies -----------------------------------------------------------------------------------------


def records(folder: Path) -> list[Record]:
    return [r for r in store.scan(folder / "results")[0] if r.kind == "run"]


def run(bench: Any, *arguments: str) -> None:
    common = ["-s", "scratch", "-p", "tiny.toml", "--device", "cpu", "--threads", "1", "--in-process"]
    bench("run", *common, *arguments)


def test_one_source_is_left_out_of_training_and_tested_on(bench: Any, tmp_path: Path) -> None:
    path = table_of_sources(tmp_path / "data")
    run(bench, "-d", "folder", "--data", str(path), "--set", "dataset.folder.test_source=y")
    content = parts(manifest(tmp_path))
    source = {f"{label}/{i}.png": "xyz"[i % 3] for label in "ab" for i in range(12)}
    assert {id_ for id_, part in content.items() if part == "test"} == {
        i for i, s in source.items() if s == "y"
    } - {"b/10.png"}
    assert set(content) == set(source) - {"b/10.png", "b/11.png"}, "of unknown source"
    assert {content[id_] for id_ in content if source[id_] != "y"} == {"train", "val"}
    (record,) = records(tmp_path)
    assert record.data
    assert record.data.fixed
    assert record.data.title == "folder, tested on source y"
    (table,) = tables_of([record], tmp_path / "results").tables
    assert table.title == "folder, tested on source y"
    assert any("left out: 2 images whose source is not known" in line for line in table.footer)
    shown = bench("subgroups", "--by", "source", "--data", str(path), refused=True)
    assert "all 7 test images are of one subgroup (y)" in shown
    text = " ".join(bench("methods-text").split())
    assert "Models were tested on source y, with all of its images, and trained on the other sources" in text
    assert "left out: 2 images whose source is not known" in text


def test_sources_stay_whole_where_a_study_groups_by_them(bench: Any, tmp_path: Path) -> None:
    path = table_of_sources(tmp_path / "data")
    bench(
        "data",
        "split",
        "folder",
        "--data",
        str(path),
        "--rounds",
        "3",
        "--set",
        "dataset.folder.group_by=source",
    )
    for round_ in range(3):
        content = manifest(tmp_path, round_)
        where: dict[str, set[str]] = {}
        for id_, part in parts(content).items():
            where.setdefault(groups(content)[id_], set()).add(part)
        assert {group for group in where if group.startswith("source ")} == {f"source {s}" for s in "xyz"}
        assert all(len(sides) == 1 for sides in where.values())


def test_a_study_is_tested_on_another_data_set(bench: Any, tmp_path: Path) -> None:
    site = images(tmp_path / "site", {"normal": 6, "lesion": 8, "other": 3})
    set_ = [
        *("--set", "dataset.phantom.patients=30"),
        *("--set", f"dataset.phantom.test_on=folder:{site}"),
        *("--set", "dataset.phantom.merge=no_lesion=normal;smooth+irregular=lesion"),
        *("--set", "dataset.phantom.classes=normal,lesion"),
    ]
    run(bench, "-d", "phantom", *set_)
    content = manifest(tmp_path)
    assert content["classes"] == ["normal", "lesion"]
    tested = {id_ for id_, part in parts(content).items() if part == "test"}
    assert tested == {
        f"folder/{label}/{i}.png" for label, n in (("normal", 6), ("lesion", 8)) for i in range(n)
    }
    assert {part for id_, part in parts(content).items() if id_ not in tested} == {"train", "val"}
    (record,) = records(tmp_path)
    assert record.data
    assert record.data.title == "phantom, tested on folder"
    assert record.spec.dataset.params["test_on"] == "folder"
    for shown in (
        bench("table"),
        bench("table", "--format", "csv"),
        bench("methods-text"),
    ):
        shown = " ".join(shown.split())
        assert "tested on folder" in shown
        assert "external test: all images of folder, which is another data set, and no other image" in shown
    assert "Images for the external test came from the data set folder" in shown


def test_subgroups_find_files_whose_place_no_result_keeps(bench: Any, tmp_path: Path) -> None:
    site = images(tmp_path / "site", {"no_lesion": 3, "smooth": 3, "irregular": 3})
    for path in sorted(site.glob("*/0.png")):
        Image.open(path).resize((90, 80)).save(path)
    common = ["--set", "dataset.phantom.patients=30", "--set"]
    run(bench, "-d", "phantom", *common, f"dataset.phantom.test_on=folder:{site}")
    by_size = ["subgroups", "--by", "size", "--data", str(tmp_path)]
    assert "folder: " in bench(*by_size, refused=True)
    shown = bench(*by_size, "--set", f"dataset.phantom.test_on=folder:{site}")
    assert "phantom, tested on folder" in shown
    assert "large" in shown
    shown = bench(*by_size, "--set", "dataset.phantom.patients=40", refused=True)
    assert shown == (
        "--set: these results are of phantom with {'patients': 30, 'test_on': 'folder'}, not with "
        "{'patients': 40, 'test_on': 'folder'}; only where its files lie can be set here"
    )


def test_the_command_that_makes_an_external_test_again_is_one(bench: Any, tmp_path: Path) -> None:
    set_ = ["--set", "dataset.phantom.patients=30", "--set"]
    run(bench, "-d", "phantom", *set_, 'dataset.phantom.test_on={name="phantom",seed=5,patients=24}')
    (record,) = records(tmp_path)
    text, same = command_of(record, 1, installed())
    assert same
    assert """'dataset.phantom.test_on={"name" = "phantom", "patients" = 24, "seed" = 5}'""" in text
    import shlex

    from bench.study.config import parse_assignment

    values = [word for word in shlex.split(text) if word.startswith("dataset.phantom.test_on=")]
    assert parse_assignment(values[0]).value == record.spec.dataset.params["test_on"]


def test_an_external_test_set_of_other_classes_is_refused(bench: Any, tmp_path: Path) -> None:
    site = images(tmp_path / "site", {"normal": 6, "lesion": 8})
    shown = bench("data", "split", "phantom", "--set", f"dataset.phantom.test_on=folder:{site}", refused=True)
    assert (
        "dataset.phantom.test_on: phantom has the classes no_lesion, smooth, irregular, folder has "
        "lesion, normal; they must be the same: set dataset.phantom.classes to those that both have, or "
        'rename or join some with dataset.phantom.merge ("NAME=OTHER")'
    ) in " ".join(shown.split())


def test_a_picture_on_both_sides_of_an_external_test_is_found(bench: Any, tmp_path: Path) -> None:
    one = images(tmp_path / "one", {"a": 8, "b": 8})
    other = images(tmp_path / "other", {"a": 6, "b": 6}, seed=1)
    (other / "a" / "5.png").write_bytes((one / "a" / "5.png").read_bytes())
    set_ = ["--set", f"dataset.folder.test_on=folder:{other}"]
    bench("data", "split", "folder", "--data", str(one), "--rounds", "1", *set_)
    (path,) = tmp_path.glob("results/splits/folder/*.json")
    verdict = read_manifest(path).verdict
    assert verdict
    assert verdict.leaks
    assert "= folder/a/5.png (test)" in verdict.examples[0]


def test_fewer_than_two_classes_are_refused(bench: Any) -> None:
    shown = bench("data", "split", "phantom", "--set", "dataset.phantom.merge=*=x", refused=True)
    assert "dataset.phantom: merge and classes leave x alone; two are needed" in shown
