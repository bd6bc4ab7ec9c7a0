"""Which images, classes, groups and parts of a data set a study uses: parameters that every data set has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.errors import ConfigError

NO_GROUPS = "none"
"""In place of a file: not even the reviewed file that comes with the data set."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Parameters of every data set, whichever plugin registered it. A data set's own parameter of the same
    name takes the place of one of these.

    Attributes:
        merge: classes that become one, as "NV+BKL=benign"; several rules are separated by ";" or ",". "*"
            stands for every class that is named neither in another rule nor in `classes`, so that
            "merge=*=other" with "classes=MEL,other" is melanoma against all the rest. "NV=nevus" renames.
        classes: keep these classes only, in this order, after `merge`: "benign,malignant", or a list.
        groups: a reviewed csv file, with the columns id,group[,exclude][,phash][,reason], that joins images
            into groups or leaves them out; "none" for not even the one that comes with the data set; empty
            for that one, if there is one.
        group_by: what no split divides: "group" is what the data set gives (a patient, a lesion); with
            "source", all images of one source (a hospital, a device) are on one side.
        test_source: train on all sources but these (comma-separated, or a list), and test on these.
        test_on: train on this data set, and test on another one with the same classes: its name, or
            "NAME:PATH" if it lies below another data root. Its parameters are set as "dataset.NAME.KEY", or
            in a table {name = "NAME", KEY = VALUE}.
    """

    merge: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    groups: str = field(default="", metadata={"identity": False})
    group_by: Literal["group", "source"] = "group"
    test_source: tuple[str, ...] = ()
    test_on: str | Mapping[str, Any] = ""

    def __post_init__(self) -> None:
        if self.test_on and self.test_source:
            raise ValueError("test_on and test_source both say what is tested on; give one of them")


SEPARATORS = {"merge": ";,", "classes": ",", "test_source": ","}
"""What stands between the items of a list that is given as one text."""


def with_lists(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a Selection as a user wrote them, with a list where one text names several things."""
    return {
        name: _items(value, SEPARATORS[name]) if name in SEPARATORS and isinstance(value, str) else value
        for name, value in values.items()
    }


def _items(text: str, separators: str) -> list[str]:
    for other in separators[1:]:
        text = text.replace(other, separators[0])
    return [item.strip() for item in text.split(separators[0]) if item.strip()]


def split_external(given: str | Mapping[str, Any], where: str) -> tuple[str, Path | None, dict[str, Any]]:
    """Name, data root (None: the same) and parameters of the data set that a value of `test_on` names.

    Raises ConfigError for a table without a name; `where` is what the message calls the value.
    """
    if isinstance(given, str):
        name, _, root = given.partition(":")
        params: dict[str, Any] = {}
    else:
        params = dict(given)
        name, root = params.pop("name", ""), params.pop("root", "")
    if not (name and isinstance(name, str) and isinstance(root, str)):
        raise ConfigError(f'{where}: must be "NAME", "NAME:PATH", or a table {{name = "NAME", KEY = VALUE}}')
    return name.strip(), Path(root).expanduser() if root else None, params


def external_name(params: Mapping[str, Any]) -> str:
    """The data set that one with these parameters, as a Ref has them, is tested on; "" if it is its own."""
    other = params.get("test_on") or ""
    name = other.get("name", "") if isinstance(other, Mapping) else other
    return name if isinstance(name, str) else ""  # a plugin may have a parameter of that name for itself


def tested_on(params: Mapping[str, Any]) -> str:
    """What a data set with these parameters is tested on, for titles; "" if that is a part of it like any
    other."""
    sources = params.get("test_source")
    if other := external_name(params):
        return f"tested on {other}"
    if isinstance(sources, list | tuple) and sources:
        return f"tested on source {', '.join(map(str, sources))}"
    return ""
