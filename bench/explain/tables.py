"""What was measured, as the cells of a table and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bench.explain.measures import CORRELATION
from bench.explain.summary import Mean, Summary
from bench.explain.texts import headings, image_numbers


def mean_rows(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Headings and cells: a row a method."""
    columns = headings(summary.names, summary.guides)
    heads = ["method", "images", *columns.values()]
    rows = []
    for method in summary.methods:
        means = [summary.mean(method, name) for name in columns]
        counts = [mean for mean in means if mean is not None]
        images = f"{summary.images(method)}" if counts else "0"
        rows.append([method, images, *map(mean_text, means)])
    return heads, rows


def mean_text(mean: Mean | None) -> str:
    """ "0.31 [0.25, 0.37] (140)": the images it is defined on, where these are not all."""
    if mean is None:
        return "-"
    where = "" if mean.images == mean.of else f" ({mean.images})"
    return f"{round(mean.value, 2) + 0.0:.2f}{_interval(mean)}{where}"


def _interval(mean: Mean) -> str:
    if math.isnan(mean.low):
        return ""
    low, high = (round(end, 2) + 0.0 for end in (mean.low, mean.high))  # no "-0.00"
    return f" [{low:.2f}, {high:.2f}]"


def image_sentences(summary: Summary) -> Iterator[str]:
    """What was measured of images whoever looks at them, and how methods differ by what guides one."""
    for name, text in image_numbers(summary.names, summary.guides).items():
        mean = summary.mean(summary.methods[0], name)
        if mean is not None:
            yield f"{text}: {mean.value:.2f}{_interval(mean)} ({mean.images} images)"
    yield from difference_sentences(summary)


def difference_sentences(summary: Summary) -> Iterator[str]:
    """How much more the maps of a guided method follow its guide than those of each other one."""
    for guide in summary.guides:
        name = f"{CORRELATION}.{guide.method}"
        own = [m for m in summary.methods if m == guide.method or m.endswith(f".{guide.method}")]
        for first in own:
            for second in summary.methods:
                if second == first or (found := summary.difference(first, second, name)) is None:
                    continue
                value = round(found.value, 2) + 0.0
                more = "more" if found.value >= 0 else "less"
                yield (
                    f"maps of {first} correlate by {abs(value):.2f} {more} with {guide.caption} than "
                    f"those of {second} (difference {value:.2f}{_interval(found)}){_verdict(found)}"
                )


def _verdict(found: Mean) -> str:
    undecided = not (found.low > 0 or found.high < 0)  # also where there is no interval
    return ", not shown to differ" if undecided else ""
