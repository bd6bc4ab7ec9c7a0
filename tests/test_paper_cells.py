"""`bench verify --paper`: which numbers of a paper's table follow from results, however they are printed."""

from __future__ import annotations

import csv
import re
import shutil
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from packable import make_results
from test_pack import bench, refused

from bench.pack.paper.latex import latex_grids
from bench.pack.paper.plain import plain
from bench.pack.paper.values import parse_printed, rounds_to


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_results(tmp_path_factory.mktemp("study") / "results")


@pytest.fixture(scope="module")
def means(results: Path) -> dict[str, float]:
    """Mean accuracy of each row."""
    text = bench("table", "--results", results, "--format", "csv", "--metrics", "accuracy").stdout
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["method"]: float(row["accuracy_mean"]) for row in rows if row["accuracy_mean"]}


def checked(results: Path, paper: Path, *options: str, code: int = 0) -> list[str]:
    """What is said of a paper's table."""
    lines = bench("verify", results, "--paper", paper, *options, code=code).stdout.splitlines()
    return [line.removeprefix(str(paper)).lstrip(",: ") for line in lines if line.startswith(str(paper))]


def table(results: Path, target: Path, *options: str) -> Path:
    bench("table", "--results", results, *options, "-o", target)
    return target


# --- our own tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".tex", ".csv", ".md"])
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--ranks", "--costs", "--metrics", "accuracy,log_loss,f1"],
        ["--uncertainty", "sd", "--metrics", "auc"],
        ["--uncertainty", "none", "--reported", "--metrics", "accuracy"],
        ["--per-class", "--metrics", "sensitivity,auc"],
    ],
)
def test_every_table_of_ours_follows(results: Path, tmp_path: Path, suffix: str, options: list[str]) -> None:
    paper = table(results, tmp_path / f"table{suffix}", *options)
    (said,) = checked(results, paper)
    match = re.fullmatch(
        r"of the cells with numbers (\d+) follow from the results, 0 do not, 0 are not theirs", said
    )
    assert match
    assert int(match[1]) >= 3


@pytest.mark.parametrize("suffix", [".tex", ".csv", ".md"])
def test_one_changed_digit_is_named_with_its_line_and_the_right_value(
    results: Path, tmp_path: Path, suffix: str
) -> None:
    paper = table(results, tmp_path / f"table{suffix}", "--ranks", "--costs")
    text = paper.read_text(encoding="utf-8")
    row = text.index("egmae", text.index("midrule") if suffix == ".tex" else text.index("\n"))
    place = re.compile(r"0\.\d\d(\d)").search(text, row)
    assert place is not None
    digit = str((int(place[1]) + 5) % 10)
    paper.write_text(text[: place.start(1)] + digit + text[place.end(1) :], encoding="utf-8")
    wrong, summary = checked(results, paper, code=1)
    line = text.count("\n", 0, place.start()) + 1
    assert wrong.startswith(f"line {line}: phantom / test_convnext egmae / Accuracy")
    assert f"{place[0][:-1]}{digit}" in wrong.partition("the results give")[0]
    assert place[0] in wrong.partition("the results give")[2]
    assert " 1 do not," in summary


def test_ends_of_intervals_and_deviations_are_compared_too(results: Path, tmp_path: Path) -> None:
    for options, pattern in (
        ([], r"\{\[\}0\.\d\d(\d)"),
        (["--uncertainty", "sd"], r"\$\\pm\$ 0\.\d\d\d(\d)"),
    ):
        paper = table(results, tmp_path / "table.tex", *options)
        text = paper.read_text(encoding="utf-8")
        place = re.compile(pattern).search(text, text.index("midrule"))
        assert place is not None
        changed = text[: place.start(1)] + str((int(place[1]) + 5) % 10) + text[place.end(1) :]
        paper.write_text(changed, encoding="utf-8")
        wrong, _ = checked(results, paper, code=1)
        assert wrong.startswith("line ")


