"""A data sheet as a page, after "Datasheets for datasets" (Gebru et al., CACM 64(12), 2021)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np

from bench.data.audit.audit import audit_counts
from bench.data.audit.search import SHORT, Duplicate
from bench.data.images.index import first_few
from bench.data.images.thumbnail import thumbnail
from bench.data.preview.charts import histogram, sizes
from bench.data.preview.figures import (
    OUTLYING,
    GreyFigures,
    Outlier,
    Quantiles,
    evenly_spaced,
    grey_figures,
    group_sizes,
    outliers,
    quantiles,
    robust_scale,
)
from bench.data.preview.sheet import Sheet
from bench.page import Picture, bullets, facts, gallery, html_page, paragraphs, shown, table

SIDE = 112  # of a picture, pixels
MOST_PICTURES = 600  # of the contact sheet, so that a page of a hundred classes can still be opened
MOST_OUTLIERS = 24
MOST_PAIRS = 6
MOST_LISTED = 8  # sizes, formats
CHANNELS = {1: "1: grey or palette", 2: "2: grey with alpha", 3: "3: colour", 4: "4: colour with alpha"}

FOR_YOU = (
    "Motivation: why, by whom and with which money was the data set made?",
    "Collection: how, when and where were the images acquired, and of whom? Who reviewed the ethics, and "
    "did the people agree?",
    "Labels: who gave them, by what standard, and how often do two readers agree?",
    "Preprocessing: what was cut, masked, compressed or left out before the images were published?",
    "Uses: what has it been used for, and what should it not be used for? Which groups of people are "
    "missing or few?",
    "Maintenance: who keeps it, how are errors reported, and will there be versions?",
)


def sheet_page(sheet: Sheet) -> str:
    """The whole page. Texts that come from the data set (names of files, classes, groups) are escaped."""
    name = sheet.dataset.name
    body = [f"<h1>{shown(name)}: data sheet</h1>\n", *_overview(sheet), *_composition(sheet)]
    body += [*_contact_sheet(sheet), *_shapes(sheet), *_grey_values(sheet), *_shortcuts(sheet)]
    body += [*_distribution(sheet), *_for_you(sheet)]
    return html_page(f"{name}: data sheet", "".join(body))


def _overview(sheet: Sheet) -> Iterator[str]:
    from bench import __version__

    dataset, images = sheet.dataset, sheet.images
    yield paragraphs([dataset.about])
    yield paragraphs([dataset.caution] if dataset.caution else [], "warn")
    yield paragraphs([sheet.embedding.why])
    groups = len(set(images.groups))
    yield facts(
        [
            ("images", f"{len(images):,} of {len(images.classes)} classes"),
            ("groups", f"{groups:,}" if groups < len(images) else "none: every image stands alone"),
            ("version", images.version),
            ("parameters", ", ".join(f"{name}={value}" for name, value in sheet.params.items())),
            ("licence", dataset.licence or "not stated"),
            ("content", f"{images.content[:8]} (hash of images, labels and groups)"),
            ("made by", f"bench {__version__}, bench data preview"),
        ]
    )


# --- composition -------------------------------------------------------------------------------------


def _composition(sheet: Sheet) -> Iterator[str]:
    images, parts = sheet.images, sheet.parts
    yield "<h2>Composition</h2>\n"
    yield paragraphs([parts.how])
    classes = [images.classes[label] for label in images.labels.tolist()]
    counts = Counter(zip(classes, parts.of, strict=True))
    groups = Counter((c, p) for c, p, _ in set(zip(classes, parts.of, images.groups, strict=True)))
    columns = [*parts.names, *(["all"] if len(parts.names) > 1 else [])]
    grouped = len(set(images.groups)) < len(images)

    def row(title: str, of: Sequence[str]) -> list[str]:
        pairs = [(sum(counts[c, p] for c in of), sum(groups[c, p] for c in of)) for p in parts.names]
        total = sum(images for images, _ in pairs)
        cells = [f"{number:,} ({of_groups:,})" if grouped else f"{number:,}" for number, of_groups in pairs]
        cells += [f"{total:,}"] if len(pairs) > 1 else []
        return [title, *cells, f"{100 * total / len(images):.1f} %"]

    rows = [row(name, [name]) for name in images.classes]
    caption = f"Images{' (groups)' * grouped} by class and part"
    yield table(caption, ["class", *columns, "share"], [*rows, row("all", images.classes)])
    yield bullets(parts.notes)
    yield _groups(sheet)
    yield _passed_over(sheet)


def _groups(sheet: Sheet) -> str:
    groups = sheet.images.groups
    if len(set(groups)) == len(groups):
        return paragraphs(
            [
                "The data set names no groups (patients, lesions, videos): images of one can be on both "
                "sides of a split unless the audit finds them alike."
            ]
        )
    return table(
        "Images per group (patient, lesion, video)",
        ["images", "groups"],
        ((size, f"{count:,}") for size, count in group_sizes(groups).items()),
    )


def _passed_over(sheet: Sheet) -> str:
    passed = sheet.images.passed_over.items()
    text = bullets([*(f"{kind}: {count:,}" for kind, count in passed), *sheet.index.notes])
    return f"<h3>Passed over, and notes on this copy</h3>\n{text}" if text else ""


def _contact_sheet(sheet: Sheet) -> Iterator[str]:
    if not sheet.embedding.pictures:
        return
    images, parts = sheet.images, sheet.parts
    by_cell: dict[tuple[int, str], list[int]] = {}
    for i in sorted(range(len(images)), key=lambda i: images.ids[i]):
        by_cell.setdefault((int(images.labels[i]), parts.of[i]), []).append(i)
    cells = [(c, p) for c in range(len(images.classes)) for p in parts.names if (c, p) in by_cell]
    most = max(1, min(sheet.most, MOST_PICTURES // len(cells)))
    yield "<h2>Contact sheet</h2>\n"
    yield paragraphs(
        [
            f"Of each class and part up to {most} images, evenly spaced in the order of their ids: nobody "
            "chose them, and the same data set gives the same ones."
        ]
    )
    for label, part in cells[:MOST_PICTURES]:
        members = by_cell[label, part]
        yield f"<h3>{shown(images.classes[label])}, {shown(part)}: {len(members):,} images</h3>\n"
        yield gallery(_picture(sheet, i) for i in evenly_spaced(members, most))
    if len(cells) > MOST_PICTURES:
        yield paragraphs([f"{len(cells) - MOST_PICTURES} further classes and parts are not shown."])


def _picture(sheet: Sheet, i: int, *lines: str) -> Picture:
    images = sheet.images
    label, part = images.classes[images.labels[i]], sheet.parts.of[i]
    size = f"{images.originals[i].width} x {images.originals[i].height}"
    alt = f"{images.ids[i]}, class {label}, part {part}"
    uri = thumbnail(images.view(SHORT)[i], SIDE)
    return Picture(uri, alt, [images.ids[i], *(lines or (size,))])


# --- files and pixels --------------------------------------------------------------------------------


def _shapes(sheet: Sheet) -> Iterator[str]:
    images = sheet.images
    originals = images.originals
    heights, widths = [o.height for o in originals], [o.width for o in originals]
    yield "<h2>Sizes and files</h2>\n"
    rows = [
        ["height, pixels", *_quantile_cells(quantiles(heights), "{:,.0f}")],
        ["width, pixels", *_quantile_cells(quantiles(widths), "{:,.0f}")],
        ["width / height", *_quantile_cells(quantiles(np.divide(widths, heights)), "{:.2f}")],
    ]
    if all(o.bytes for o in originals):
        rows.append(["file, kB", *_quantile_cells(quantiles([o.bytes / 1000 for o in originals]), "{:,.1f}")])
    yield table("All images, before they are resized", ["", "least", "5 %", "median", "95 %", "most"], rows)
    counts = Counter(f"{w} x {h}" for h, w in zip(heights, widths, strict=True))
    if len(counts) > 1:
        yield sizes(heights, widths)
    different = f"{len(counts):,} different sizes" if len(counts) > 1 else "One size"
    yield table(different, ["width x height", "images"], _largest(counts))
    formats = Counter(
        (PurePath(path).suffix.lower() or "no suffix") if path else "none: held in memory"
        for path in images.paths
    )
    yield table("File formats, by suffix", ["suffix", "images"], _largest(formats))
    yield _channels(sheet)


def _quantile_cells(found: Quantiles, form: str) -> list[str]:
    return [form.format(value) for value in found]


def _largest(counts: Counter[str]) -> Iterator[tuple[str, str]]:
    """The most frequent, and the others together."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for name, count in ranked[:MOST_LISTED]:
        yield name, f"{count:,}"
    if others := ranked[MOST_LISTED:]:
        yield f"{len(others):,} others", f"{sum(count for _, count in others):,}"


