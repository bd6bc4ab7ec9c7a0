"""What all components have in common.

A component is a value that holds functions. It is cheap to make, so that listing plugins is fast: what needs
torch is imported inside the functions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic

from typing_extensions import TypeVar


@dataclass(frozen=True)
class NoParams:
    """The parameters of a component that has none."""


P = TypeVar("P", default=Any)
"""The dataclass of a component's parameters. `Model` alone stands for a model of any parameters."""


@dataclass(frozen=True, kw_only=True)
class LocalWeights:
    """Base class of the parameters of a model whose ImageNet weights may come from a local file.

    The path is not part of a key. A strategy that loads the file puts its checksum into its own parameters
    (`Strategy.freeze`); runs of other strategies are the same with and without the file.

    Attributes:
        weights: a local file of ImageNet weights, for strategies that start from them.
    """

    weights: str = field(default="", metadata={"identity": False})


@dataclass(frozen=True, kw_only=True)
class Component(Generic[P]):
    """What every component has.

    Attributes:
        name: how commands and study files call it; no commas.
        about: one line for `bench list`.
        caution: a warning that stands below every table with results of this component.
        revision: raised when the same inputs give another result than before, so that old results are not
            taken for new ones.
        params: a frozen dataclass whose fields all have defaults. Its annotations (with `annotated_types`
            bounds) validate what a user sets, and its docstring's "Attributes:" are what `bench show` says
            of each parameter. A field with `metadata={"identity": False}` cannot alter predictions (a path,
            say) and stays out of the key.
        citation: how to cite it.
        bibtex: the same as BibTeX entries, for `bench methods-text`; without them it makes a @misc of
            `citation`.
        licence: the terms of use.
        replaceable: whether a component of the same name from another package replaces this one, as an
            implementation by a method's authors replaces a reconstruction.
    """

    name: str
    about: str
    caution: str = ""
    revision: int = 1
    params: type[P] = NoParams  # type: ignore[assignment]  # a default for those that have none
    citation: str = ""
    bibtex: str = ""
    licence: str = ""
    replaceable: bool = False
