"""Tables: what shares one, what shares a row, what is said about both, and how it is rendered."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from samples import data_of, failure_of, mean_of, record_of, run_spec, store_run
from typer.testing import CliRunner

from bench.cli import app
from bench.comparison.build import Shown, build
from bench.comparison.reported import ReportedRow
from bench.comparison.scored import ScoredUnit
from bench.comparison.tables import tables_of
from bench.data.audit.verdict import Verdict
from bench.data.splits.split import PartCount
from bench.errors import UnknownName
from bench.identity import Ref
from bench.interfaces.reporter import Table
from bench.interfaces.rows import Column
from bench.results import store
from bench.results.record import Cost, Counts, Provenance
from bench.study.protocol import AuditSettings, Finetuning
from bench_standard import reporters

ACCURACY = Column(name="accuracy", title="Accuracy", higher_is_better=True)
LOSS = Column(name="log_loss", title="Log loss", higher_is_better=False)
COLUMNS = [ACCURACY, LOSS]


def scored(spec: Any, accuracy: float = 0.5, **changes: Any) -> ScoredUnit:
    """A finished unit; `changes` are fields of its data, its notes, cost or device, or its scores."""
    scores = changes.pop("scores", {"accuracy": accuracy, "log_loss": 1 - accuracy})
    about: dict[str, Any] = {name: changes.pop(name) for name in ("notes", "cost") if name in changes}
    if "device" in changes:
        about["provenance"] = Provenance(hardware={"device": changes.pop("device")})
    if "hardware" in changes:
        about["provenance"] = Provenance(hardware=changes.pop("hardware"))
    data = data_of(**{"title": "BUSI", "content": "c0ffee", "counts": {}, "settings": None, **changes})
    cost = Cost(macs=2_000_000_000, params=3_000_000)
    return ScoredUnit(record=record_of(spec, **{"data": data, "cost": cost, **about}), scores=scores)


def failed(spec: Any, reason: str = "out of luck") -> ScoredUnit:
    return ScoredUnit(record=failure_of(spec, reason))


def only(tables: list[Table]) -> Table:
    [table] = tables
    return table


def test_mean_and_sample_deviation_over_rounds() -> None:
    table = only(build([scored(run_spec(round_=r), a) for r, a in enumerate([0.5, 0.7])], COLUMNS))
    [row] = table.rows
    assert (row.rounds_done, row.rounds_asked, row.kind) == (2, 2, "run")
    assert row.values["accuracy"].mean == pytest.approx(0.6)
    assert row.values["accuracy"].spread == pytest.approx(math.sqrt(0.02))
    assert (row.gmacs, row.mparams) == (2, 3)


def test_one_round_has_no_deviation() -> None:
    [row] = only(build([scored(run_spec())], COLUMNS)).rows
    assert (row.rounds_done, row.rounds_asked, row.values["accuracy"].spread) == (1, 2, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 64},
        {"precision": "fp32"},
        {"seed": 1},
        {"finetune": Finetuning(epochs=30)},
        {"dataset": Ref("isic")},
    ],
)
def test_other_protocols_get_other_tables(changes: dict[str, Any]) -> None:
    tables = build([scored(run_spec()), scored(run_spec("scratch", **changes))], COLUMNS)
    assert [len(table.rows) for table in tables] == [1, 1]
    assert len({(table.title, table.protocol) for table in tables}) == 2 or "dataset" in changes


@pytest.mark.parametrize("changes", [{"content": "other"}, {"settings": {"method": "kfold"}}])
def test_other_images_or_splits_get_other_tables(changes: dict[str, Any]) -> None:
    tables = build([scored(run_spec()), scored(run_spec("scratch"), **changes)], COLUMNS)
    assert [len(table.rows) for table in tables] == [1, 1]
    assert len({table.protocol for table in tables}) == 2


def test_two_splits_of_one_round_are_never_averaged() -> None:
    units = [scored(run_spec()), scored(run_spec(split="redrawn")), scored(run_spec(round_=1))]
    tables = build(units, COLUMNS)
    assert [[row.rounds_done for row in table.rows] for table in tables] == [[1], [1], [1]]
    assert len({table.protocol for table in tables}) == 3


def test_rows_of_one_name_are_told_apart() -> None:
    specs = [
        run_spec("egmae", epochs=100),
        run_spec("egmae", epochs=500),
        run_spec("egmae", epochs=100, params={"patch": 32}),
        run_spec("imagenet"),
    ]
    table = only(build([scored(spec) for spec in specs], COLUMNS))
    assert {row.method for row in table.rows} == {
        "egmae 100 epochs",
        "egmae 500 epochs",
        "egmae patch=32 100 epochs",
        "imagenet",
    }


def test_a_revision_makes_another_row() -> None:
    specs = [run_spec("egmae"), run_spec(Ref("egmae", {}, 2))]
    methods = [row.method for row in only(build([scored(s) for s in specs], COLUMNS)).rows]
    assert methods == ["egmae revision=1", "egmae revision=2"]


def test_values_that_are_cut_short_still_tell_rows_apart() -> None:
    specs = [run_spec("x", params={"words": "w" * 60 + end}) for end in "ab"]
    assert len({row.method for row in only(build([scored(s) for s in specs], COLUMNS)).rows}) == 2


def test_ensembles_follow_their_members() -> None:
    units = []
    for r in range(2):
        a, b = run_spec("egmae", r, epochs=100), run_spec("imagenet", r)
        c = run_spec("egmae", r, epochs=500)
        units += [scored(s) for s in (a, b, c)]
        units += [scored(mean_of(a, b), cost=None), scored(mean_of(c, b), cost=None)]
    rows = only(build(units, COLUMNS)).rows
    assert [(row.kind, row.method) for row in rows[3:]] == [
        ("ensemble", "mean(egmae 100 epochs + imagenet)"),
        ("ensemble", "mean(egmae 500 epochs + imagenet)"),
    ]
    assert [(row.rounds_done, row.gmacs, row.mparams) for row in rows[3:]] == [(2, 4, 6)] * 2


def test_an_ensemble_of_models_names_them() -> None:
    a, b = run_spec("imagenet", model="net_a"), run_spec("imagenet", model="net_b")
    rows = only(build([scored(s) for s in (a, b, mean_of(a, b))], COLUMNS)).rows
    assert (rows[2].model, rows[2].method) == ("net_a+net_b", "mean(net_a.imagenet + net_b.imagenet)")


def test_failed_rounds_show_their_cause() -> None:
    units = [scored(run_spec()), failed(run_spec(round_=1))]
    table = only(build(units, COLUMNS))
    [row] = table.rows
    assert (row.rounds_done, row.rounds_asked) == (1, 2)
    assert row.note == "round 1 failed: out of luck"


def test_a_failed_pretraining_is_the_cause_of_its_missing_run() -> None:
    spec = run_spec("egmae", 1, epochs=9)
    units = [scored(run_spec("egmae", 0, epochs=9)), scored(run_spec("imagenet")), failed(spec.start)]
    rows = {row.method: row for row in only(build(units, COLUMNS)).rows}
    assert rows["egmae"].rounds_done == 1
    assert rows["egmae"].note == "round 1 pretraining failed: out of luck"
    alone = only(build([failed(spec.start)], COLUMNS))
    assert alone.rows[0].rounds_done == 0


def test_a_failure_since_made_good_is_forgotten() -> None:
    [row] = only(build([failed(run_spec()), scored(run_spec()), failed(run_spec())], COLUMNS)).rows
    assert (row.rounds_done, row.note) == (1, "")


def test_of_two_copies_of_a_finished_unit_the_first_counts() -> None:
    [row] = only(build([scored(run_spec(), 0.5), scored(run_spec(), 0.9)], COLUMNS)).rows
    assert row.values["accuracy"].mean == 0.5


def test_a_finished_pretraining_is_neither_a_row_nor_a_round() -> None:
    spec = run_spec(epochs=4)
    assert spec.start
    pretrained = scored(spec.start, scores={})
    assert not build([pretrained], COLUMNS)
    [row] = only(build([pretrained, scored(spec)], COLUMNS)).rows
    assert (row.kind, row.rounds_done, row.rounds_asked, row.note) == ("run", 1, 2, "")


def test_an_ensemble_costs_what_its_members_cost_if_that_is_known() -> None:
    members = run_spec("egmae"), run_spec("imagenet")
    for cost, expected in ((Cost(macs=1_000_000_000, params=500_000), (3, 3.5)), (Cost(), (None, None))):
        units = [scored(members[0]), scored(members[1], cost=cost), scored(mean_of(*members), cost=None)]
        *_, row = only(build(units, COLUMNS)).rows
        assert row.kind == "ensemble"
        assert (row.gmacs, row.mparams) == expected


def test_undefined_rounds_are_left_out_of_the_mean_and_said() -> None:
    units = [
        scored(run_spec(), 0.5),
        scored(run_spec(round_=1), scores={"accuracy": math.nan, "log_loss": 0.2}),
    ]
    [row] = only(build(units, COLUMNS)).rows
    assert row.values["accuracy"].mean == 0.5
    assert row.note == "Accuracy is not defined in 1 of 2 rounds"


COUNTS = {"train": {"a": [8, 8]}, "val": {"a": [2, 2]}, "test": {"a": [5, 4]}}
PASSED = Verdict(
    audit="abcdef0123456789",
    settings=AuditSettings(),
    leaking_clusters=0,
    leaking_groups=0,
    leaked=0,
    label_conflicts=0,
    kept_out=0,
)


def footer_of(*audits: Verdict | None) -> str:
    """The footer of a table whose rounds have these audits."""
    units = [scored(run_spec(round_=r), counts=counts_of(COUNTS), audit=a) for r, a in enumerate(audits)]
    return "\n".join(only(build(units, COLUMNS)).footer)


def counts_of(counts: dict[str, dict[str, list[int]]]) -> Counts:
    return {part: {name: PartCount(*n) for name, n in by.items()} for part, by in counts.items()}


def test_the_footer_names_the_audit_its_split_passed() -> None:
    said = footer_of(PASSED, PASSED)
    old = "perceptual hash within 10 bits, detail 0.55 alike after a shift"
    assert f"Audit abcdef01 ({old}): no duplicates and no group found on two sides." in said
    assert "LEAKS" not in said


def test_the_footer_says_what_was_found_and_how_it_was_searched() -> None:
    """Never that there is none: only what was looked for, and what is not known."""
    new = replace(PASSED, revision=2, pairs=225, published=False, suspects=6, suspects_apart=1)
    said = footer_of(new, replace(new, suspects_apart=4))
    assert (
        "Audit abcdef01 (perceptual hashes within 10 bits, keypoints; detail 0.55 alike after a shift or an "
        "affine map): 225 pairs of duplicates found, none on two sides; patients and lesions are not "
        "published; 6 suspected pairs, up to 4 of them on two sides, for a person to decide." in said
    )
    known = replace(PASSED, revision=2, pairs=1, groups=12)
    assert "1 pair of duplicates found, 12 groups of several images known, none on two sides." in footer_of(
        known
    )
    none = replace(PASSED, revision=2, pairs=0, published=False)
    assert "no duplicates found; patients and lesions are not published." in footer_of(none)
    hashes_alone = replace(PASSED.settings, keypoints=False)
    assert "keypoints" not in footer_of(replace(none, settings=hashes_alone))


def test_the_footer_says_in_which_rounds_a_split_leaks() -> None:
    said = footer_of(PASSED, replace(PASSED, leaking_clusters=3, leaked=4))
    assert "THE SPLIT LEAKS" in said
    assert "4 of 7 in round 1." in said
    assert "round 0" not in said


def test_the_footer_tells_label_conflicts_and_shortcuts() -> None:
    kept = replace(PASSED, kept_out=18, remarks=("border pixels alone beat the majority",))
    said = footer_of(kept, kept)
    assert "18 images whose duplicates carry another label are neither validated nor tested on." in said
    assert said.count("Audit abcdef01: border pixels alone beat the majority.") == 1
    said = footer_of(kept, replace(kept, label_conflicts=2))
    assert "Up to 2 validation and test images have a duplicate of another label." in said
    assert "neither validated" not in said


def test_the_footer_says_what_was_never_audited() -> None:
    assert "Not audited for leaks: round 1 (the split is older than audits)." in footer_of(PASSED, None)


@pytest.mark.parametrize(
    ("devices", "precision", "said"),
    [
        (("cpu", "cuda:1"), "auto", True),
        (("cuda", "cuda:1"), "auto", False),
        (("cpu", ""), "auto", False),  # a record of before hardware was written
        (("cpu", "cuda"), "fp32", False),
    ],
)
def test_the_footer_says_when_auto_meant_two_precisions(
    devices: tuple[str, str], precision: str, said: bool
) -> None:
    units = [scored(run_spec(round_=r, precision=precision), device=d) for r, d in enumerate(devices)]
    text = "\n".join(only(build(units, COLUMNS)).footer)
    assert ("on a GPU, in bf16, and some on a CPU, in fp32" in text) is said


CPU = {"device": "cpu", "threads": 2}
GPU = {"device": "cuda:0", "gpu": "NVIDIA H100", "threads": 2}


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (
            CPU,
            CPU | {"threads": 1},
            "cpu, 1 thread: convnext_tiny scratch; cpu, 2 threads: convnext_tiny imagenet.",
        ),
        (CPU, GPU, "NVIDIA H100: convnext_tiny scratch; cpu, 2 threads: convnext_tiny imagenet."),
        (CPU, CPU, ""),
        (GPU, GPU | {"device": "cuda:1", "threads": 9}, ""),  # the CPU's threads add nothing up there
        (CPU, {"device": "cpu"}, ""),  # a record that does not say
    ],
)
def test_the_footer_names_rows_that_round_otherwise(
    first: dict[str, Any], second: dict[str, Any], said: str
) -> None:
    units = [scored(run_spec("imagenet"), hardware=first), scored(run_spec("scratch"), hardware=second)]
    text = "\n".join(only(build(units, COLUMNS)).footer)
    assert ("Not all of these were computed alike" in text) is bool(said)
    assert said in text


def test_the_footer_says_what_was_measured_on_what() -> None:
    counts = {"train": {"a": [40, 30], "b": [10, 9]}, "test": {"a": [12, 9], "b": [0, 0]}}
    units = [
        scored(run_spec(round_=r), counts=counts_of(counts), notes=("low light",) * (r == 1))
        for r in range(2)
    ]
    text = "\n".join(only(build(units, COLUMNS, shown=Shown(uncertainty="sd"))).footer)
    assert "Images per round (mean of 2): 50 train, 12 test." in text
    assert "No test image of class b in rounds 0, 1" in text
    assert "low light (round 1)" in text
    assert "sample standard deviation" in text
    assert "fvcore" in text


def test_reported_rows_stand_beside_ours_and_never_win() -> None:
    published = [
        ReportedRow(
            dataset="busi", model="Net", values={"accuracy": 0.99}, gmacs=1.5, mparams=2.5, source="paper"
        ),
        ReportedRow(dataset="isic", model="Net", values={}),
    ]
    units = [scored(run_spec(), 0.6), scored(run_spec("scratch"), 0.7)]
    table = only(build(units, COLUMNS, published))
    assert [row.kind for row in table.rows] == ["run", "run", "reported"]
    assert "paper" in table.footer[-1]
    text = reporters.as_markdown([table])
    assert "| Net | reported | - | 1.50 | 2.50 | 0.9900 | - |" in text
    assert "**0.7000**" in text
    assert "**0.3000**" in text  # the lowest loss
    assert "**0.6000**" not in text


# --- renderings --------------------------------------------------------------------------------------


@pytest.fixture
def awkward() -> Table:
    """Markup of every renderer in names and notes; rows missing, tied and undefined."""
    units = [
        scored(run_spec("a_b[red]|50%", 0), 0.61231),
        scored(run_spec("c&d", 0), 0.61232),
        scored(run_spec("none", 0), scores={"accuracy": math.nan}),
        failed(run_spec("bad", 0), "line one\nline | two [bold]"),
    ]
    return only(build(units, COLUMNS))


def test_markdown_keeps_its_columns(awkward: Table) -> None:
    lines = [line for line in reporters.as_markdown([awkward]).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 4
    assert {line.replace(r"\|", "").count("|") for line in lines} == {8}
    assert sum("**0.6123**" in line for line in lines) == 2  # alike as printed, both best


def test_latex_escapes_and_balances(awkward: Table) -> None:
    text = reporters.as_latex([awkward])
    assert r"a\_b{[}red{]}\textbar{}50\%" in text
    assert r"c\&d" in text
    assert text.count("{") == text.count("}")
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    assert len({line.replace(r"\&", "").count("&") for line in body}) == 1


def test_html_is_a_page_of_its_own_and_escapes(awkward: Table) -> None:
    text = reporters.as_page([replace(awkward, title="<i>A & B</i>"), awkward])
    assert text.startswith("<!DOCTYPE html>")
    assert "<title>&lt;i&gt;A &amp; B&lt;/i&gt;, BUSI</title>" in text
    assert (text.count("<table>"), text.count("<b>0.6123</b>")) == (2, 4)
    assert "<i>" not in text
    assert "<table>" not in reporters.as_page([])


def test_csv_has_full_precision_and_one_line_per_row(awkward: Table) -> None:
    text = reporters.as_csv([awkward, awkward])
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert comments == [f"# {awkward.title}: {line}" for line in awkward.footer] * 2 != []
    rows = list(csv.DictReader(io.StringIO(text[: text.index("\n#") + 1])))
    assert len(rows) == 8
    frame = pd.read_csv(io.StringIO(text), comment="#")
    assert frame["method"].tolist() == [row["method"] for row in rows]  # a "#" in a text is part of it
    by_method = {row["method"]: row for row in rows}
    assert float(by_method["a_b[red]|50%"]["accuracy_mean"]) == 0.61231
    assert by_method["none"]["accuracy_mean"] == by_method["a_b[red]|50%"]["accuracy_sd"] == ""


def test_json_is_strict(awkward: Table) -> None:
    [table] = json.loads(reporters.as_json([awkward]), parse_constant=pytest.fail)
    values = {row["method"]: row["values"] for row in table["rows"]}
    assert values["none"]["accuracy"]["mean"] is None
    assert values["c&d"]["accuracy"]["mean"] == 0.61232


@pytest.mark.parametrize("width", [40, 80, 120, 300])
def test_the_terminal_table_fits_and_loses_nothing(
    awkward: Table, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = reporters.as_screen([awkward])
    assert max(map(len, text.splitlines())) <= width
    for shown in ("a_b[red]|50%", "c&d", "0.6123*", "n/a", "0.3877", "[bold]"):
        assert shown in text


# --- commands ----------------------------------------------------------------------------------------


def bench(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for r in range(2):
        a, b = run_spec("egmae", r, epochs=3), run_spec("imagenet", r)
        for seed, spec in enumerate((a, b, mean_of(a, b))):
            store_run(tmp_path, spec, seed=seed)
    return tmp_path


def test_table_from_stored_results(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = bench("table", "--results", str(results), "--reported")
    assert shown.exit_code == 0, shown.output
    for text in ("mean(egmae + imagenet)", "Accuracy", "Ensemble 1000/15", "540 train, 78 val, 156 test"):
        assert text in shown.stdout


def test_the_data_sets_and_the_metrics_of_tables(tmp_path: Path) -> None:
    for name in ("busi", "isic2018"):
        store_run(tmp_path, run_spec(dataset=Ref(name)))
    records, _ = store.scan(tmp_path)
    both, one = (tables_of(records, tmp_path, datasets=names).tables for names in ((), ("isic2018",)))
    assert len(both) == 2
    assert only(one).protocol == both[1].protocol
    assert [column.name for column in only(one).columns] == [
        "accuracy", "precision", "recall", "f1", "f1_pr", "auc",
    ]  # fmt: skip


def test_table_columns_and_output_file(results: Path) -> None:
    target = results / "table.csv"
    shown = bench("table", "--results", str(results), "--metrics", "ece,auc", "-f", "csv", "-o", str(target))
    assert shown.exit_code == 0, shown.output
    [first, *_] = csv.DictReader(io.StringIO(target.read_text()))
    assert [name for name in first if name.endswith("_mean")] == ["ece_mean", "auc_mean"]


def test_damaged_predictions_are_a_missing_round(results: Path) -> None:
    (store.path_of(results, run_spec("imagenet", 1)) / "predictions.parquet").write_bytes(b"no")
    shown = bench("table", "--results", str(results), "--format", "json")
    assert shown.exit_code == 0, shown.output
    assert "predictions.parquet" in shown.stderr
    rows: list[dict[str, Any]] = json.loads(shown.stdout)[0]["rows"]
    [row] = [row for row in rows if row["method"] == "imagenet"]
    assert row["rounds_done"] == 1
    assert "round 1 damaged: predictions.parquet has 2 bytes" in row["note"]


def test_nothing_to_show_says_what_to_do(tmp_path: Path) -> None:
    shown = bench("table", "--results", str(tmp_path / "none"))
    assert (shown.exit_code, shown.stdout) == (0, "")
    assert "bench run" in shown.stderr


@pytest.mark.parametrize(
    "arguments", [["--dataset", "bussi"], ["--metrics", "accurasy"], ["--format", "markdwon"]]
)
def test_a_wrong_name_is_one_error(results: Path, arguments: list[str]) -> None:
    shown = bench("table", "--results", str(results), *arguments)
    assert isinstance(shown.exception, UnknownName)
    assert "did you mean" in str(shown.exception)


def test_list_and_show() -> None:
    assert "egmae" in bench("list").stdout
    assert "egmae" not in bench("list", "metrics").stdout
    assert "auc" in bench("list", "metric", "--like", "au").stdout
    assert isinstance(bench("list", "metricks").exception, UnknownName)
    shown = bench("show", "egmae").stdout
    for text in ("strategy.egmae.patch", "int, >= 2", "luma or channels or joint", "arXiv:2605.21970"):
        assert text in shown
    assert "malignant 210" in bench("show", "busi").stdout
    assert "traits" in bench("show", "resnet18").stdout
    assert isinstance(bench("show", "egmea").exception, UnknownName)