def _channels(sheet: Sheet) -> str:
    """By class, because a class of another mode is told by that alone."""
    images = sheet.images
    labels = [images.classes[label] for label in images.labels.tolist()]
    found = Counter((label, o.channels) for label, o in zip(labels, images.originals, strict=True))
    present = sorted({channels for _, channels in found})
    heads = ["class", *(CHANNELS.get(channels, str(channels)) for channels in present)]
    rows = [[name, *(f"{found[name, channels]:,}" for channels in present)] for name in images.classes]
    shapes = images.view(SHORT).shapes
    grey = sum(o.channels >= 3 and shapes[i][0] == 1 for i, o in enumerate(images.originals))
    text = table("Channels in the file, by class", heads, rows)
    return text + paragraphs([f"{grey:,} images are grey although stored in colour."] if grey else [])


def _grey_values(sheet: Sheet) -> Iterator[str]:
    figures = grey_figures(sheet.images.view(SHORT))
    yield "<h2>Brightness and contrast</h2>\n"
    yield paragraphs(
        [
            "Brightness is the mean grey value of an image (0 black, 255 white), contrast the standard "
            f"deviation within it, of copies with a short side of {SHORT} pixels. Outliers are more than "
            f"{OUTLYING} robust standard deviations from the median of all images (median absolute "
            "deviation times 1.4826; Iglewicz and Hoaglin, 1993). Dashed lines are these limits."
        ]
    )
    for (what, values), top in zip(figures._asdict().items(), (255, 128), strict=True):
        yield histogram(what, values, (0, top), robust_scale(values).limits)
    found = outliers(figures)
    if not found:
        yield paragraphs(["No image is an outlier."])
        return
    counts = Counter(one.what for one in found)
    listed = " and ".join(f"{counts[what]:,} in {what}" for what in figures._fields if counts[what])
    first = f"; the farthest {MOST_OUTLIERS} are shown" if len(found) > MOST_OUTLIERS else ""
    yield paragraphs([f"Outliers: {listed}, of {len(sheet.images):,} images{first}."])
    yield _outliers(sheet, found[:MOST_OUTLIERS], figures)


