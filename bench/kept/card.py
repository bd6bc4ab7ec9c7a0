"""The model card of a kept model: what it is, what it is not for, how well it does and on what, in Markdown.

The headings are those of Mitchell et al., "Model Cards for Model Reporting" (2019), as far as results know.
Everything that comes from outside is escaped. A card is written anew when further rounds have finished, so it
is no part of what is checksummed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.comparison.comparable import comparable, once_each
from bench.comparison.per_class import per_class_tables
from bench.comparison.rows import row_id
from bench.comparison.scored import ScoredUnit
from bench.comparison.tables import tables_of
from bench.errors import BenchError, describe
from bench.files import write_result
from bench.interfaces import cells
from bench.interfaces.reporter import Table, Tables
from bench.interfaces.rows import Estimate
from bench.manuscript.bibliography import find
from bench.manuscript.data_text import data_section
from bench.manuscript.document import Section, markdown_code, markdown_sentence, markdown_text
from bench.manuscript.facts import Comparison, Material, gather
from bench.manuscript.partition_text import partition_section
from bench.manuscript.training_text import training_sections
from bench.results import kept as kept_store
from bench.results import store
from bench.results.kept import CARD, Kept
from bench.results.record import Record
from bench.study.spec import RunSpec, UnitSpec

if TYPE_CHECKING:
    from bench.registry import Registry

log = logging.getLogger("bench")

PURPOSE = """\
For research on methods: to look at what a stored result was computed from, to predict further images, to
compare with other models, to begin further training.

