"""How test images fall into subgroups: by what is stored about them, or by a number cut into thirds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.comparison.methods import Method
from bench.data.audit.audit import read_audit
from bench.errors import ConfigError

if TYPE_CHECKING:
    from bench.interfaces.predictions import Predictions

MOST = 50  # subgroups; a column with more values names images or patients
NOT_GIVEN = "not given"


@dataclass(frozen=True, kw_only=True)
class Partition:
    """The subgroup of every test image.

    Attributes:
        by: what tells the subgroups apart: "class", "size", a column of a file.
        names: of the subgroups, in order; each has an image, and there are at least two.
        of: image id -> name.
        how: how the subgroups were made, in a sentence; "" where it goes without saying.
    """

    by: str
    names: tuple[str, ...]
    of: Mapping[str, str]
    how: str = ""


def partition(by: str, names: Iterable[str], of: Mapping[str, str], how: str = "") -> Partition:
    """With the `names` that have an image, in their order. Raises ConfigError if these are fewer than two, or
    so many that they are no subgroups."""
    used = set(of.values())
    present = tuple(name for name in dict.fromkeys(names) if name in used)
    if len(present) < 2:
        raise ConfigError(
            f"--by {by}: all {len(of)} test images are of one subgroup ({', '.join(present) or 'none'}), so "
            "there is nothing to compare; name another --by"
        )
    if len(present) > MOST:
        raise ConfigError(
            f"--by {by}: {len(present)} different values, more than {MOST}; put them into fewer subgroups"
        )
    return Partition(by=by, names=present, of=of, how=how)


def by_class(rounds: Iterable[Predictions]) -> Partition:
    """The true class of each image that any of these rounds tests on."""
    of: dict[str, str] = {}
    names: tuple[str, ...] = ()
    for one in rounds:
        names = one.classes
        of |= {i: names[label] for i, label in zip(one.ids, one.labels.tolist(), strict=True)}
    how = (
        "A subgroup is a true class, so accuracy in it is the class's sensitivity (recall); a metric that "
        "averages over classes has this one alone to average."
    )
    return partition("class", names, of, how)


def by_duplicate(methods: Sequence[Method], ids: Iterable[str], results: Path) -> Partition:
    """Whether the audits that the methods' splits passed found another image with the same picture, anywhere
    in the data set. Raises ConfigError for splits without an audit that is there, DataError for one that is
    damaged."""
    units = [unit for method in methods for unit in method.done.values()]
    audits = {unit.audit.audit: unit.spec.dataset.name for unit in units if unit.audit}
    if not audits:
        raise ConfigError(
            "--by duplicate: the splits of these results were not audited, so no duplicates are known; "
            "run the study again (splits are audited since), or give --by FILE.csv"
        )
    double: set[str] = set()
    for hash_, dataset in audits.items():
        folder = results / "audits" / dataset
        paths = sorted(folder.glob(f"*.{hash_}.json"))
        if not paths:
            raise ConfigError(
                f"--by duplicate: {folder} has no audit {hash_}, which these results cite; copy it from "
                f"where they were made, or make it again: bench data audit {dataset}"
            )
        for pair in read_audit(paths[0]).duplicates:
            double |= {pair.first, pair.second}
    names = ("has a duplicate", "no duplicate")
    return partition(
        "duplicate",
        names,
        {id_: names[id_ not in double] for id_ in ids},
        f"A duplicate is another image of the data set with the same picture (audit {', '.join(audits)}).",
    )


def thirds(
    by: str,
    values: Mapping[str, float],
    words: Sequence[str] = ("low", "middle", "high"),
    show: Callable[[float], str] = "{:g}".format,
) -> Partition:
    """Three subgroups of about equally many images, by a number that each image has; equal numbers stay
    together. nan is a subgroup of its own. Raises ConfigError where all numbers are equal."""
    import numpy as np

    known = [value for value in values.values() if not math.isnan(value)]
    if len(set(known)) == 1 and len(known) == len(values):
        raise ConfigError(
            f"--by {by}: all {len(values)} test images have the same value, {show(known[0])}, so there is "
            "nothing to compare; name another --by"
        )
    low, high = map(float, np.quantile(known, (1 / 3, 2 / 3), method="inverted_cdf"))
    names = (
        f"{words[0]} (up to {show(low)})",
        f"{words[1]} (up to {show(high)})",
        f"{words[2]} (above {show(high)})",
        NOT_GIVEN,
    )

    def name(value: float) -> str:
        return names[3 if math.isnan(value) else 0 if value <= low else 1 if value <= high else 2]

    return partition(
        by,
        names,
        {id_: name(value) for id_, value in values.items()},
        "Thirds are of the test images of all rounds.",
    )
