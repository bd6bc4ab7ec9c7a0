"""What was compared: data, methods, rounds and protocol in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.comparison.compare import Table
from bench.comparison.footer import settings_text
from bench.comparison.sentences import amount, rounds_text, unit
from bench.interfaces.selection import tested_on
from bench.manuscript.bibliography import find
from bench.report.gathered import Gathered
from bench.report.section import Section
from bench.report.templating import render
from bench.results.record import DataSummary
from bench.study.spec import EnsembleSpec, RunSpec


class Compared(NamedTuple):
    """One table in words: what it is called, and facts by name, those that all tables share left out."""

    where: str
    facts: Sequence[tuple[str, str]]


class Component(NamedTuple):
    """What a method's name stands for."""

    name: str
    about: str
    caution: str


def compared_sections(gathered: Gathered) -> list[Section]:
    """The first section: it is there without results, too, and says so."""
    facts = [(table.where, _facts(table)) for table in gathered.tables]
    shared: list[tuple[str, str]] = []
    if len(facts) > 1:
        shared = [("Compared on", ", ".join(where for where, _ in facts))]
        shared += [fact for fact in facts[0][1] if all(fact in of for _, of in facts)]
    html = render(
        "compared.html",
        tables=[Compared(where, [fact for fact in of if fact not in shared]) for where, of in facts],
        unfinished=[group[0].spec.dataset.name for group in gathered.unfinished],
        shared=[*shared, *_asked(gathered)],
        components=list(_components(gathered)),
    )
    return [Section("compared", "What was compared", html)]


def _facts(table: Table) -> list[tuple[str, str]]:
    units = [unit for method in table.methods for unit in method.done.values()]
    data = next((unit.record.data for unit in units if unit.record.data), None)
    rounds = rounds_text(len({unit.spec.round for unit in units}))
    own = "on the parts that the data set fixes" if data and data.fixed else "each with a split of its own"
    tested = tested_on(units[0].spec.dataset.params)
    facts = [
        ("Images", _images(data, units[0].split) + (f"; {tested}" if tested else "")),
        ("Changed", "; ".join(data.changes) if data else ""),
        ("Methods", _methods(table)),
        ("Rounds", f"{rounds}, {own}"),
        ("Protocol", settings_text(units)),
    ]
    return [(name, value) for name, value in facts if value]


def _images(data: DataSummary | None, split: str) -> str:
    """ "780 images (546 train, 78 val, 156 test) of 3 classes: benign, malignant, normal; holdout ..."."""
    if data is None or not data.counts:
        return "the records do not say"
    sums = {part: sum(n.images for n in by.values()) for part, by in data.counts.items()}
    parts = ", ".join(f"{count:,} {part}" for part, count in sums.items() if count)
    classes = list(dict.fromkeys(name for by in data.counts.values() for name in by))
    listed = f": {', '.join(classes)}" if len(classes) <= 12 else ""
    text = f"{sum(sums.values()):,} images ({parts}) of {len(classes)} classes{listed}"
    return text + (f"; split {split}" if split else "")


def _methods(table: Table) -> str:
    runs = [method for method in table.methods if not method.is_ensemble]
    ensembles = [method for method in table.methods if method.is_ensemble]
    models = list(dict.fromkeys(method.label.model for method in runs))
    strategies = list(dict.fromkeys(method.label.method for method in runs))
    text = f"{', '.join(strategies)} on {', '.join(models)}" if runs else ""
    if ensembles:
        names = ", ".join(dict.fromkeys(method.label.method for method in ensembles))
        kind = f"ensemble{'s' * (len(ensembles) != 1)}"
        text = f"{text}; {kind} {names}" if text else f"{kind} {names}"
    return text


def _asked(gathered: Gathered) -> Sequence[tuple[str, str]]:
    """By what methods are compared, and whether that was said before the study was run."""
    question, declared = gathered.question, gathered.question.declared
    metric = question.metric
    said = "declared before the study was run" if question.is_primary else "chosen for this report"
    margin = f"{amount(metric, declared.margin)}{unit(metric)}"
    rows = [("Compared by", f"{metric.title}, {said}")]
    if declared.baseline:
        rows.append(("Baseline", f"{declared.baseline}: every other method is compared with it"))
    else:
        rows.append(("Baseline", "none: all pairs of methods are compared"))
    rows.append(("Practically equal", f"within {margin}"))
    return rows


def _components(gathered: Gathered) -> Iterator[Component]:
    """The strategies, ensembles and networks of the tables, with what their plugins say of them."""
    named: dict[tuple[str, str], None] = {}
    for table in gathered.tables:
        for method in table.methods:
            spec = method.units[0].spec
            if isinstance(spec, EnsembleSpec):
                named["ensemble", spec.ensemble.name] = None
            elif isinstance(spec, RunSpec):
                named["strategy", spec.strategy.name] = None
                named["model", spec.model.name] = None
    for kind, name in sorted(named, key=lambda each: ("strategy", "ensemble", "model").index(each[0])):
        entry = find(kind, name, gathered.registry)
        if entry is None:
            yield Component(name, f"a {kind} that is not installed here", "")
        else:
            yield Component(name, entry.component.about, entry.component.caution)