def test_ranks_rounds_and_costs_are_compared_too(results: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(results, whole)
    shutil.rmtree(whole / "failures")  # ranks are of rows with the same rounds alone
    paper = table(whole, tmp_path / "table.md", "--ranks", "--metrics", "accuracy")
    text = paper.read_text(encoding="utf-8")
    for old, new, column in (
        ("| 3 |", "| 4 |", "Rounds"),
        ("| 28.00 |", "| 29.00 |", "M params"),
        (" % first)", "9 % first)", "Rank by Accuracy"),
    ):
        assert old in text
        paper.write_text(text.replace(old, new, 1), encoding="utf-8")
        wrong, _ = checked(whole, paper, code=1)
        assert f"/ {column}: printed" in wrong


# --- other people's ----------------------------------------------------------------------------------

PAPER = r"""
% \begin{tabular}{lc} Method & 0.111 \\ \end{tabular}
\newcommand{\ours}{\textbf{EG-MAE}}
\begin{table}[t]
  \caption{Results on \textsc{phantom} (mean $\pm$ SD).} % 99.9
  \begin{tabular}{@{}l S[table-format=2.1] c@{}}
    \toprule
    & \multicolumn{2}{c}{Test} \\ \cmidrule(lr){2-3}
    \textbf{Method} & {Acc. (\%) $\uparrow$} & FLOPs \\
    \midrule
    \rowcolor{gray!10}
    \ours~\cite{x} & \bfseries @FIRST@ & 4.5 \\[2pt]
    From scratch & \num{@SECOND@} & {--} \\
    ViT-B~\cite{y} & 91.2 & 17.6 \\ % not ours
    \bottomrule
  \end{tabular}
\end{table}
"""
MAPS = ("--map", "EG-MAE=egmae", "--map", "From scratch=scratch", "--map", "Acc.=accuracy")


def paper_of(tmp_path: Path, first: float, second: float) -> Path:
    text = PAPER.replace("@FIRST@", f"{100 * first:.1f}").replace("@SECOND@", f"{100 * second:.1f}")
    (tmp_path / "paper.tex").write_text(text, encoding="utf-8")
    return tmp_path / "paper.tex"


def test_a_paper_in_percent_with_names_of_its_own(
    results: Path, means: dict[str, float], tmp_path: Path
) -> None:
    said = checked(results, paper_of(tmp_path, means["egmae"], means["scratch"]), *MAPS)
    assert said[-1] == "of the cells with numbers 2 follow from the results, 0 do not, 3 are not theirs"
    assert "not checked: line 14: ViT-B: no method of these results (1 number)" in said
    assert any("column Test / FLOPs: no metric of these results (2 numbers)" in each for each in said)


def test_a_number_that_does_not_follow_is_told_as_it_should_be_printed(
    results: Path, means: dict[str, float], tmp_path: Path
) -> None:
    paper = paper_of(tmp_path, means["egmae"] + 0.02, means["scratch"])
    said = checked(results, paper, *MAPS, code=1)
    right = f"{100 * means['egmae']:.1f}"
    assert said[0] == (
        f"line 12: phantom / test_convnext egmae / Accuracy: printed {100 * (means['egmae'] + 0.02):.1f}, "
        f"the results give {right}"
    )


def test_without_a_map_nothing_is_silently_dropped(
    results: Path, means: dict[str, float], tmp_path: Path
) -> None:
    paper = paper_of(tmp_path, means["egmae"], means["scratch"])
    done = bench("verify", results, "--paper", paper, code=1).stdout
    assert "column Test / Acc. (%)" in done
    assert "no number of it belongs to these results" in done


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--map", "EG-MAE=egmea"], "unknown method, metric or data set of the results 'egmea'"),
        (["--map", "EG-MAE"], "must be HEAD=NAME"),
    ],
)
def test_a_map_to_nothing_is_an_error(results: Path, tmp_path: Path, options: list[str], said: str) -> None:
    assert said in refused("verify", results, "--paper", paper_of(tmp_path, 0.5, 0.5), *options)


def test_papers_that_cannot_be_read_are_one_error(results: Path, tmp_path: Path) -> None:
    for name, content, said in (
        ("a.pdf", b"%PDF", "must be a table as .tex, .csv"),
        ("a.tex", b"no table here", "holds no table"),
        ("a.csv", b'"a', "is no CSV"),
        ("b.csv", b"\xff\xfe", "is not UTF-8"),
    ):
        (tmp_path / name).write_bytes(content)
        assert said in refused("verify", results, "--paper", tmp_path / name)
    assert "cannot be read" in refused("verify", results, "--paper", tmp_path / "nowhere.tex")
    assert "give the table with --paper" in refused("verify", results, "--map", "a=b")


def test_a_csv_of_any_kind(results: Path, means: dict[str, float], tmp_path: Path) -> None:
    paper = tmp_path / "paper.csv"
    paper.write_text(
        f"Method;Accuracy [%]\negmae;{100 * means['egmae']:.2f}\nscratch;12.3\n", encoding="utf-8"
    )
    said = checked(results, paper, code=1)
    assert said[0].startswith("line 3: phantom / test_convnext scratch / Accuracy: printed 12.3")
    assert " 1 follow from the results, 1 do not" in said[-1]


