"""The tables of a LaTeX file: environments such as tabular, tabularx and longtable, cell by cell."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from bench.pack.paper.grid import Cell, Grid, GridRow, row_of
from bench.pack.paper.plain import Macros, group, macros_of, option, plain

_WITH_WIDTH = ("tabular*", "tabularx", "tabulary", "tblr")
_TABLES = ("tabular", "longtable", "supertabular", "xtabular", *_WITH_WIDTH)
_BEGIN = re.compile(r"\\begin\s*\{(" + "|".join(map(re.escape, _TABLES)) + r")\}")
_ENVIRONMENT = re.compile(r"\\(begin|end)\s*\{([^{}]*)\}")
_FLOAT = re.compile(r"\\begin\s*\{((?:sideways|wrap|small)?table\*?|threeparttable|longtable)\}")
_RULE = re.compile(
    r"\s*\\(?:(?P<rule>midrule|hline|specialrule|endhead|endfirsthead)|toprule|bottomrule|cmidrule|cline"
    r"|addlinespace|morecmidrules|rowcolor|arrayrulecolor|noalign|endfoot|endlastfoot|rowfont|centering)(?![A-Za-z])\*?"
)
_TAKES = {
    r"\specialrule": 3,
    r"\cmidrule": 1,
    r"\cline": 1,
    r"\rowcolor": 1,
    r"\arrayrulecolor": 1,
    r"\noalign": 1,
}
_SPAN = re.compile(r"\s*\\multicolumn\s*(?=\{)")
_ROWS = re.compile(r"\s*\\multirow\s*(?=[\[{])")
_MOST_SPANNED = 1000


class _Piece(NamedTuple):
    """The source of a row: its cells with their places, and whether a rule stands above it."""

    cells: list[tuple[int, str]]
    below_rule: bool


def latex_grids(source: str) -> list[Grid]:
    """The tables of a LaTeX file, in its order; a table within a cell is part of that cell."""
    text = _without_comments(source)
    lines = [match.start() for match in re.finditer("\n", text)]
    macros = macros_of(text)
    grids, at = [], 0
    while match := _BEGIN.search(text, at):
        start = _after_columns(text, match)
        end, at = _end_of(text, match)
        around = plain(_around(text, match.start(), at), macros)
        grids.append(_grid(text, start, end, around, lines, macros))
    return grids


def _without_comments(source: str) -> str:
    """The source with blanks for comments, so that all places stay."""
    told, at = [], 0
    while at < len(source):
        if source[at] == "\\":
            told.append(source[at : at + 2])
            at += 2
        elif source[at] == "%":
            end = source.find("\n", at)
            end = len(source) if end < 0 else end
            told.append(" " * (end - at))
            at = end
        else:
            told.append(source[at])
            at += 1
    return "".join(told)


def _after_columns(text: str, match: re.Match[str]) -> int:
    """Where the first row begins: after position, width and columns."""
    end = option(text, _skipped(text, match.end()))[1]
    for _ in range(2 if match[1] in _WITH_WIDTH and match[1] != "tblr" else 1):
        end = option(text, _skipped(text, end))[1]
        end = group(text, end)[1]
    return end


def _skipped(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _end_of(text: str, match: re.Match[str]) -> tuple[int, int]:
    r"""Where the rows end, and where \end does."""
    depth = 0
    for found in _ENVIRONMENT.finditer(text, match.start()):
        if found[2] == match[1]:
            depth += 1 if found[1] == "begin" else -1
            if depth == 0:
                return found.start(), found.end()
    return len(text), len(text)


def _around(text: str, start: int, end: int) -> str:
    """What stands beside the tabular in its float."""
    for found in reversed(list(_FLOAT.finditer(text, 0, start))):
        close = text.find(rf"\end{{{found[1]}}}", found.end())
        if close < 0 or close >= end:
            inner = text[found.end() : start] + " " + text[end : close if close >= 0 else end]
            return _BEGIN.sub(" ", inner)
    return ""


# --- rows --------------------------------------------------------------------------------------------


def _grid(text: str, start: int, end: int, around: str, lines: list[int], macros: Macros) -> Grid:
    rows: list[GridRow] = []
    carried: dict[int, tuple[Cell, int]] = {}
    first_rule: int | None = None
    for piece in _pieces(text, start, end):
        if piece.below_rule and rows and first_rule is None:
            first_rule = len(rows)
        cells = [_cell(source, at, lines, macros) for at, source in piece.cells]
        if not any(cell.text for cell, _ in cells) and len(cells) <= 1:
            continue
        row = row_of(_line(piece.cells[0][0], lines), [cell for cell, _ in cells])
        rows.append(_filled(row, [n for cell, n in cells for _ in range(cell.span)], carried, rows))
    count = _head_count(rows) if first_rule is None else first_rule
    return Grid(heads=rows[:count], rows=rows[count:], around=around)


def _head_count(rows: list[GridRow]) -> int:
    """How many rows stand above the data where no rule says so: those before the first with a number."""
    for number, row in enumerate(rows):
        if any(re.fullmatch(r"[-+]?\d*\.\d+.*", cell.text) for cell in row.cells):
            return number
    return min(1, len(rows))


def _filled(
    row: GridRow, rows_of: list[int], carried: dict[int, tuple[Cell, int]], above: list[GridRow]
) -> GridRow:
    r"""A row with the texts of \multirow that reach into it from above; what reaches up fills those rows."""
    cells = list(row.cells)
    for column, (cell, left) in list(carried.items()):
        if column < len(cells) and not cells[column].text:
            cells[column] = cell
        carried[column] = (cell, left - 1)
        if left <= 1:
            del carried[column]
    for column, count in enumerate(rows_of):
        if count > 1:
            carried[column] = (cells[column], count - 1)
        for number in range(len(above) + count + 1, len(above)) if count < -1 else ():
            if number >= 0 and column < len(above[number].cells) and not above[number].cells[column].text:
                up = list(above[number].cells)
                up[column] = cells[column]
                above[number] = GridRow(above[number].line, up)
    return GridRow(row.line, cells)


def _cell(source: str, at: int, lines: list[int], macros: Macros) -> tuple[Cell, int]:
    r"""A cell, and the rows that it covers (\multirow), which are negative if it reaches upwards."""
    span, rows = 1, 1
    text = source
    while match := _SPAN.match(text) or _ROWS.match(text):
        end = option(text, match.end())[1]
        number, end = group(text, end)
        end = option(text, end)[1]
        _, end = group(text, end)
        end = option(text, end)[1]
        inner, end = group(text, end)
        count = int(number) if re.fullmatch(r"\s*-?\d{1,3}\s*", number) else 1
        if "multicolumn" in match[0]:
            span = min(max(1, count), _MOST_SPANNED)
        else:
            rows = count
        text = inner + text[end:]
    place = at + len(source) - len(source.lstrip())
    return Cell(plain(text, macros), _line(place, lines), span), rows


def _line(at: int, lines: list[int]) -> int:
    return bisect_right(lines, at - 1) + 1


def _pieces(text: str, start: int, end: int) -> Iterator[_Piece]:
    r"""The rows between two places, split at \\ and & outside of braces and of tables within cells."""
    cells: list[tuple[int, str]] = []
    at, begun, depth, inner = start, start, 0, 0
    below_rule = False
    while at < end:
        if not cells and begun == at and (rule := _RULE.match(text, at, end)):
            below_rule |= bool(rule["rule"])
            at = begun = _after_rule(text, rule)
            continue
        character = text[at]
        if character == "\\":
            found = _ENVIRONMENT.match(text, at)
            if found:
                inner += 1 if found[1] == "begin" else -1
                at = found.end()
            elif text.startswith((r"\\", r"\tabularnewline", r"\cr "), at) and depth == 0 and inner <= 0:
                cells.append((begun, text[begun:at]))
                yield _Piece(cells, below_rule)
                at = _after_row(text, at)
                cells, begun, below_rule = [], at, False
            else:
                at += 2
            continue
        depth += (character == "{") - (character == "}")
        if character == "&" and depth == 0 and inner <= 0:
            cells.append((begun, text[begun:at]))
            begun = at + 1
        at += 1
    if cells or text[begun:end].strip():
        cells.append((begun, text[begun:end]))
        yield _Piece(cells, below_rule)


def _after_row(text: str, at: int) -> int:
    command = re.compile(r"\\\\\*?|\\tabularnewline|\\cr").match(text, at)
    assert command is not None
    end = command.end()
    return option(text, _skipped(text, end))[1] if text.startswith("[", _skipped(text, end)) else end


def _after_rule(text: str, rule: re.Match[str]) -> int:
    end = rule.end()
    end = option(text, end)[1]
    if text.startswith("(", end):
        end = text.find(")", end) + 1 or end
    for _ in range(_TAKES.get(rule[0].strip().rstrip("*"), 0)):
        end = option(text, end)[1]
        end = group(text, end)[1]
        if text.startswith("(", end):  # \cmidrule(lr){2-3}, whichever way round
            end = text.find(")", end) + 1 or end
    return end
