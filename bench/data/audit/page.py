"""One self-contained page with pairs of pictures side by side, on which a person decides about each pair.

The page asks the network for nothing. Its button makes the reviewed file that `--set
dataset.NAME.groups=FILE.csv` takes; without scripts, the page still shows all pairs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.data.images.thumbnail import thumbnail
from bench.interfaces.reviewed import ReviewedImage
from bench.page import html_page, paragraphs, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE = 320  # longest side of a picture, pixels


@dataclass(frozen=True)
class PageImage:
    """One image of a pair."""

    pixels: NDArray[np.uint8]  # (C, h, w)
    id: str
    label: str
    group: str  # "" if it stands alone
    hash: str  # 64-bit pHash, 16 hex digits


@dataclass(frozen=True)
class PagePair:
    """Two images and what the audit says of them."""

    first: PageImage
    second: PageImage
    text: str


@dataclass(frozen=True)
class PageSection:
    """Pairs under a heading."""

    heading: str
    about: str
    pairs: Sequence[PagePair]


def pairs_page(
    dataset: str,
    audit: str,
    about: Sequence[str],
    sections: Sequence[PageSection],
    kept: Sequence[ReviewedImage] = (),
) -> str:
    """The page, as HTML. `audit` is the hash of the audit, `about` are lines for its head, `kept` earlier
    decisions, which the file has too."""
    rows = [[k.id, k.group, "yes" if k.exclude else "", k.phash, k.reason] for k in kept]
    title = f"{dataset}: pairs of audit {audit[:8]}"
    body = (
        f"<h1>{shown(title)}</h1>\n{paragraphs(about)}"
        f'<p class="save" data-dataset="{shown(dataset)}" data-audit="{shown(audit[:8])}" '
        f'data-kept="{shown(json.dumps(rows))}" hidden>'
        "<button>Save the decisions as a csv file</button> <span></span></p>\n"
        + "".join(map(_section, sections))
    )
    return html_page(title, body, _STYLE, _SCRIPT)


def _section(section: PageSection) -> str:
    cards = "".join(map(_card, section.pairs))
    heading = f"{shown(section.heading)} <small>{len(section.pairs)}</small>"
    return f"<section><h2>{heading}</h2><p>{shown(section.about)}</p>{cards}</section>"


def _card(pair: PagePair) -> str:
    differ = " differ" * (pair.first.label != pair.second.label)
    return (
        f"<fieldset class='pair{differ}'><legend>{shown(pair.text)}</legend>"
        f"<div class='two'>{_figure(pair.first)}{_figure(pair.second)}</div>"
        "<div class='choice'>"
        "<label><input type='radio' value='same'> same patient or lesion</label>"
        "<label><input type='radio' value='different'> different</label>"
        "<label><input type='radio' value='' checked> undecided</label>"
        "<input class='reason' placeholder='reason' aria-label='reason'></div></fieldset>"
    )


def _figure(image: PageImage) -> str:
    id_, label = shown(image.id), shown(image.label)
    group = f"<br>group {shown(image.group)}" if image.group else ""
    return (
        f"<figure data-id=\"{id_}\" data-hash='{shown(image.hash)}'>"
        f'<img src="{thumbnail(image.pixels, SIDE)}" alt="{id_}, {label}">'
        f"<figcaption><b>{id_}</b><br><span class='label'>{label}</span>{group}<br>"
        "<label><input type='checkbox'> leave out</label></figcaption></figure>"
    )


_STYLE = """\
section { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27em), 1fr)); gap: 1em; }
h2, section > p { grid-column: 1 / -1; margin: 0.3em 0; }
fieldset { border: 1px solid #8888; border-radius: 4px; min-width: 0; }
.two { display: flex; gap: 0.5em; }
img { width: 100%; image-rendering: auto; background: #8884; }
figcaption { font-size: 0.85em; overflow-wrap: anywhere; }
.differ .label { color: #d02040; font-weight: bold; }
.choice { display: flex; flex-wrap: wrap; gap: 0.2em 1em; margin-top: 0.5em; font-size: 0.9em; }
.reason { flex: 1; min-width: 8em; }
.save { position: sticky; top: 0; padding: 0.5em 0; background: Canvas; z-index: 1; }
.two figure { flex: 1; min-width: 0; }
section > h2 { border: 0; padding: 0; }
"""

_SCRIPT = """
const cards = [...document.querySelectorAll("fieldset")];
cards.forEach((card, number) => card.querySelectorAll("[type=radio]").forEach(
  button => { button.name = "pair" + number; }));
const save = document.querySelector(".save"), study = save.dataset;
const kept = JSON.parse(study.kept);
save.hidden = false;

function decisions() {
  const parent = new Map(), rows = new Map(), firsts = new Map();
  const find = id => parent.get(id) === id ? id : find(parent.get(id));
  for (const [id, group, exclude, hash, reason] of kept) {
    parent.set(id, id);
    rows.set(id, { hash, out: exclude === "yes", reasons: reason ? [reason] : [] });
    if (group && firsts.has(group)) parent.set(id, find(firsts.get(group)));
    else if (group) firsts.set(group, id);
  }
  for (const card of cards) {
    const choice = card.querySelector("[type=radio]:checked").value;
    const reason = card.querySelector(".reason").value.trim();
    const figures = [...card.querySelectorAll("figure")];
    for (const figure of figures) {
      const id = figure.dataset.id, out = figure.querySelector("[type=checkbox]").checked;
      if (!choice && !out) continue;
      if (!parent.has(id)) parent.set(id, id);
      const row = rows.get(id) || { hash: figure.dataset.hash, out: false, reasons: [] };
      row.out = row.out || out;
      const other = figures.find(f => f !== figure).dataset.id;
      row.reasons.push((choice ? choice + (choice === "same" ? " as " : " from ") + other : "left out")
        + (reason ? ": " + reason : "") + " (audit " + study.audit + ")");
      rows.set(id, row);
    }
    if (choice === "same") parent.set(find(figures[0].dataset.id), find(figures[1].dataset.id));
  }
  const named = id => {
    const known = [...firsts].find(([, first]) => find(first) === find(id));
    return known ? known[0] : "reviewed " + find(id);
  };
  const quoted = text => /[",\\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  const lines = [...rows].map(([id, row]) => [
    id, named(id), row.out ? "yes" : "", row.hash, row.reasons.join("; ")
  ].map(quoted).join(","));
  return { count: lines.length, text: ["id,group,exclude,phash,reason", ...lines, ""].join("\\n") };
}

document.addEventListener("input", () => {
  save.querySelector("span").textContent = decisions().count + " images are decided";
});
save.querySelector("button").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([decisions().text], { type: "text/csv" }));
  link.download = study.dataset + "-reviewed.csv";
  link.click();
});
"""
