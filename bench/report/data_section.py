"""The data: which images, how they were divided, what was changed, and what the audit found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from bench.comparison.hard_images_text import name_of, short_name
from bench.comparison.scored import ScoredUnit
from bench.data.fetch.fetch import count_differences
from bench.data.fetch.local_state import read_consent
from bench.data.images.index import first_few
from bench.errors import BenchError, DataNotFound
from bench.execution.pictures import same_images
from bench.identity import to_json
from bench.interfaces.dataset import Dataset
from bench.interfaces.selection import external_name
from bench.manuscript.bibliography import find
from bench.manuscript.document import Cite, Gap, Part, Sentence, text_sentence
from bench.manuscript.facts import Comparison, distinct, gather, shared_by, telling
from bench.manuscript.partition_text import audit, division, rounds
from bench.manuscript.training_text import pixels
from bench.parsing import brief
from bench.report.composition import Composition, composition
from bench.report.gathered import Gathered
from bench.report.section import Section
from bench.report.stored_checks import Stored, stored_checks
from bench.report.templating import render
from bench.text import by_kind

LINE = 400  # characters of a sentence that names images
EXAMPLES = 5  # leaks of a round


class OfDataset(NamedTuple):
    """One data set, as one or several tables have it.

    Attributes:
        title: what tables call it.
        tables: headings of these, if they are several.
        about: of the component.
        caution: a warning of the component.
        facts: name and value.
        composition: images by class and part; None where no record says.
        changes: what the study changed, passed over, and subtracted from pixels.
        division: how images were divided, a sentence each.
        audit: what the audit says of the splits.
        leaks: the sentences that say that a split leaks, with examples.
        stored: what audits, manifests and pools say.
        here: what is known of the copy on this machine.
        is_other: whether that is not the one of these results.
        problem: why nothing else can be told.
    """

    title: str
    tables: Sequence[str] = ()
    about: str = ""
    caution: str = ""
    facts: Sequence[tuple[str, str]] = ()
    composition: Composition | None = None
    changes: Sequence[str] = ()
    division: Sequence[str] = ()
    audit: Sequence[str] = ()
    leaks: Sequence[str] = ()
    stored: Stored | None = None
    here: str = ""
    is_other: bool = False
    problem: str = ""


def data_sections(gathered: Gathered) -> list[Section]:
    """None without a finished run. All of it is from records and stored files, whether the images are there
    or not."""
    material = gather(
        gathered.records, gathered.results, gathered.metrics, gathered.registry, gathered.question.datasets
    )
    groups = shared_by(material.comparisons, _images_of)
    if not groups:
        return []
    datasets = [_told(gathered, comparisons) for _, comparisons in groups]
    return [Section("data", "Data", render("data.html", datasets=datasets))]


def _images_of(comparison: Comparison) -> object:
    """What comparisons of the same images, divided in the same way, have in common."""
    contents = sorted({data.content for data in comparison.data.values()})
    splits = sorted({(record.spec.round, record.spec.split) for record in comparison.evaluated})
    return to_json(comparison.dataset), contents, splits


def _told(gathered: Gathered, comparisons: Sequence[Comparison]) -> OfDataset:
    comparison = comparisons[0]
    try:
        with telling(comparison):
            return _of_dataset(gathered, comparisons)
    except BenchError as error:
        return OfDataset(comparison.title, problem=str(error))


def _of_dataset(gathered: Gathered, comparisons: Sequence[Comparison]) -> OfDataset:
    comparison = comparisons[0]
    registered = find("dataset", comparison.dataset.name, gathered.registry)
    component = registered.component if registered else None
    here, is_other = _here(gathered, comparison, component)
    return OfDataset(
        title=comparison.title,
        tables=distinct(each.heading for each in comparisons) if len(comparisons) > 1 else (),
        about=component.about if component else "It is not installed here, so its terms are not known.",
        caution=component.caution if component else "",
        facts=[(name, value) for name, value in _facts(comparison, component) if value],
        composition=composition(comparison.data),
        changes=[*_changes(comparison), *_texts(pixels(comparison))],
        division=_texts([*rounds(comparison), *division(comparison)]),
        audit=_texts(audit(comparison)),
        leaks=list(_leaks(comparison)),
        stored=stored_checks(comparison),
        here=here,
        is_other=is_other,
    )


def _facts(comparison: Comparison, component: object) -> Iterator[tuple[str, str]]:
    known = list(comparison.data.values())
    yield "Version", ", ".join(distinct(data.version for data in known if data.version))
    yield "Parameters", _params(comparison)
    yield "Tested on", external_name(comparison.dataset.params)
    yield "Content", ", ".join(distinct(f"{d.content} (sha256)" for d in known if d.content))
    reviewed = distinct(item for data in known for item in data.reviewed.items())
    yield "Reviewed file", "; ".join(f"{short_name(name)}, sha256 {sha256}" for name, sha256 in reviewed)
    bits = distinct(data.bits for data in known if data.bits)
    yield "Bits", f"files with 16 bits hold {', '.join(map(str, bits))}; reduced to 8" if bits else ""
    if isinstance(component, Dataset):
        yield "Licence", component.licence or "not stated"
        yield (
            "Passing on",
            component.redistribution or "the licence does not say that images may be passed on",
        )
        yield "Citation", component.citation
        yield "Home page", component.home


def _params(comparison: Comparison) -> str:
    """Those that are not at their default."""
    return brief(", ".join(f"{name}={value}" for name, value in comparison.dataset.params.items()), LINE)


def _changes(comparison: Comparison) -> Iterator[str]:
    known = comparison.data.values()
    for change in distinct(change for data in known for change in data.changes):
        yield f"{change[:1].upper()}{change[1:]}."
    for passed in distinct(dict(data.passed_over) for data in known if data.passed_over):
        yield f"Passed over among the files of the images: {by_kind(passed)}."


def _leaks(comparison: Comparison) -> Iterator[str]:
    for number, data in comparison.data.items():
        if data.audit and data.audit.leaks:
            examples = "; ".join(data.audit.examples[:EXAMPLES])
            yield brief(f"Round {number}: {data.audit.text}{f' ({examples})' if examples else ''}.", LINE)


def _texts(sentences: Iterable[Sentence]) -> list[str]:
    """Sentences without their citations, which have a section of their own; what records do not say is
    named."""
    return [brief(text_sentence(tuple(_recorded(sentence))), LINE) for sentence in sentences]


def _recorded(sentence: Sentence) -> Iterator[Part]:
    for part in sentence:
        if isinstance(part, Gap):
            yield f"Not recorded: {part.text}."
        elif not isinstance(part, Cite):
            yield part


# --- the copy on this machine ------------------------------------------------------------------------


def _here(gathered: Gathered, comparison: Comparison, component: object) -> tuple[str, bool]:
    """What is known of the images on this machine, and whether they are others; nothing without a session."""
    session = gathered.session
    if session is None or not isinstance(component, Dataset):
        return "", False
    record = comparison.evaluated[0]
    try:
        images = same_images(ScoredUnit(record=record), session, locate=gathered.locate)
    except DataNotFound:
        return "Where this page was made, its images were not there.", False
    except BenchError as error:
        return f"{brief(str(error), LINE)}.", True
    text = "Where this page was made, its images were there, and are those of these results: all "
    text += f"{len(images):,} have the same pixels, labels and groups."
    if differing := count_differences(session.index(comparison.dataset), component):
        listed = [f"{name_of(name)} {there} of {expected}" for name, (there, expected) in differing.items()]
        text += f" The published version has other counts: {first_few(listed, 8)}."
    consent = read_consent(session.environment.data / comparison.dataset.name).get("date")
    return text + (f" Its terms were agreed to on {consent}." if consent else ""), False
