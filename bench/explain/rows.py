"""What was measured, as rows of a csv file: one a method and image."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from bench.explain.measures import Measured

FIXED = ("model", "method", "round", "image", "group", "label", "predicted", "explained", "probability")


def as_csv(measured: Sequence[Measured], classes: Sequence[str]) -> str:
    """A header, then a row a look; numbers that are not defined are empty."""
    names = tuple(dict.fromkeys(name for each in measured for name in each.values))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*FIXED, *names])
    for each in measured:
        look = each.look
        known = [look.model, look.method, look.round, look.id, look.group, classes[look.label]]
        known += [classes[look.predicted], classes[look.explained], f"{look.probability:.6f}"]
        writer.writerow([*known, *(_number(each.values.get(name, math.nan)) for name in names)])
    return stream.getvalue()


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"
