"""Images at odds with their label, as a page on which a person compares them with typical ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench.cli.label_noise_text import RULE, coverage, headline
from bench.comparison.label_noise import Doubt, LabelNoise
from bench.data.images.thumbnail import thumbnail
from bench.execution.pictures import Pictured
from bench.page import Picture, gallery, html_page, paragraphs, shown, table

if TYPE_CHECKING:
    from bench.data.images.images import Images

SIDE = 200  # of a picture, pixels: larger than in a data sheet, because somebody judges it
TYPICAL = 3  # pictures of a class to compare with


def noise_page(found: Sequence[LabelNoise], pictured: Sequence[Pictured], most: int) -> str:
    """The whole page: of each table at most `most` images, the least self-confident ones."""
    body = ["<h1>Images at odds with their label</h1>\n", paragraphs(RULE)]
    for one, images in zip(found, pictured, strict=True):
        body += _section(one, images, most)
    return html_page("bench label-noise", "".join(body))


def _section(one: LabelNoise, pictured: Pictured, most: int) -> Iterator[str]:
    yield f"<h2>{shown(one.where)}</h2>\n"
    yield paragraphs([f"{headline(one)}.", *coverage(one), pictured.rule.why])
    listed = one.doubts[:most]
    if len(listed) < len(one.doubts):
        yield paragraphs([f"The {len(listed)} least self-confident ones are shown."])
    if not listed:
        return
    if pictured.images is None:
        yield _table(listed)
        return
    places = {id_: i for i, id_ in enumerate(pictured.images.ids)}
    by_pair: dict[tuple[str, str], list[Doubt]] = defaultdict(list)
    for doubt in listed:
        by_pair[doubt.given, doubt.suggested].append(doubt)
    for (given, suggested), doubts in by_pair.items():
        yield f"<h3>Given {shown(given)}, predicted {shown(suggested)}: {len(doubts)}</h3>\n"
        yield gallery(_doubted(pictured.images, pictured.short, places, doubts))
        for name in (given, suggested):
            yield paragraphs([f"For comparison, {name}: those of whose label the models are surest."])
            alike = one.typical[name][:TYPICAL]
            yield gallery(
                _picture(pictured.images, pictured.short, places[id_], f"class {name}") for id_ in alike
            )


def _doubted(
    images: Images, short: int, places: dict[str, int], doubts: Sequence[Doubt]
) -> Iterator[Picture]:
    for doubt in doubts:
        confidence = f"{doubt.self_confidence:.2f} {doubt.given}, {doubt.confidence:.2f} {doubt.suggested}"
        number = f"{doubt.predictions} prediction{'s' * (doubt.predictions != 1)}"
        yield _picture(images, short, places[doubt.id], confidence, number)


def _picture(images: Images, short: int, i: int, *lines: str) -> Picture:
    label = images.classes[images.labels[i]]
    uri = thumbnail(images.view(short)[i], SIDE)
    return Picture(uri, f"{images.ids[i]}, labelled {label}", [images.ids[i], *lines])


def _table(doubts: Sequence[Doubt]) -> str:
    heads = ["image", "given", "suggested", "self-confidence", "of suggested", "predictions"]
    rows = [
        [d.id, d.given, d.suggested, f"{d.self_confidence:.3f}", f"{d.confidence:.3f}", str(d.predictions)]
        for d in doubts
    ]
    return table("The least self-confident first", heads, rows)
