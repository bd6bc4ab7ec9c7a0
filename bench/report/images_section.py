"""Images that methods find hard: those that all get wrong, the most confident errors, the most disagreed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

from bench.comparison.compare import Table
from bench.comparison.hard_images import HardImages, ImageVotes, MethodErrors, read_hard_images
from bench.comparison.hard_images_text import RULE, coverage, headlines, name_of, predicted, short_name
from bench.data.images.index import first_few
from bench.data.images.thumbnail import Thumbnail, sized_thumbnail
from bench.data.preview.embedding import Embedding
from bench.errors import BenchError
from bench.execution.pictures import Pictured, pictured
from bench.report.gathered import Gathered
from bench.report.section import Section
from bench.report.templating import render

MOST_PICTURES = 60  # of a report
MOST_CHARACTERS = 500_000  # of their data URIs together: 4 data sets x 12 methods take 1.5 MB without them
SIDE = 160  # of a picture, pixels
LISTED = 12  # images of a list
OF_METHOD = 3  # errors of one method


class Card(NamedTuple):
    """One image of a list.

    Attributes:
        name: its id, cut to what can be read.
        anchor: of its picture; "" where there is none.
        picture: None where an earlier list has it, or none is shown.
        alt: what the picture shows.
        image: what was predicted for it.
        given: its label.
        wrong: the likeliest wrong class.
        predicted: which classes were predicted, and how often.
        right_by: ensembles that get right what no other method does.
        mate: an image of the same group that stands before it in the list.
        measure: what the list is sorted by, in words.
    """

    name: str
    anchor: str
    picture: Thumbnail | None
    alt: str
    image: ImageVotes
    given: str
    wrong: str
    predicted: str
    right_by: str
    mate: str
    measure: str


class ListOfImages(NamedTuple):
    """One of the lists of a table.

    Attributes:
        title: what it lists, and how many there are.
        about: how to read it.
        cards: the first ones.
        is_pictured: whether any of these has a picture.
        more: how many are not shown.
    """

    title: str
    about: str
    cards: Sequence[Card]
    is_pictured: bool
    more: int


class OfMethod(NamedTuple):
    """What one method gets wrong: how many images, and the most confident ones in words."""

    name: str
    wrong: str
    first: Sequence[str]


class OfTable(NamedTuple):
    """One table.

    Attributes:
        where: what it is called.
        problem: why there is nothing to show.
        facts: sentences on what the lists rest on.
        pictures: why there are pictures, or none.
        is_warning: whether that is because something is wrong.
        lists: of images.
        methods: what each gets wrong.
        command: that gives all of it.
    """

    where: str
    problem: str = ""
    facts: Sequence[str] = ()
    pictures: str = ""
    is_warning: bool = False
    lists: Sequence[ListOfImages] = ()
    methods: Sequence[OfMethod] = ()
    command: str = ""


def images_sections(gathered: Gathered) -> list[Section]:
    """None without a finished run. A table whose predictions cannot be read says so in its place."""
    if not gathered.tables:
        return []
    tables = [_of_table(gathered, table, place) for place, table in enumerate(gathered.tables)]
    return [Section("images", "Images", render("images.html", tables=tables, rule=RULE))]


def _of_table(gathered: Gathered, table: Table, place: int) -> OfTable:
    try:
        found = read_hard_images(table.where, table.methods)
    except BenchError as error:
        return OfTable(table.where, problem=str(error))
    shown = _pictured(gathered, table)
    lists = [found.never_right[:LISTED], found.confident_errors[:LISTED], found.disagreed[:LISTED]]
    pictures = _pictures(_in_turn(lists), shown, len(gathered.tables))
    return OfTable(
        where=table.where,
        facts=coverage(found),
        pictures=shown.rule.why,
        is_warning=bool(shown.problem and gathered.pictures),
        lists=list(_lists(found, lists, pictures, place)),
        methods=[_of_method(of) for of in found.by_method],
        command=f"bench hard-images --dataset {table.methods[0].units[0].spec.dataset.name} --format csv",
    )


# --- pictures ----------------------------------------------------------------------------------------


def _pictured(gathered: Gathered, table: Table) -> Pictured:
    unit = next(iter(table.methods[0].done.values()))
    if gathered.session is None:
        asked = ", as --no-pictures asked" if gathered.pictures is False else ""
        return Pictured(Embedding(False, f"There are no pictures in this page{asked}."))
    return pictured(unit, gathered.session, gathered.pictures, gathered.locate)


def _in_turn(lists: Sequence[Sequence[ImageVotes]]) -> list[str]:
    """The ids of all lists, each once: the first of every list, then the second ones, and so on."""
    ranked = chain.from_iterable(zip_longest(*lists))
    return list(dict.fromkeys(one.id for one in ranked if one is not None))


def _pictures(ids: Iterable[str], shown: Pictured, tables: int) -> dict[str, Thumbnail]:
    """Of the first of these images, as many as a report of so many tables has room for."""
    if shown.images is None:
        return {}
    places = {id_: i for i, id_ in enumerate(shown.images.ids)}
    view, room = shown.images.view(shown.short), MOST_CHARACTERS // tables
    made: dict[str, Thumbnail] = {}
    for id_ in ids:
        if len(made) == MOST_PICTURES // tables:
            break
        new = sized_thumbnail(view[places[id_]], SIDE)
        room -= len(new.uri)
        if room < 0:
            break
        made[id_] = new
    return made


# --- lists -------------------------------------------------------------------------------------------


def _lists(
    found: HardImages,
    lists: Sequence[Sequence[ImageVotes]],
    pictures: Mapping[str, Thumbnail],
    place: int,
) -> Iterator[ListOfImages]:
    anchors = {id_: f"image-{place}-{number}" for number, id_ in enumerate(pictures)}
    of_lists = (found.never_right, found.confident_errors, found.disagreed)
    left = dict(pictures)
    for heading, listed, every in zip(headlines(found), lists, of_lists, strict=True):
        mates = _mates(listed)
        cards = [
            _card(one, anchors.get(one.id, ""), left.pop(one.id, None), mate, heading.measure(one))
            for one, mate in zip(listed, mates, strict=True)
        ]
        is_pictured = any(card.anchor for card in cards)
        yield ListOfImages(heading.title, heading.about, cards, is_pictured, len(every) - len(listed))


def _mates(listed: Sequence[ImageVotes]) -> Iterator[str]:
    """Of each image the first one before it that is of its group; "" where there is none."""
    first: dict[str, str] = {}
    for one in listed:
        mate = first.setdefault(one.group, one.id)
        yield "" if mate == one.id else short_name(mate)


def _card(one: ImageVotes, anchor: str, picture: Thumbnail | None, mate: str, measure: str) -> Card:
    name, given, votes = short_name(one.id), name_of(one.given), predicted(one)
    return Card(
        name=name,
        anchor=anchor,
        picture=picture,
        alt=f"Test image {name}, labelled {given}, predicted {votes}",
        image=one,
        given=given,
        wrong=name_of(one.wrong),
        predicted=votes,
        right_by="" if one.right else first_few(one.right_ensembles, 3),
        mate=mate,
        measure=measure,
    )


def _of_method(of: MethodErrors) -> OfMethod:
    first = [
        f"{short_name(one.id)}: {name_of(one.given)}, predicted {name_of(one.predicted)} {one.confidence:.2f}"
        for one in of.errors[:OF_METHOD]
    ]
    kind = " (ensemble)" if of.is_ensemble else ""
    return OfMethod(f"{of.method}{kind}", f"{len(of.errors)} of {of.tested}", first)
