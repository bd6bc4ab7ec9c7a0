"""Whether a distribution called `bench` is in the way of ours, which is called medbench.

`bench` on the package index is somebody else's project, and it is what ours was called at first. This runs
before every command, so it reads the names in the folders of Python's path alone, unless there is one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import Distribution

PACKAGE = Path(__file__).resolve().parents[1]
AGAIN = "pip uninstall bench, then pip install --force-reinstall --no-deps medbench (in a source tree: -e .)"


def former_installation() -> str:
    """What to do about this program being installed under its former name as well; empty if it is not.

    Raises ConfigError if another project called `bench` has files in our package. What lies beside neither
    our package nor our metadata (in an environment whose packages this one sees) is in nobody's way.
    """
    described = [(place, name) for place in dict.fromkeys(map(Path, sys.path)) for name in _metadata(place)]
    ours = {place for place, name in described if name.startswith("medbench-")}
    for place, name in described:
        beside = place in ours or not ours or place.resolve() == PACKAGE.parent
        if beside and name.startswith("bench-") and (warning := _judge(place / name)):
            return warning
    return ""


def _metadata(place: Path) -> list[str]:
    """The names of the folders that describe a distribution of one of the two names."""
    try:
        names = os.listdir(place)
    except OSError:  # Python's path may name what is not there, or a zip file
        return []
    prefixes = ("bench-", "medbench-")
    return [
        name for name in names if name.startswith(prefixes) and name.endswith((".dist-info", ".egg-info"))
    ]


def _judge(metadata: Path) -> str:
    from importlib.metadata import Distribution  # takes 30 ms

    from bench.hookspecs import PROJECT

    found = Distribution.at(metadata)
    name = f"bench {found.version} in {metadata.parent}"
    if any(point.group == PROJECT for point in found.entry_points):  # it registers our plugins: it is ours
        return f"{name} is this program under its former name: {AGAIN}"
    if inside := _inside_the_package(found):
        raise ConfigError(f"{name} is another project, and has files in our package ({inside}): {AGAIN}")
    return ""


def _inside_the_package(found: Distribution) -> Path | None:
    """A file of a distribution that lies in the package at work."""
    for file in found.files or ():
        path = Path(str(found.locate_file(file))).resolve()
        if PACKAGE in path.parents:
            return path
    return None
