"""A figure as SVG: small, the same bytes every time, and fit to stand among others in one page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from bench.figures.palette import INK, LIGHT

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
_HREF = f"{{{XLINK}}}href"
_NUMBER = re.compile(r"-?\d+\.\d+")
_LENGTHS = {"d", "x", "y", "width", "height", "transform", "points"}
_SERIES = re.compile(r"series (\d+) (.*)", re.DOTALL)
_FONT = re.compile(r"font:\s*((?:(?:bold|italic|oblique)\s+)?)(?:\d+\s+)?([\d.]+)px[^;]*")
_STRAIGHT = re.compile(r"[MLz\d\s.-]+")
_ANY_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_FAMILY = re.compile(r"font-family:[^;]*")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def inlined(text: str, key: str, title: str, alt: str) -> str:
    """What matplotlib wrote, as one element for a page: no prolog, ids that begin with `key`, colours of
    series as variables and those of text and axes as the page has them, with `title` and `alt` for who does
    not see it."""
    root = _cleaned(text, key)
    for element in root.iter():
        _take_colours_of_page(element)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("class", "figure")
    root.set("aria-labelledby", f"{key}-title {key}-alt")
    root.set("style", "stroke-linejoin: round; font-family: inherit")
    for name, content in (("desc", alt), ("title", title)):
        element = ET.Element(f"{{{SVG}}}{name}", {"id": f"{key}-{'alt' if name == 'desc' else name}"})
        element.text = content
        root.insert(0, element)
    return _text(root)


def standalone(text: str, key: str, title: str, alt: str) -> str:
    """The same as a file of its own, with the colours of print."""
    root = _cleaned(text, key)
    root.set("style", "stroke-linejoin: round; font-family: 'DejaVu Sans', Verdana, sans-serif")
    for name, content in (("desc", alt), ("title", title)):
        element = ET.Element(f"{{{SVG}}}{name}")
        element.text = content
        root.insert(0, element)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{_text(root)}\n'


def _text(root: ET.Element) -> str:
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    return ET.tostring(root, encoding="unicode")


def _cleaned(text: str, key: str) -> ET.Element:
    root = ET.fromstring(text)
    for kind in ("metadata", f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
        for parent in list(root.iter()):
            for child in [c for c in parent if c.tag == kind]:
                parent.remove(child)
    _name_series(root)
    _rename_ids(root, key)
    in_definitions = {id(e) for d in root.iter(f"{{{SVG}}}defs") for e in d.iter()}
    for element in root.iter():
        element.text = element.text if (element.text or "").strip() else None
        element.tail = None
        _shorten(element, 2 if id(element) in in_definitions else 1)
    _drop_repeated_styles(root)
    _unwrap(root)
    return root


def _name_series(root: ET.Element) -> None:
    """Parts of a series have its number as their class, and its name as what hovering shows."""
    for element in root.iter():
        if found := _SERIES.fullmatch(element.get("id", "")):
            del element.attrib["id"]
            element.set("class", f"series s{int(found[1]) + 1}")
            title = ET.Element(f"{{{SVG}}}title")
            title.text = found[2]
            element.insert(0, title)


def _rename_ids(root: ET.Element, key: str) -> None:
    """Ids that something refers to become short and the drawing's own; the others go."""
    used = {name for element in root.iter() for name in _references(element)}
    names = {name: f"{key}-{i}" for i, name in enumerate(sorted(used & _ids(root)))}
    order = iter(range(len(names)))
    for element in root.iter():  # in the order of the drawing, which hashes do not say
        if element.get("id") in names:
            names[element.get("id", "")] = f"{key}-{next(order)}"
    for element in root.iter():
        if (name := element.attrib.pop("id", "")) in names:
            element.set("id", names[name])
        if _HREF in element.attrib:
            element.set(_HREF, "#" + names[element.attrib[_HREF].removeprefix("#")])
        for attribute, value in list(element.attrib.items()):
            if "url(#" in value:
                element.set(attribute, _REFERENCE.sub(lambda m: f"url(#{names[m[1]]})", value))


