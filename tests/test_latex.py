"""Tables in LaTeX: texts, layout, and what pdflatex makes of them."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bench import Column, Estimate, Rank, Row, Table
from bench_standard.latex import as_latex
from bench_standard.latex_text import escape, fallbacks

TITLES = {"a": "Accuracy", "p": "Precision", "r": "Recall", "f": "F1", "g": "F1 (PR)", "u": "AUC"}
SPECIAL = "a|b & <i>c</i> 50% $d$ #e _f_ {g} ~h ^i \\j [k] `l` \"m\" 'n' --set a=b"
UNICODE = "Käse ± Ωμέγα 超音波 \N{SNOWMAN} e\N{COMBINING ACUTE ACCENT} ą đ Ð þ «x» …"
PACKAGES = ("booktabs", "graphicx", "siunitx")


def estimate(mean: float, best: bool | None = None) -> Estimate:
    return Estimate(
        mean=mean,
        spread=0.0213,
        low=mean - 0.034,
        high=mean + 0.041,
        best=best,
        rank=Rank(first=0.62, low=1, high=3),
    )


def row(method: str, *, model: str = "convnext_tiny", note: str = "", columns: str = "aprfgu") -> Row:
    cost = 2 if "mean" in method else 1
    return Row(
        kind="run",
        model=model,
        method=method,
        rounds_done=5,
        rounds_asked=5,
        gmacs=4.46 * cost,
        mparams=27.8 * cost,
        values={name: estimate(0.8 + i / 100, method == "egmae") for i, name in enumerate(columns)},
        note=note,
    )


def table(columns: int, *more: Row, **changes: object) -> Table:
    methods = ("egmae", "imagenet", "scratch", "mean(egmae + imagenet)")
    made = Table(
        title="BUSI",
        protocol="224 px, precision auto, seed 0, fine-tuning 50 epochs of batch 32, images 1f2e3d4c",
        columns=tuple(Column(name=name, title=title) for name, title in TITLES.items())[:columns],
        rows=(*map(row, methods), *more),
        footer=("In brackets: 95 % interval of the mean (docs/evidence.md).",),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields of a table


REPORTED = Row(
    kind="reported", model="Ensemble 1000/15", method="reported", values={"a": Estimate(mean=0.88)}
)
UNDEFINED = Row(
    kind="run", model="net", method="undefined", rounds_asked=5, values={"a": Estimate(mean=math.nan)}
)


# --- texts -------------------------------------------------------------------------------------------


def test_special_characters_are_printed_as_they_are() -> None:
    assert escape(r"a_b & 50 % #1 {x} \ |") == r"a\_b \& 50\,\% \#1 \{x\} \textbackslash{} \textbar{}"
    assert escape('--set "x" [y] <z> ~ ^ `') == (
        r"-{}-set {''}x{''} {[}y{]} \textless{}z\textgreater{} \textasciitilde{} \textasciicircum{} "
        r"\textasciigrave{}"
    )
    assert escape("e\N{COMBINING ACUTE ACCENT}") == "é"


def test_long_words_may_break_and_short_ones_do_not() -> None:
    assert escape("mean(a+b) " * 9) == "mean(a+b) " * 9
    path = escape("see results/runs/busi/convnext_tiny here")
    assert path == (
        r"see results/\allowbreak{}runs/\allowbreak{}busi/\allowbreak{}convnext\_\allowbreak{}tiny here"
    )
    pieces = escape("x" * 90).split(r"\allowbreak{}")
    assert ("".join(pieces), max(map(len, pieces))) == ("x" * 90, 16)


def test_only_unknown_characters_have_a_fallback() -> None:
    assert fallbacks("BUSI, 50 %") == []
    [known, _] = fallbacks("超波超")
    assert r"\providecommand\csname u8:\detokenize{波}\endcsname{\fbox{\tiny 6CE2}}" in known


# --- layout ------------------------------------------------------------------------------------------


def test_what_all_rows_share_is_said_once() -> None:
    text = as_latex([table(1)])
    assert text.count(r"convnext\_tiny") == 1
    assert r"\caption{BUSI, convnext\_tiny: mean of 5 rounds with its 95\,\% interval. Bold:" in text
    assert "Method & GMACs & M params &" in text
    both = as_latex([table(1, row("mae", model="swin_tiny"))])
    assert r"\caption{BUSI: mean of 5 rounds" in both
    assert "Model & Method & GMACs & M params &" in both
    same = as_latex([table(1, rows=(row("egmae"), row("imagenet")))])
    assert r"All rows: GMACs 4.46, M params 27.80.\par" in same


@pytest.mark.parametrize(
    ("columns", "uncertainty", "environment", "below"),
    [
        (1, "none", "table", False),
        (1, "interval", "table", True),
        (3, "interval", "table*", False),
        (6, "interval", "table*", True),
        (6, "none", "table*", False),
    ],
)
def test_the_layout_follows_the_width(columns: int, uncertainty: str, environment: str, below: bool) -> None:
    text = as_latex([table(columns, uncertainty=uncertainty)])
    assert rf"\begin{{{environment}}}" in text
    assert (r"\addlinespace" in text) == below
    assert (r"\multicolumn{2}{c}{Accuracy}" in text) == (uncertainty == "interval" and not below)


def test_every_line_has_the_columns_of_its_head() -> None:
    for uncertainty in ("interval", "sd", "none"):
        for columns in (1, 2, 6):
            made = table(columns, REPORTED, UNDEFINED, uncertainty=uncertainty, ranks=columns == 2)
            text = as_latex([made])
            head, body = re.findall(r"\\(?:top|mid)rule\n(.*?)(?=\n\\(?:mid|bottom)rule)", text, re.S)[:2]
            wide = head.count("&") + head.count(r"\multicolumn{2}")
            lines = [line for line in body.splitlines() if "&" in line]
            assert len(lines) >= 4
            assert {line.count("&") for line in lines} == {wide}


def test_only_numbers_are_parsed_and_the_best_is_bold() -> None:
    text = as_latex([table(1, REPORTED, UNDEFINED, uncertainty="none")])
    assert r"egmae & 5 & 4.46 & 27.80 & \bfseries 0.8000 \\" in text
    assert r"imagenet & 5 & 4.46 & 27.80 & 0.8000 \\" in text
    assert r"undefined & 0/5 & -- & -- & {n/a} \\" in text


def test_a_column_has_room_for_signs_and_digits() -> None:
    values = [Estimate(mean=-0.25), Estimate(mean=12.5)]
    rows = tuple(replace(row("m"), values={"a": value}) for value in values)
    assert "table-format=-2.4" in as_latex([table(1, rows=rows, uncertainty="none")])


def test_labels_are_unique_and_plain() -> None:
    titles = ["BUSI", "BUSI", "busi 2", "Käse 50%", "超音波", "超", "BUSI"]
    labels = re.findall(r"\\label\{(.*?)\}", as_latex([table(1, title=title) for title in titles]))
    assert labels == [
        "tab:busi", "tab:busi-2", "tab:busi-2-2", "tab:kase-50", "tab:bench", "tab:bench-2", "tab:busi-3",
    ]  # fmt: skip


# --- pdflatex ----------------------------------------------------------------------------------------


def all_kinds() -> list[Table]:
    """Tables that should not break a page."""
    made = [table(columns) for columns in range(1, 7)]
    made += [table(columns, uncertainty=u) for columns in (1, 3, 6) for u in ("sd", "none")]
    made.append(table(2, ranks=True))
    made.append(table(6, row("mae", model="swin_tiny"), REPORTED, UNDEFINED, title=SPECIAL))
    strange = row(SPECIAL, model=UNICODE, note=SPECIAL + UNICODE)
    long = row("failed", note="failed: " + "/very/long/path_of_something" * 8 + "x" * 200)
    footer = tuple(f"Audit abcdef{i}: no duplicates and no group on two sides of a split." for i in range(10))
    protocol = "; ".join([table(1).protocol] * 5)
    made.append(table(2, strange, long, title=UNICODE, footer=footer, protocol=protocol))
    made += [table(2, rows=()), table(0), table(1, rows=(UNDEFINED,), footer=(), protocol="")]
    column = Column(name="a", title=SPECIAL)
    return [*made, replace(table(1), columns=(column,))]


def has_package(name: str) -> bool:
    if shutil.which("kpsewhich") is None:
        return False
    return subprocess.run(["kpsewhich", f"{name}.sty"], capture_output=True).returncode == 0


@pytest.mark.long
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex (.ci/run says how it is installed)")
@pytest.mark.parametrize("siunitx", ["", "[=v2]"])
@pytest.mark.parametrize("options", ["", "twocolumn"])
def test_pdflatex_prints_every_table_within_its_column(tmp_path: Path, options: str, siunitx: str) -> None:
    missing = [name for name in PACKAGES if not has_package(name)]
    assert not missing, f"pdflatex lacks {missing}; .ci/run says how they are installed"
    if siunitx and not has_package("siunitx-v2"):
        pytest.skip("siunitx 3, without the files of version 2")
    (tmp_path / "tables.tex").write_text(as_latex(all_kinds()), encoding="utf-8")
    count = len(all_kinds())
    (tmp_path / "paper.tex").write_text(
        rf"\documentclass[{options}]{{article}}"
        "\n"
        rf"\usepackage{{booktabs,graphicx}}\usepackage{{siunitx}}{siunitx}"
        "\n"
        r"\begin{document}\input{tables}\clearpage\typeout{TABLES \arabic{table}}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert f"TABLES {count}" in ran.stdout
    log = (tmp_path / "paper.log").read_text(encoding="utf-8", errors="replace")
    assert [line for line in log.splitlines() if line.startswith(("Overfull", "! "))] == []
    assert "multiply-defined" not in log