It is **not a medical device**. It must not be used to diagnose, to screen, to decide about or to prioritise
patients. It gives a probability to each of its classes for any image whatever, also for one that shows none
of them, is of another body part, or no medical image at all. Nobody has examined how it does on images of
other hospitals, devices or populations than those below, unless that is said there."""


@dataclass(frozen=True)
class _Method:
    """What the finished rounds of one method say together."""

    records: Sequence[Record]
    comparison: Comparison
    material: Material
    table: Table
    per_class: Sequence[Table]
    problem: str = ""  # why there is nothing per class


def card(record: Record, kept: Kept, records: Sequence[Record], results: Path, registry: Registry) -> str:
    """The card of the kept model of a run. `records` are those of the folder `results`: all finished rounds
    of the same method count, if they may be compared. Raises BenchError for what cannot be told."""
    return _card(record, kept, _method(record, records, results, registry), registry)


def write_cards(results: Path, units: Iterable[UnitSpec], registry: Registry) -> list[Path]:
    """Write the card of every kept model among these units; one that cannot be written is a warning. Returns
    their files."""
    runs = [unit for unit in units if isinstance(unit, RunSpec)]
    runs = [
        run
        for run in runs
        if store.exists(results, run) and kept_store.lacks(results, run, ["model"]) is None
    ]
    if not runs:
        return []
    records, _ = store.scan(results)
    by_key = {record.key: record for record in records if record.status == "done"}
    methods: dict[str, _Method] = {}
    written = []
    for run in runs:
        folder = kept_store.path_of(results, run)
        try:
            method = methods.get(run.key) or _method(by_key[run.key], records, results, registry)
            methods |= dict.fromkeys((each.key for each in method.records), method)
            text = _card(by_key[run.key], kept_store.read(folder), method, registry)
            write_result(folder / CARD, text)
            written.append(folder / CARD)
        except (BenchError, KeyError) as error:
            log.warning("%s: no model card can be written (%s)", folder, describe(error))
    return written


def _method(record: Record, records: Sequence[Record], results: Path, registry: Registry) -> _Method:
    row = rounds_of(record, records)
    metrics = [metric for metric in registry.metrics.all() if metric.default]
    material = gather([*row, *_pretrainings(row, records)], results, metrics, registry)
    table = tables_of(row, results, registry=registry).tables[0]
    try:
        per_class, problem = per_class_tables(row, results, registry=registry).tables, ""
    except BenchError as error:
        per_class, problem = Tables(), str(error)
    return _Method(row, material.comparisons[0], material, table, per_class, problem)


def _card(record: Record, kept: Kept, method: _Method, registry: Registry) -> str:
    comparison, material = method.comparison, method.material
    title = f"{kept.model.name}, {kept.strategy.name}: {comparison.title}"
    parts = [
        f"# {markdown_text(title)}",
        _summary(record, kept, len(method.records)),
        "## Intended use",
        PURPOSE,
        *_data(comparison, material),
        "## Training",
        *map(_paragraph, training_sections(comparison, material)),
        *_metrics(record, method),
        *_weaknesses(record),
        "## How to load it",
        _loading(kept),
        *_environment(record),
        *_licences(material, kept, registry),
    ]
    return "\n\n".join(parts) + "\n"


def rounds_of(record: Record, records: Sequence[Record]) -> list[Record]:
    """The finished rounds of the method of a run that may stand in one table with it."""
    row = row_id(record.spec)
    alike = [
        other
        for other in records
        if other.status == "done" and isinstance(other.spec, RunSpec) and row_id(other.spec) == row
    ]
    for group in comparable(once_each(ScoredUnit(record=each, damage=each.damage) for each in alike)):
        if any(unit.record.key == record.key for unit in group):
            return [unit.record for unit in group]
    return [record]


def _pretrainings(row: Sequence[Record], records: Sequence[Record]) -> list[Record]:
    starts = {
        record.spec.start.key for record in row if isinstance(record.spec, RunSpec) and record.spec.start
    }
    return [record for record in records if record.key in starts and record.status == "done"]


def _summary(record: Record, kept: Kept, rounds: int) -> str:
    cost = record.cost
    size = f", {cost.params / 1e6:.3g} million parameters" if cost and cost.params else ""
    operations = f", {cost.macs / 1e9:.3g} GMACs an image" if cost and cost.macs else ""
    classes = ", ".join(map(markdown_code, kept.classes))
    return (
        f"{markdown_code(kept.model.name)}{size}{operations}, fine-tuned from weights of "
        f"{markdown_code(kept.strategy.name)} to tell {len(kept.classes)} classes of images of {kept.size} "
        f"by {kept.size} pixels: {classes} (in the order of its outputs). It is that of round {kept.round}, "
        f"stored under the key {markdown_code(kept.key)}; {rounds} round{'s' * (rounds != 1)} of this method "
        f"{'have' if rounds != 1 else 'has'} finished."
    )


def _paragraph(section: Section) -> str:
    return f"**{section.heading}.** {' '.join(map(markdown_sentence, section.sentences))}"


# --- data --------------------------------------------------------------------------------------------


def _data(comparison: Comparison, material: Material) -> Iterator[str]:
    yield "## Data"
    yield _paragraph(data_section(comparison, material))
    yield _paragraph(partition_section(comparison))
    for number, data in comparison.data.items():
        if data.counts:
            classes = list(next(iter(data.counts.values())))
            heads = ["class", *data.counts]
            rows = [
                [name, *(str(by[name].images) if name in by else "0" for by in data.counts.values())]
                for name in classes
            ]
            yield f"Images of round {number}:"
            yield _table(heads, rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    bars = ["---", *["---:"] * (len(heads) - 1)]
    shown = [[markdown_text(cell) for cell in row] for row in (heads, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (shown[0], bars, *shown[1:]))


# --- metrics -----------------------------------------------------------------------------------------


def _metrics(record: Record, method: _Method) -> Iterator[str]:
    """The metrics of this model on the test images of its round, and of its method over all rounds."""
    row = method.table.rows[0]
    mean = f"mean of {row.rounds_done} round{'s' * (row.rounds_done != 1)}"
    lines = []
    for column in method.table.columns:
        if value := row.values.get(column.name):
            own = value.rounds.get(record.spec.round)
            own_text = cells.NOTHING if own is None else cells.mean(Estimate(mean=own))
            beside = cells.interval(value) or cells.NOTHING
            lines.append([column.title, own_text, cells.mean(value), beside])
    yield "## Metrics"
    yield _table(["metric", "this model", mean, "95 % interval"], lines)
    yield (
        "All are of test images, which no choice has seen. The interval is of the mean: from test images, "
        "resampled in groups, and from what rounds differ by beyond that."
        + (" With one round it is of this trained model, not of its method." if row.rounds_done == 1 else "")
    )
    yield from _per_class(method)


def _per_class(method: _Method) -> Iterator[str]:
    """Each class against the rest, as `bench table --per-class` has it; a word where that cannot be."""
    if method.problem or not method.per_class:
        yield markdown_text(f"Nothing can be said per class: {method.problem or 'no class has test images'}.")
        return
    columns = method.per_class[0].columns
    lines = []
    for table in method.per_class:
        values = table.rows[0].values
        shown = (f"{cells.mean(values.get(c.name))} {cells.interval(values.get(c.name))}" for c in columns)
        name = table.title.removeprefix(f"{method.table.title}: ").removesuffix(" against the rest")
        lines.append([name, *(text.strip() for text in shown)])
    rounds = method.per_class[0].rows[0].rounds_done
    yield f"Each class against the rest, mean of {rounds} round{'s' * (rounds != 1)}:"
    yield _table(["class", *(column.title for column in columns)], lines)


# --- what is known to be wrong, how to use it, where it is from --------------------------------------


def _weaknesses(record: Record) -> Iterator[str]:
    yield "## Known weaknesses"
    said = list(record.notes)
    if record.data and (audit := record.data.audit):
        said.append(f"audit {audit.audit[:8]} ({audit.search}): {audit.text}")
        if audit.label_conflicts:
            said.append(
                f"{audit.label_conflicts} validation and test images have duplicates of another label"
            )
        if audit.kept_out:
            said.append(f"{audit.kept_out} images, whose duplicates carry another label, were not tested on")
        said += audit.remarks
    else:
        said.append("the images were not audited for duplicates, nor for shortcuts")
    said.append("its probabilities were not calibrated")
    yield "\n".join(f"- {markdown_text(each)}" for each in dict.fromkeys(said))


def _loading(kept: Kept) -> str:
    normalization = kept.normalization
    return (
        f"With [bench]({HOME}), which prepares images as in training:\n\n"
        f"```console\n$ bench predict {kept.key} IMAGES... -o predictions.csv\n"
        f"$ bench export {kept.key} --to onnx\n```\n\n"
        f"Without it: the short side of an image is resized to {kept.size} pixels (bilinear, antialiased, in "
        f"8 bits), its centre of {kept.size} by {kept.size} is cut, values from 0 to 1 are normalised by the "
        f"mean {_triple(normalization.mean)} and the deviation {_triple(normalization.std)} of red, green "
        "and blue; grey images have three equal channels. The outputs are logits."
    )


HOME = "https://github.com/bench-medical/bench"


def _triple(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


def _environment(record: Record) -> Iterator[str]:
    yield "## Environment"
    made = record.provenance
    packages = ", ".join(f"{name} {version}" for name, version in made.packages.items())
    hardware = ", ".join(f"{name} {value}" for name, value in made.hardware.items() if value)
    yield markdown_text(f"Python {made.python}, {made.platform}; {packages}. Computed on {hardware}.")
    took = []
    if record.timings:
        took.append(f"{record.timings.seconds:.0f} s for fine-tuning")
    if record.usage and record.usage.energy is not None:
        took.append(
            f"{record.usage.energy / 1000:.3g} kJ of energy for it, as counted by "
            f"{record.usage.energy_source}, whatever else worked there included"
        )
    else:
        took.append("its energy was not measured, so nothing is said of carbon")
    yield markdown_text(f"It took {'; '.join(took)}.")


def _licences(material: Material, kept: Kept, registry: Registry) -> Iterator[str]:
    yield "## Licences and citation"
    lines = []
    for what, kind, name in (
        ("data set", "dataset", kept.dataset),
        ("network", "model", kept.model.name),
        ("strategy", "strategy", kept.strategy.name),
    ):
        found = find(kind, name, registry)
        component = found.component if found else None
        licence = (component.licence if component else "") or "no licence is stated"
        if kind == "strategy" and component and not component.licence:
            licence = "as the package that it is of"
        citation = f"; cite {component.citation}" if component and component.citation else ""
        lines.append(f"- {what} {markdown_code(name)}: {markdown_text(licence + citation)}")
    if kept.weights:
        lines.append(f"- training began at: {markdown_text(kept.weights)}")
    lines.append(
        "- these weights were trained on that data set: whether they may be passed on, and how they may be "
        "used, its terms decide too"
    )
    yield "\n".join(lines)
    if works := str(material.works).rstrip():
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", works)), default=0))
        yield f"{fence}bibtex\n{works}\n{fence}"


def short_card(kept: Kept) -> str:
    """The card of a model that was taken out of its results, which say the rest."""
    title = markdown_text(f"{kept.model.name}, {kept.strategy.name}: {kept.dataset}")
    parts = [
        f"# {title}",
        f"Classes: {', '.join(map(markdown_code, kept.classes))}.",
        "## Intended use",
        PURPOSE,
        "Its results, which say how well it does, were not there when this card was written.",
        "## How to load it",
        _loading(kept),
    ]
    return "\n\n".join(parts) + "\n"