def _ids(root: ET.Element) -> set[str]:
    return {element.get("id", "") for element in root.iter()} - {""}


def _references(element: ET.Element) -> Iterator[str]:
    if _HREF in element.attrib:
        yield element.attrib[_HREF].removeprefix("#")
    for value in element.attrib.values():
        yield from _REFERENCE.findall(value)


def _shorten(element: ET.Element, digits: int) -> None:
    """Coordinates to so many digits after the point; a style without what goes without saying."""
    for name in _LENGTHS & element.attrib.keys():
        value = _NUMBER.sub(lambda m: _rounded(m[0], digits), element.attrib[name])
        element.set(name, " ".join(value.split()))
    if "d" in element.attrib:
        element.set("d", _relative(element.attrib["d"], digits))
    if style := element.get("style"):
        style = _FAMILY.sub("", _FONT.sub(lambda m: f"{_weight(m[1])}font-size: {m[2]}px", style))
        style = re.sub(r"\s*([:;])\s*", r"\1", style).replace(";;", ";").strip(";")
        element.set("style", style)
    if element.get("transform", "").endswith("rotate(-0)"):
        element.set("transform", element.attrib["transform"].removesuffix("rotate(-0)").strip())
    if re.match(r"rotate\(-0(\.0)? ", element.get("transform", "")):
        del element.attrib["transform"]


def _relative(path: str, digits: int) -> str:
    """A path of straight lines by the steps from point to point, in half the bytes; other paths as they are.
    Steps are between rounded points, so that nothing adds up."""
    if not _STRAIGHT.fullmatch(path):
        return path
    parts = []
    for line in path.replace("z", "z M").split("M"):
        numbers = [round(float(n) * 10**digits) for n in _ANY_NUMBER.findall(line)]
        if not numbers:
            continue
        x, y = numbers[::2], numbers[1::2]
        steps = [v for i in range(1, len(x)) for v in (x[i] - x[i - 1], y[i] - y[i - 1])]
        text = f"M{_joined([x[0], y[0]], digits)}"
        text += f"l{_joined(steps, digits)}" if steps else ""
        parts.append(text + ("z" if "z" in line else ""))
    return "".join(parts)


def _joined(numbers: list[int], digits: int) -> str:
    """With a space only where a sign does not begin the next number."""
    texts = [_tenths(number, digits) for number in numbers]
    return texts[0] + "".join(t if t.startswith("-") else f" {t}" for t in texts[1:])


def _tenths(number: int, digits: int) -> str:
    text = _rounded(str(number / 10**digits), digits)
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _drop_repeated_styles(root: ET.Element) -> None:
    """What is used has its own style already."""
    styles = {f"#{element.get('id')}": element.get("style") for element in root.iter() if element.get("id")}
    for element in root.iter(f"{{{SVG}}}use"):
        if element.get("style") == styles.get(element.get(_HREF, "")):
            element.attrib.pop("style", None)


def _weight(word: str) -> str:
    if not word.strip():
        return ""
    return f"font-{'weight' if word.strip() == 'bold' else 'style'}: {word.strip()}; "


def _rounded(number: str, digits: int) -> str:
    text = f"{float(number):.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _unwrap(parent: ET.Element) -> None:
    """Groups that say nothing give way to what is in them."""
    children: list[ET.Element] = []
    for child in parent:
        _unwrap(child)
        plain = child.tag in (f"{{{SVG}}}g", f"{{{SVG}}}defs") and not child.attrib
        keep = child.tag == f"{{{SVG}}}defs" and len(child)
        children += [child] if keep or not plain else list(child)
    parent[:] = children


def _take_colours_of_page(element: ET.Element) -> None:
    """In styles and attributes."""
    for name in ("style", "fill", "stroke"):
        if value := element.get(name):
            for number, colour in enumerate(LIGHT, 1):
                value = value.replace(colour, f"var(--c{number},{colour})")
            element.set(name, value.replace(INK, "currentColor"))
    if element.tag == f"{{{SVG}}}text" and "fill" not in (element.get("style") or ""):
        element.set("fill", "currentColor")
