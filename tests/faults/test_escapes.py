"""Names and messages of others are shown, not obeyed: by the terminal, by a spreadsheet, by a log."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from commands import bench, install

from bench.comparison.reporters import render
from bench.interfaces.reporter import Table
from bench.interfaces.rows import Column, Estimate, Row
from bench.registry import installed
from bench.text import is_printable, one_line, printable

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \u202eevil\udc80\r\nforged | line"


def table(name: str) -> Table:
    """One whose every text is `name`."""
    row = Row(kind="run", model=name, method=name, values={"accuracy": Estimate(mean=-0.5)}, note=name)
    column = Column(name="accuracy", title=name, higher_is_better=True)
    return Table(title=name, protocol=name, columns=(column,), rows=(row,), footer=(name,))


@pytest.mark.parametrize("name", [r.name for r in installed().reporters.all()])
def test_no_reporter_writes_what_a_name_would_make_a_terminal_do(name: str) -> None:
    registry = installed()
    text = render(registry.reporters.get(name), [table(HOSTILE)], registry)
    assert "\x1b[31m" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    text.encode()  # no half of a surrogate pair
    assert "red" in text


@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_no_cell_of_a_csv_file_is_a_formula(sign: str) -> None:
    registry = installed()
    text = render(registry.reporters.get("csv"), [table(f"{sign}1+cmd")], registry)
    lines, _, footer = text.partition("\n#")
    (row,) = csv.DictReader(io.StringIO(lines))
    assert row["model"] == row["method"] == row["note"] == f"'{sign}1+cmd"
    assert footer == f" {sign}1+cmd: {sign}1+cmd\n"  # a comment, which begins with "#"
    assert row["accuracy_mean"] == "-0.5"  # a number stays one


def test_printable_texts_stay_as_they_are() -> None:
    assert printable("± é 漢\n\tx") == "± é 漢\n\tx"
    assert printable(HOSTILE) == r"\x1b[31mred\x1b]0;title\x07 \u202eevil\udc80\r" "\nforged | line"
    assert one_line("a\r\nb\u2028c") == "a b c"
    assert is_printable("a b")
    assert not is_printable("a\nb")


HOSTILE_PLUGIN = """
from bench import Dataset, Index, hookimpl

def index(root, params):
    raise ValueError("\\x1b[31mred\\x1b[0m\\r\\nwarning: forged \\udc80")

@hookimpl
def register_datasets():
    return [Dataset(name="hostile", about="\\x1b[2Jgone", index=index)]
"""


def test_a_command_shows_what_a_plugin_says_and_does_not_obey_it(tmp_path: Path) -> None:
    module = tmp_path / "hostile.py"
    module.write_text(HOSTILE_PLUGIN)
    plugins = install(tmp_path / "site", module)
    listed = bench(tmp_path, "list", "datasets", plugins=plugins)
    assert r"\x1b[2Jgone" in listed.stdout
    done = bench(tmp_path, "run", "-d", "hostile", "-s", "scratch", "-p", "quick", plugins=plugins)
    assert done.returncode == 1
    assert r"\x1b[31mred\x1b[0m" in done.stderr
    logs = "".join(path.read_text() for path in tmp_path.glob("results/logs/*.log"))
    assert r"\x1b[31mred" in logs
    for text in (listed.stdout, listed.stderr, done.stdout, done.stderr, logs):
        assert "\x1b" not in text
        assert not any(line.startswith("warning: forged") for line in text.splitlines())


def test_the_suffix_of_a_file_chooses_the_format_or_contradicts_it(tmp_path: Path) -> None:
    contradiction = bench(tmp_path, "table", "-o", "t.tex", "--format", "csv")
    assert (contradiction.returncode, contradiction.stderr) == (
        2,
        "error: --output t.tex: .tex is for latex, not for --format csv; change one of them\n",
    )
    samples = Path(__file__).parents[1] / "data"
    stored = next(path for path in sorted(samples.iterdir()) if (path / "runs").is_dir())
    done = bench(tmp_path, "table", "--results", str(stored), "-o", "t.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "t.json").read_text())
