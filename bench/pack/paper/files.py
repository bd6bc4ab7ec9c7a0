"""Reading the tables of a paper from its file: LaTeX, CSV or Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.errors import ConfigError
from bench.pack.paper.grid import Cell, Grid, GridRow
from bench.pack.paper.latex import latex_grids
from bench.parsing import PATH_SHOWN, brief

_LARGEST = 50 << 20  # bytes: no paper's source is larger
_COMMENT = "#"
_DELIMITERS = ",;\t"


def read_tables(path: Path) -> list[Grid]:
    """The tables of a file, as its suffix says. Raises ConfigError for what cannot be read, or has none."""
    name = brief(str(path), PATH_SHOWN)
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ConfigError(
            f"--paper {name}: must be a table as {', '.join(_READERS)}; save it as one of these"
        )
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError(f"--paper {name}: has more than {_LARGEST >> 20} MiB; give the table alone")
        text = path.read_text(encoding="utf-8-sig")
        grids = [grid for grid in read(text) if grid.rows]
    except OSError as error:
        raise ConfigError(f"--paper {name}: cannot be read ({error.strerror}); give another file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"--paper {name}: is not UTF-8 (byte {error.start}); save it in UTF-8") from None
    except csv.Error as error:
        raise ConfigError(f"--paper {name}: is no CSV ({error}); save the table as CSV") from None
    if not grids:
        raise ConfigError(f"--paper {name}: holds no table with rows; give the file that the table stands in")
    return grids


def csv_grids(text: str) -> list[Grid]:
    """A table whose first line names its columns; lines that begin with "#" are remarks."""
    lines = text.splitlines(keepends=True)
    remarks = " ".join(line[1:].strip() for line in lines if line.startswith(_COMMENT))
    first = next((line for line in lines if line.strip() and not line.startswith(_COMMENT)), "")
    delimiter = max(_DELIMITERS, key=first.count)
    told = "".join(
        "\n" if line.startswith(_COMMENT) else line for line in lines
    )  # every line keeps its number
    rows = list(_csv_rows(told, delimiter))
    return [Grid(heads=rows[:1], rows=rows[1:], around=remarks)]


def _csv_rows(text: str, delimiter: str) -> Iterator[GridRow]:
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    before = 0
    for fields in reader:
        line, before = before + 1, reader.line_num
        if any(field.strip() for field in fields):
            yield GridRow(line, [Cell(_as_typed(field), line) for field in fields])


def _as_typed(field: str) -> str:
    """A field without the apostrophe that keeps spreadsheets from computing it."""
    text = " ".join(field.split())
    return text[1:] if re.match(r"'[=+\-@]", text) else text


def markdown_grids(text: str) -> list[Grid]:
    """The pipe tables of a Markdown file."""
    grids: list[Grid] = []
    around: list[str] = []
    rows: list[GridRow] = []
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if line.lstrip().startswith("|"):
            rows.append(GridRow(number, [Cell(_unmarked(part), number) for part in _pipes(line)]))
            continue
        if rows:
            bars = [
                i for i, row in enumerate(rows) if all(re.fullmatch(r":?-+:?", c.text) for c in row.cells)
            ]
            above = bars[0] if bars else 1
            grids.append(Grid(heads=rows[:above], rows=rows[above + len(bars) :], around=" ".join(around)))
            rows, around = [], []
        around.append(_unmarked(line.lstrip("# ")))
    return grids


def _pipes(line: str) -> list[str]:
    parts = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return [part.strip() for part in parts]


def _unmarked(text: str) -> str:
    """Markdown as it is printed."""
    text = re.sub(r"(?<!\\)(\*\*|__)(.+?)\1", r"\2", text)
    return " ".join(re.sub(r"\\([\\`|*_<>\[\]{}()#+.!~-])", r"\1", text).split())


_READERS: dict[str, Callable[[str], list[Grid]]] = {
    ".tex": latex_grids,
    ".csv": csv_grids,
    ".tsv": csv_grids,
    ".md": markdown_grids,
}
