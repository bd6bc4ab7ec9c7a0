"""The templates of the report: every text that comes from outside is escaped where it is shown.

What a template prints is made printable first (`bench.text.printable`: no control characters, no change of
the direction of writing), then escaped by jinja2, unless it is HTML that a section has finished.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from bench.errors import ConfigError
from bench.registry import DISTRIBUTION
from bench.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment

HOW_TO_INSTALL = f'pip install "{DISTRIBUTION}[report]"'


def render(template: str, **values: Any) -> str:
    """A template of this package, filled. Raises ConfigError where jinja2 is not installed."""
    return _environment().get_template(template).render(values).strip() + "\n"


def asset(name: str) -> str:
    """A file beside the templates that is no template: the style, the script."""
    return (resources.files("bench.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError:
        raise ConfigError(f"bench report needs jinja2: {HOW_TO_INSTALL}") from None
    return Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_safe,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _safe(value: object) -> object:
    return printable(value) if type(value) is str else value  # not Markup, which is finished HTML
