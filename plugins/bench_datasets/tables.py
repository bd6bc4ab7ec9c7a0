"""Reading csv files that users may have edited: whatever is wrong is named by its line."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import DataError
from bench_datasets.listing import first_few


def read_rows(path: Path, needed: Sequence[str], remedy: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, values by column) of every row; blanks around names and values are cut off.

    A file ending in .tab is separated by tabs. Raises DataError if the file cannot be read or a column of
    `needed` is missing; `remedy` ends that message.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); save it as a UTF-8 csv file") from None
    delimiter = "\t" if path.suffix == ".tab" else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, delimiter=delimiter)
    columns = [name.strip() for name in reader.fieldnames or []]
    if missing := [name for name in needed if name not in columns]:
        raise DataError(
            f"{path} line 1: no column {' and no column '.join(missing)} "
            f"(found: {', '.join(columns) or 'none'}); {remedy}"
        )
    reader.fieldnames = columns
    try:
        for row in reader:
            yield reader.line_num, {k: (v or "").strip() for k, v in row.items() if isinstance(k, str)}
    except csv.Error as error:  # a quote that is never closed, say
        raise DataError(f"{path} line {reader.line_num}: {error}; correct this line") from None


def refuse(path: Path, faults: Sequence[str]) -> None:
    """Raise DataError with the first few of `faults`, if there are any."""
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise DataError(f"{path}: {'; '.join(faults[:5])}{more}; correct these lines")


def refuse_lacking(names: Sequence[str], folder: Path, what: str, table: Path, remedy: str) -> None:
    """Raise DataError if any image of `folder` lacks `what`, which `table` should give."""
    if names:
        raise DataError(f"{folder}: no {what} in {table} for {first_few(names)}; {remedy}")
