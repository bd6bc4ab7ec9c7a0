"""Pages of HTML that need nothing but themselves: no network, one look in light and dark, no script but one
that the page was made with.

What comes from outside (names of files and classes) goes through `shown`. Should something slip past it, the
page itself forbids addresses, and all scripts but that one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from bench.errors import ConfigError
from bench.text import printable

GENERATOR = '<meta name="generator" content="bench">'
"""By this line in its head a page is known to be ours."""

STYLE = """\
:root { color-scheme: light dark; }
body { font-family: sans-serif; line-height: 1.4; margin: 2em; overflow-wrap: anywhere; }
@media (max-width: 40em) { body { margin: 1em; } }
h2 { border-top: 1px solid; margin-top: 2em; padding-top: 0.7em; }
p, li, dd { max-width: 60em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
td, th { padding: 0.2em 0.7em; text-align: right; vertical-align: top; }
td:first-child, th:first-child { padding-left: 0; text-align: left; }
thead tr, tbody tr:last-child { border-bottom: 1px solid; }
caption { padding-bottom: 0.7em; text-align: left; white-space: nowrap; }
table + p { margin-bottom: 3em; }
dl { display: grid; gap: 0.3em 1.5em; grid-template-columns: max-content 1fr; }
dt { opacity: 0.75; }
dd { margin: 0; }
@media (max-width: 40em) { dl { display: block; } dd { margin-bottom: 0.7em; } }
ul.pictures { display: grid; gap: 1em; grid-template-columns: repeat(auto-fill, minmax(7em, 1fr)); }
ul.pictures { list-style: none; padding: 0; }
figure { margin: 0; }
img { height: auto; max-width: 100%; }
figcaption { font-size: small; }
svg { display: block; height: auto; max-width: 40em; width: 100%; }
.warn { border-left: 0.3em solid #c22; padding-left: 0.7em; }
"""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{generator}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{body}
{script}</body>
</html>
"""

SUFFIXES = (".html", ".htm")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class Picture(NamedTuple):
    """A picture of a page.

    Attributes:
        uri: its bytes, as a data URI.
        alt: what it shows, for those who do not see it.
        lines: of text below it.
    """

    uri: str
    alt: str
    lines: Sequence[str]


def html_page(title: str, body: str, style: str = "", script: str = "") -> str:
    """A whole page. `title` is text, `body` HTML whose texts are escaped already, `style` is added to the
    look of all pages, and `script` is the one that the page may run."""
    policy = POLICY
    if script:
        allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        policy += f"; script-src 'sha256-{allowed}'"
    return PAGE.format(
        generator=GENERATOR,
        policy=policy,
        title=shown(title),
        style=STYLE + style,
        body=body,
        script=f"<script>{script}</script>\n" if script else "",
    )


def is_page(text: str) -> bool:
    """Whether `text`, of which the beginning is enough, is a page that `html_page` made."""
    return text.startswith("<!DOCTYPE html>") and GENERATOR in text[:400]


def check_page_path(path: Path, option: str = "--output") -> None:
    """Raise ConfigError, before any work is done, for a file that is no place for a page: of another suffix,
    a folder, or there already without being a page of ours."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{option} {path}: is a page of HTML; give a name that ends in .html")
    try:
        if not path.exists():
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            ours = is_page(file.read(1000))
    except OSError as error:
        raise ConfigError(f"{option} {path}: cannot be read ({error.strerror}); give another file") from None
    if not ours:
        raise ConfigError(
            f"{option} {path}: is there already and is no page of bench; give another name, or move it away"
        )


def shown(text: str) -> str:
    """A text from outside as HTML, in an attribute too: nothing in it is markup, control characters are
    spelled out."""
    return escape(printable(text), quote=True)


def paragraphs(texts: Iterable[str], kind: str = "") -> str:
    """Each text as a paragraph; `kind` is the class of all."""
    of = f' class="{kind}"' if kind else ""
    return "".join(f"<p{of}>{shown(text)}</p>\n" for text in texts)


def bullets(texts: Iterable[str]) -> str:
    """A list; nothing where there are no texts."""
    items = "".join(f"<li>{shown(text)}</li>\n" for text in texts)
    return f"<ul>\n{items}</ul>\n" if items else ""


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Name and value, one pair a line; those without a value are left out."""
    items = "".join(f"<dt>{shown(name)}</dt><dd>{shown(value)}</dd>\n" for name, value in pairs if value)
    return f"<dl>\n{items}</dl>\n" if items else ""


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls by itself where the screen is narrower. The first column is the rows' heads."""
    head = "".join(f'<th scope="col">{shown(text)}</th>' for text in heads)
    body = "".join(
        f'<tr><th scope="row">{shown(row[0])}</th>'
        + "".join(f"<td>{shown(cell)}</td>" for cell in row[1:])
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><caption>{shown(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>\n"
    )


def gallery(pictures: Iterable[Picture]) -> str:
    """Pictures side by side, as many as fit; nothing where there are none."""
    items = "".join(
        f'<li><figure><img src="{shown(picture.uri)}" alt="{shown(picture.alt)}">'
        f"<figcaption>{'<br>'.join(map(shown, picture.lines))}</figcaption></figure></li>\n"
        for picture in pictures
    )
    return f'<ul class="pictures">\n{items}</ul>\n' if items else ""
