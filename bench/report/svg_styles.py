"""Styles that drawings repeat, said once for the page: a third of what drawings take otherwise."""

from __future__ import annotations

import re
from collections import Counter

_SVG = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
_TAG = re.compile(r"<([a-z]\w*)((?: [\w:-]+=\"[^\"<>]*\")+)( ?/?)>")
_STYLE = re.compile(r' style="([^"]*)"')
_CLASS = re.compile(r' class="([^"]*)"')
OFTEN = 3  # times that a style must occur to become a class


def share_styles(html: str) -> tuple[str, str]:
    """A page whose drawings have classes in place of the styles that occur often, and the rules of these
    classes. The text of drawings has the colour of the page's."""
    counts = Counter(style for svg in _SVG.findall(html) for style in _STYLE.findall(svg))
    often = [style for style, count in counts.items() if count >= OFTEN and "<" not in style]
    names = {style: f"z{number}" for number, style in enumerate(often)}
    if not names:
        return html, ""

    def named(tag: re.Match[str]) -> str:
        element, attributes, end = tag[1], tag[2], tag[3]
        if element == "text":
            attributes = attributes.replace(' fill="currentColor"', "")
        style = _STYLE.search(attributes)
        if style and style[1] in names:
            attributes = attributes.replace(style[0], "")
            own = _CLASS.search(attributes)
            classes = f"{own[1]} {names[style[1]]}" if own else names[style[1]]
            attributes = attributes.replace(own[0], "") if own else attributes
            attributes += f' class="{classes}"'
        return f"<{element}{attributes}{end.strip()}>"

    page = _SVG.sub(lambda svg: _TAG.sub(named, svg[0]), html)
    rules = "".join(f".{name} {{ {_unescaped(style)} }}\n" for style, name in names.items())
    return page, f":where(svg) text {{ fill: currentColor; }}\n{rules}"


def _unescaped(style: str) -> str:
    """The style without what would end its rule; a drawing of ours has none of it."""
    return re.sub(r"[{}<>\\]", "", style).replace("&quot;", '"').replace("&amp;", "&")