def _outliers(sheet: Sheet, found: Sequence[Outlier], figures: GreyFigures) -> str:
    if sheet.embedding.pictures:
        return gallery(
            _picture(sheet, one.position, f"{one.what} {one.value:.0f}", f"robust z {one.z:+.1f}")
            for one in found
        )
    images = sheet.images
    rows = [
        [
            images.ids[one.position],
            images.classes[images.labels[one.position]],
            sheet.parts.of[one.position],
            *(f"{values[one.position]:.1f}" for values in figures),
            f"{one.what} {one.z:+.1f}",
        ]
        for one in found
    ]
    return table("Outliers", ["image", "class", "part", "brightness", "contrast", "robust z"], rows)


# --- what the audit says -----------------------------------------------------------------------------


def _shortcuts(sheet: Sheet) -> Iterator[str]:
    audit = sheet.audit
    yield "<h2>Shortcuts and duplicates</h2>\n"
    yield paragraphs([f"What audit {audit.hash[:8]} found (bench data audit {audit.dataset})."])
    for probe in audit.probes:
        text = f"{probe.text}; balanced {probe.balanced:.3f}, {probe.images:,} images."
        text = f"{text[:1].upper()}{text[1:]}"
        yield paragraphs([text], "warn" if probe.beats else "")
    if not audit.probes:
        yield paragraphs(["No probe: there are too few groups to test what borders and sizes tell."])
    counts = audit_counts(audit, sheet.images)
    yield table("Counts of the audit", ["", "number"], ((what, f"{n:,}") for what, n in counts.items()))
    verdict = sheet.parts.verdict
    if verdict:
        yield paragraphs([f"The split shown here: {verdict.text}."], "warn" if verdict.leaks else "")
        yield bullets(verdict.examples)
    yield bullets(audit.notes)
    yield from _pairs(sheet)


def _pairs(sheet: Sheet) -> Iterator[str]:
    """Duplicates with two labels, which a person has to look at, the most similar first."""
    images = sheet.images
    places = {id_: i for i, id_ in enumerate(images.ids)}
    labels = images.labels

    def across(one: Duplicate) -> bool:
        return bool(labels[places[one.first]] != labels[places[one.second]])

    pairs = sorted(
        filter(across, sheet.audit.duplicates), key=lambda one: (-one.similarity, one.first, one.second)
    )
    if not pairs:
        return
    count = "1 pair of duplicates carries" if len(pairs) == 1 else f"{len(pairs):,} pairs of duplicates carry"
    yield paragraphs([f"{count} two labels, of which at least one is wrong."], "warn")
    if not sheet.embedding.pictures:
        shown_pairs = [f"{one.first} = {one.second}" for one in pairs]
        yield paragraphs([first_few(shown_pairs, MOST_PAIRS)])
        return
    for one in pairs[:MOST_PAIRS]:
        both = [places[one.first], places[one.second]]
        yield gallery(
            _picture(sheet, i, f"class {images.classes[labels[i]]}", f"similarity {one.similarity:.2f}")
            for i in both
        )


# --- where it comes from -----------------------------------------------------------------------------


def _distribution(sheet: Sheet) -> Iterator[str]:
    dataset, consent = sheet.dataset, sheet.consent
    yield "<h2>Distribution</h2>\n"
    agreed = f"agreed to on {consent['date']}, before the download" if consent.get("date") else ""
    urls = consent.get("urls") or ()
    yield facts(
        [
            ("licence", dataset.licence or "not stated"),
            ("consent", agreed),
            ("passing on", dataset.redistribution or "the licence does not say that images may be passed on"),
            ("citation", dataset.citation),
            ("home page", dataset.home),
            ("how to get it", dataset.fetch),
            ("fetched from", ", ".join(map(str, urls))),
        ]
    )


def _for_you(sheet: Sheet) -> Iterator[str]:
    yield "<h2>For you to write</h2>\n"
    yield paragraphs(
        [
            'What "Datasheets for datasets" (Gebru et al., Communications of the ACM 64(12):86-92, 2021) '
            "asks, and no file can say:"
        ]
    )
    yield bullets(FOR_YOU)
