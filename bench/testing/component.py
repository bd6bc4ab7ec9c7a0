"""What every component promises: its name, its text, its parameters."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.errors import BenchError
from bench.identity import to_json
from bench.interfaces.component import Component
from bench.manuscript.bibtex import read_entries
from bench.parsing import parse


def check_component(component: Component) -> None:
    """The name can be typed, `about` is one line, `bibtex` is BibTeX, and parameters can be set, stored and
    read back.

    Every other check begins with this one.
    """
    name = component.name
    assert name, "a component needs a name"
    assert "," not in name, f"{name!r}: names are separated by commas on the command line"
    assert name == name.strip(), f"{name!r}: spaces around a name are lost on the command line"
    assert component.about, f"{name}: `about` is empty"
    assert "\n" not in component.about, f"{name}: `about` must be one line"
    # A reconstruction may have 0, so that its results are never taken for those of its authors' network.
    assert component.revision >= (0 if component.replaceable else 1), f"{name}: revisions count from 1"
    with works(f"{name}: `bibtex` cannot be read"):
        read_entries(component.bibtex)
    _check_params(component.params, name)


def _check_params(params: type[Any], name: str) -> None:
    assert isinstance(params, type), f"{name}: params must be a class, not {params!r}"
    assert dataclasses.is_dataclass(params), f"{name}: params must be a dataclass"
    frozen = vars(params)["__dataclass_params__"].frozen
    assert frozen, f"{name}: params must be frozen"
    missing = dataclasses.MISSING
    without = [f.name for f in dataclasses.fields(params) if f.default is f.default_factory is missing]
    assert not without, f"{name}: every parameter needs a default; {', '.join(without)} has none"
    with works(f"{name}: the parameters' defaults cannot be stored as JSON and read back"):
        values = {f.name: to_json(getattr(params(), f.name)) for f in dataclasses.fields(params)}
        stored = json.loads(json.dumps(values, allow_nan=False))
        again = parse(params, stored, name)
    assert again == params(), f"{name}: parameters stored as JSON and read back differ: {again}"


@contextmanager
def works(what: str) -> Iterator[None]:
    """An error inside fails the check, with what did not work and why."""
    try:
        yield
    except AssertionError:
        raise
    except BenchError as error:
        raise AssertionError(f"{what}: {error}") from error
    except Exception as error:  # whatever a component raises
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