# --- LaTeX -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"\textbf{0.81} $\pm$ 0.01", "0.81 ± 0.01"),
        (r"$0.81_{\pm 0.01}$", "0.81 ± 0.01"),
        (r"\num{0.81 +- 0.01}", "0.81 ± 0.01"),
        (r"\SI{81.2}{\percent}", "81.2%"),
        (r"\underline{81.2}\,\%$^{\dagger}$", "81.2 %"),
        (r"{\scriptsize {[}0.771, 0.846{]}}", "[0.771, 0.846]"),
        (r"\textcolor{red}{0.5}\footnote{no}", "0.5"),
        (r"\begin{tabular}[c]{@{}c@{}}Acc.\\(\%)\end{tabular}", "Acc. (%)"),
        (r"\rotatebox{90}{\makecell{F1\\score}}", "F1 score"),
        (r"mean(eg\_mae + a)", "mean(eg_mae + a)"),
        (r"\allowbreak{}a-{}-b 1--3 --", "a--b 1-3 -"),
        (r"Caf\'e na\"{\i}ve", "Café naïve"),
    ],
)
def test_what_latex_prints(source: str, text: str) -> None:
    assert plain(source) == text


def test_rows_that_reach_over_several_lines() -> None:
    source = r"""\begin{tabular}{llc}\hline
Data & Method & \multicolumn{1}{c}{Acc} \\ \hline
\multirow{2}{*}{busi} & a \& b & 1.5 \\
 & c & % a comment & 9
 2.5 \tabularnewline \cline{2-3}
\multicolumn{2}{l}{both} & 3.5
\end{tabular}"""
    (grid,) = latex_grids(source)
    assert [cell.text for cell in grid.heads[0].cells] == ["Data", "Method", "Acc"]
    assert [[cell.text for cell in row.cells] for row in grid.rows] == [
        ["busi", "a & b", "1.5"],
        ["busi", "c", "2.5"],
        ["both", "both", "3.5"],
    ]
    assert [row.cells[2].line for row in grid.rows] == [3, 5, 6]


@pytest.mark.parametrize(
    "source",
    [
        r"\begin{tabular}{l",
        r"\begin{tabular}{l} a & {b \\",
        "\\",
        r"\begin{tabular}{ll}\multicolumn{9999999}{c",
    ],
)
def test_broken_latex_ends(source: str) -> None:
    latex_grids(source)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.81", ("0.81", None, None)),
        ("0.812(12)", ("0.812", "0.012", None)),
        ("0.81 (0.02)", ("0.81", "0.02", None)),
        ("81.2 ± 1.1 %", ("81.2", "1.1", None)),
        ("0.81 [0.77, 0.85]", ("0.81", None, ("0.77", "0.85"))),
        ("0.81 (0.77-0.85)", ("0.81", None, ("0.77", "0.85"))),
        ("0.81 (95% CI 0.77 to 0.85)", ("0.81", None, ("0.77", "0.85"))),
        ("[0.77; 0.85]", (None, None, ("0.77", "0.85"))),
        ("± 0.02", (None, "0.02", None)),
        ("1,234", ("1234", None, None)),
        ("0.81*", ("0.81", None, None)),
        ("1e-05", ("0.00001", None, None)),
    ],
)
def test_how_numbers_are_printed(
    text: str, numbers: tuple[str | None, str | None, tuple[str, str] | None]
) -> None:
    found = parse_printed(text)
    assert found is not None
    value, spread, interval = numbers
    assert (found.value is None) == (value is None)
    assert value is None or float(found.value or 0) == float(value)
    assert spread is None or float(found.spread or 0) == float(spread)
    assert interval is None or found.interval == tuple(map(type(found.interval[0]), interval))  # type: ignore[index]


@pytest.mark.parametrize("true", [float("nan"), float("inf")])
def test_nothing_printed_follows_from_what_is_no_number(true: float) -> None:
    assert not rounds_to(true, Decimal("0.81"), 1)


@pytest.mark.parametrize("text", ["", "-", "n/a", "ViT-B", "3/5", "0.81 0.82", "1e999999999"])
def test_what_is_no_number(text: str) -> None:
    assert parse_printed(text) is None


def test_macros_that_name_each_other_do_not_grow_without_end() -> None:
    """As a file does that was made to keep whoever checks it busy for years."""
    names = [f"m{chr(ord('a') + i)}" for i in range(26)]
    macros = {names[0]: "ha", **{name: rf"\{before}\{before}" for before, name in pairwise(names)}}
    text = plain(rf"\{names[-1]}\ 0.81", macros)
    assert len(text) < 10_000
    assert text.endswith("0.81")
