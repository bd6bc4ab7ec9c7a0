"""What a reporter promises."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from bench.interfaces.reporter import Reporter, Table
from bench.interfaces.rows import Column, Estimate, Row
from bench.testing.component import check_component, works

ACCURACY = Column(name="accuracy", title="Accuracy")
LOSS = Column(name="loss", title="Loss", higher_is_better=False)
SPECIAL = "a|b & <i>c</i> 50% $d$ #e _f_ {g} ~h ^i \\j [bold]k[/bold] `l` \"m\" 'n' o;p,q\nr\ts"
UNICODE = "Käse Ωμέγα 超音波 \N{SNOWMAN} e\N{COMBINING ACUTE ACCENT}"


def check_reporter(reporter: Reporter) -> None:
    """Any tables give text, the same each time, that keeps what the numbers need in order to be read.

    In particular: no tables, a table without rows or columns, rows without values, values that are not
    defined (nan) or have no spread, reported rows, ensembles, and special or Unicode characters are not an
    error; the text can be written as UTF-8; titles, protocols, models, methods, notes and footers are in it,
    and means to two digits.
    """
    check_component(reporter)
    name = reporter.name
    for case, tables in _cases().items():
        with works(f"{name}: fails for {case}"):
            text, again = reporter.render(tables), reporter.render(tables)
        assert isinstance(text, str), f"{name}: gives a {type(text).__name__} for {case}, not a str"
        assert text == again, f"{name}: rendered again, {case} gives another text"
        with works(f"{name}: the text for {case} cannot be written"):
            text.encode("utf-8")
    _check_words(
        name, reporter.render([_ordinary()]), "Stitle", "Sprotocol", "Smodel", "Smethod", "Sensemble"
    )
    _check_words(name, reporter.render([_ordinary()]), "Snote", "Sfooter", "Sreported")
    row = Row(kind="run", model="Käse", method="超音波")
    _check_words(name, reporter.render([_table(row)]), "Käse", "超音波")
    two = reporter.render([_table(row, title="Sone"), _table(row, title="Stwo")])
    _check_words(name, two, "Sone", "Stwo")
    digits = reporter.render([_ordinary()]).replace(".", "")
    for mean in ("75", "25"):
        assert mean in digits, f"{name}: the mean 0.{mean} is not in the text"


def _check_words(name: str, text: str, *words: str) -> None:
    for word in words:
        forms = (word, json.dumps(word).strip('"'), word.encode("ascii", "xmlcharrefreplace").decode())
        kept = any(form in text for form in forms)
        assert kept, f"{name}: {word!r} of the table is not in the text"


def _cases() -> Mapping[str, Sequence[Table]]:
    values = {"accuracy": Estimate(mean=0.75, spread=0.01)}
    row = Row(kind="run", model="net", method="method", rounds_done=1, rounds_asked=1, values=values)
    undefined = {"accuracy": Estimate(mean=math.nan), "loss": Estimate(mean=0.5)}
    strange = Row(kind="ensemble", model=SPECIAL, method=UNICODE, values=values, note=SPECIAL)
    return {
        "no tables": [],
        "an ordinary table": [_ordinary()],
        "a table without rows": [_table()],
        "a table without columns": [_table(row, columns=())],
        "rows without values": [_table(Row(kind="run", model="net", method="failed", rounds_asked=5))],
        "values that are not defined": [_table(Row(kind="run", model="n", method="m", values=undefined))],
        "reported rows alone": [_table(Row(kind="reported", model="n", method="reported", values=values))],
        "special characters": [_table(strange, title=SPECIAL, footer=(SPECIAL,))],
        "special column titles": [_table(row, columns=(Column(name="accuracy", title=SPECIAL),))],
        "tables of different columns": [_table(row, columns=(ACCURACY,)), _table(row, columns=(LOSS,))],
    }


def _table(
    *rows: Row,
    title: str = "data",
    columns: tuple[Column, ...] = (ACCURACY, LOSS),
    footer: tuple[str, ...] = (),
) -> Table:
    return Table(title=title, protocol="protocol", columns=columns, rows=rows, footer=footer)


def _ordinary() -> Table:
    """Of every kind of row one; each word that must be seen begins with S."""
    run = Row(
        kind="run",
        model="Smodel",
        method="Smethod",
        rounds_done=4,
        rounds_asked=5,
        gmacs=0.5,
        mparams=12.5,
        values={"accuracy": Estimate(mean=0.75, spread=0.0625), "loss": Estimate(mean=0.25)},
        note="Snote",
    )
    ensemble = Row(
        kind="ensemble",
        model="Smodel",
        method="Sensemble",
        rounds_done=5,
        rounds_asked=5,
        values={"accuracy": Estimate(mean=0.5, spread=0.125)},
    )
    reported = Row(
        kind="reported", model="Sreported", method="reported", values={"accuracy": Estimate(mean=0.875)}
    )
    table = _table(run, ensemble, reported, title="Stitle", footer=("Sfooter",))
    return Table(**{**vars(table), "protocol": "Sprotocol"})
