"""Explained images as one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.data.images.thumbnail import thumbnail
from bench.data.preview.embedding import Embedding
from bench.explain.drawing import enlarged, heat, outlined, overlay, patches, png_uri, scale_bar
from bench.explain.explained import Explained, ExplainedImage
from bench.explain.measures import CORRELATION, INSIDE, Measured
from bench.explain.summary import Summary
from bench.explain.tables import image_sentences, mean_rows
from bench.explain.texts import number_texts, picture_texts
from bench.page import Picture, bullets, gallery, html_page, paragraphs, shown, table

SIDE = 256  # of a picture, pixels, at most
STYLE = """\
ul.pictures { grid-template-columns: repeat(auto-fill, minmax(9.5em, 1fr)); }
ul.pictures img { width: 100%; image-rendering: auto; }
.scale { align-items: center; display: flex; flex-wrap: wrap; gap: 0.5em; }
.scale img { height: 1em; width: 12em; }
@media print { section.image { break-inside: avoid; } }
"""


def explain_page(explained: Explained, rule: Embedding, of: str, chosen: str, summary: Summary | None) -> str:
    """The page. `chosen` says how the images were chosen; `summary` is of what was measured on all images."""
    body = ["<h1>Where networks look, and what pretraining shows them</h1>\n"]
    body += _pictures(explained, rule, of, chosen)
    if summary is not None:
        body += _numbers(summary, of)
    return html_page("bench explain", "".join(body), STYLE)


def _pictures(explained: Explained, rule: Embedding, of: str, chosen: str) -> Iterator[str]:
    yield f"<h2>{shown(explained.where)}, round {explained.round}</h2>\n"
    yield paragraphs([chosen, rule.why])
    yield bullets(picture_texts(explained.guides, of, rule.pictures, explained.has_ensemble))
    yield paragraphs(explained.warnings, "warn")
    yield paragraphs(explained.notes)
    ends = guide_ends(explained.images)
    bar = png_uri(scale_bar())
    scales = [("maps", "nothing", "most of this map")]
    scales += [(g.caption, f"{ends[g.method][0]:.2f}", f"{ends[g.method][1]:.2f}") for g in explained.guides]
    for name, low, high in scales:
        yield (
            f'<p class="scale">{shown(name)}: {shown(low)} <img src="{bar}" '
            f'alt="dark blue, green, yellow"> {shown(high)}</p>\n'
        )
    for image in explained.images:
        yield from _image(image, explained, rule, ends)


def guide_ends(images: Sequence[ExplainedImage]) -> dict[str, tuple[float, float]]:
    """By guide, its lowest and its highest value on these images."""
    names = images[0].given.guides if images else {}
    grids = {name: [each.given.guides[name] for each in images] for name in names}
    return {
        name: (min(float(g.min()) for g in each), max(float(g.max()) for g in each))
        for name, each in grids.items()
    }


def _image(
    image: ExplainedImage, explained: Explained, rule: Embedding, ends: dict[str, tuple[float, float]]
) -> Iterator[str]:
    yield f'<section class="image">\n<h3>{shown(image.id)}, labelled {shown(image.label)}</h3>\n'
    before = list(_before(image, explained, rule, ends))
    if before:
        yield "<h4>What pretraining goes by, shows its encoder, and makes of it</h4>\n"
        yield gallery(before)
    yield "<h4>Where fine-tuned networks look</h4>\n"
    yield gallery(_map(each, image, explained, rule) for each in image.measured)
    yield "</section>\n"


def _before(
    image: ExplainedImage, explained: Explained, rule: Embedding, ends: dict[str, tuple[float, float]]
) -> Iterator[Picture]:
    if rule.pictures:
        mask = image.given.mask
        pixels = image.pixels if mask is None else outlined(image.pixels, mask)
        lines = ["original"] if mask is None else ["original", f"mask: {mask.mean():.0%} of the image"]
        yield Picture(thumbnail(enlarged(pixels), SIDE), f"{image.id}, original", lines)
    for guide in explained.guides:
        grid = image.given.guides[guide.method]
        drawn = png_uri(patches(grid, *ends[guide.method]))
        yield Picture(
            drawn,
            f"{image.id}, {guide.caption} as colours",
            [guide.caption, f"{grid.min():.2f} to {grid.max():.2f} ({guide.method})"],
        )
    if rule.pictures:
        for each in image.revealed:
            uri = thumbnail(enlarged(each.pixels), SIDE)
            yield Picture(uri, f"{image.id}, {each.method}: {each.name}", [each.method, each.name])


def _map(each: Measured, image: ExplainedImage, explained: Explained, rule: Embedding) -> Picture:
    look = each.look
    lines = [look.title, *map_lines(each, explained)]
    alt = f"{image.id}, map of {look.title} for {explained.classes[look.explained]}"
    if not look.map.any():
        lines.append("nothing speaks for this class: the map is 0")
    if rule.pictures:
        return Picture(thumbnail(overlay(enlarged(image.pixels), look.map), SIDE), alt, lines)
    return Picture(png_uri(heat(look.map)), alt, lines)


def map_lines(each: Measured, explained: Explained) -> Iterator[str]:
    """What is said below a map."""
    look, classes = each.look, explained.classes
    right = "right" if look.predicted == look.label else "wrong"
    if look.predicted == look.explained:
        yield f"predicts {classes[look.predicted]} ({look.probability:.2f}), {right}"
    else:
        yield f"predicts {classes[look.predicted]}, {right}"
        yield f"map for {classes[look.explained]} ({look.probability:.2f})"
    for name, value in each.values.items():
        if name.startswith(f"{CORRELATION}.") and value == value:
            yield f"correlation with {_caption(name, explained)} {round(value, 2) + 0.0:+.2f}"  # no "-0.00"
        if name == INSIDE and value == value:
            yield f"{value:.0%} of the map in the mask"


def _caption(name: str, explained: Explained) -> str:
    method = name.partition(".")[2]
    return next((guide.caption for guide in explained.guides if guide.method == method), method)


def _numbers(summary: Summary, of: str) -> Iterator[str]:
    yield "<h2>Measured on test images</h2>\n"
    heads, rows = mean_rows(summary)
    yield table("Means over images and rounds, with 95 % intervals", heads, rows)
    yield bullets([*image_sentences(summary), *number_texts(summary.names, summary.guides, of)])
