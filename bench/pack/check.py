"""Everything that a pack says of itself, computed again from its predictions."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from bench.comparison.build import Shown
from bench.comparison.reporters import render
from bench.comparison.tables import tables_of
from bench.errors import BenchError
from bench.pack.leaks import AS_STORED, check_splits
from bench.pack.opened import Opened
from bench.pack.tables import FOLDER, compare_csv, compare_text, metrics_of
from bench.registry import Registry
from bench.results.recompute import recompute
from bench.results.record import Record
from bench.results.verify import Verification, verify_results

CSV, MARKDOWN = f"{FOLDER}/table.csv", f"{FOLDER}/table.md"
REPACKED = "pack the results anew, or look for who edited it"


def check_pack(pack: Opened, registry: Registry, found: Verification) -> list[Record]:
    """Check an unpacked pack; what is wrong is added to `found`. Returns the records that could be read."""
    found.counts["files"] = pack.files
    for what in pack.differing:
        found.add(pack.folder, what, REPACKED)
    records = verify_results(pack.results, found)
    recompute(pack.results, records, registry, found)
    check_splits(pack.results, records, found)
    check_tables(pack.folder, pack.results, records, registry, found)
    return records


def check_tables(
    folder: Path, results: Path, records: Sequence[Record], registry: Registry, found: Verification
) -> None:
    """Compare the tables in `folder` with those that the results give."""
    packed = _text(folder / CSV, found)
    if packed is None:
        found.add(folder / CSV, "is missing", REPACKED)
        return
    known, others = metrics_of(packed, registry)
    if others:
        found.unchecked.append(f"{CSV}: columns of {', '.join(others)}, which no installed plugin offers")
    shown = Shown(ranks=True, costs=True)
    tables = tables_of(_shown(records), results, known, registry=registry, shown=shown).tables
    for name in (CSV, MARKDOWN):
        text = packed if name == CSV else _text(folder / name, found)
        suffix = Path(name).suffix
        reporter = registry.reporters.first(lambda reporter, s=suffix: s in reporter.suffixes)  # type: ignore[misc]
        if text is None or reporter is None or (name == MARKDOWN and others):
            continue
        again = render(reporter, tables, registry)
        found.counts["tables"] += 1
        try:
            differing = list(compare_csv(text, again, others) if name == CSV else compare_text(text, again))
        except csv.Error as error:
            differing = [f"is no CSV ({error})"]
        for what in differing:
            found.add(folder / name, what, AS_STORED)


def _shown(records: Sequence[Record]) -> list[Record]:
    """One record of every unit, as `store.scan` gives them: a failure of what is done by now is none."""
    units: dict[str, Record] = {}
    for record in records:
        units.setdefault(record.key, record)
    return list(units.values())


def _text(file: Path, found: Verification) -> str | None:
    """The text of a file; None if it is not there, or cannot be read, which is then told."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        found.add_error(file, BenchError(f"{file}: cannot be read ({error}); {REPACKED}"))
        return ""
