"""`bench data audit`: duplicates, label conflicts, leaking groups, shortcuts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from bench.cli.options import DatasetArgument, EnvironmentOptions, SetDatasetOption, dataset_of, with_options
from bench.cli.screen import contain, installed_components, make_console, say
from bench.text import by_kind

if TYPE_CHECKING:
    from rich.console import Console

    from bench.data.audit.audit import Audit
    from bench.data.audit.search import Duplicate
    from bench.data.images.images import Images

MAX_LISTED = 12  # pairs in the terminal
MAX_PICTURED = 24  # pairs in the picture
MAX_ON_PAGE = 300  # pairs of each kind on the page


@with_options
def audit(
    name: DatasetArgument,
    where: EnvironmentOptions,
    distance: Annotated[
        int | None,
        typer.Option(
            help="Candidates differ in at most this many of 64 hash bits [default: 10].", min=0, max=16
        ),
    ] = None,
    similarity: Annotated[
        float | None,
        typer.Option(help="Correlation of aligned detail that confirms a candidate [default: 0.55]."),
    ] = None,
    embed: Annotated[
        str, typer.Option(help="A model whose ImageNet features propose further candidates.")
    ] = "",
    picture: Annotated[
        Path | None,
        typer.Option(help="Where to draw the worst pairs (.png) [default: beside the audit]."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the page on which a person decides about pairs (.html) "
            "[default: beside the audit]."
        ),
    ] = None,
    set_: SetDatasetOption = None,
) -> None:
    """Look for duplicates, suspects, label conflicts, leaking groups, and shortcuts to the class.

    `bench run` does the same with the protocol's settings; its default split keeps duplicates together.
    Suspected pairs are for a person to decide, on the page that is written beside the audit.

    Example: bench data audit busi --picture pairs.png
    """
    from bench.cli.pages import check_page_path
    from bench.cli.progress import display
    from bench.data.audit.audit import audit_path
    from bench.data.audit.decided import undecided
    from bench.execution.session import Session
    from bench.parsing import parse
    from bench.study.protocol import AuditSettings

    if page is not None:
        check_page_path(page, "--page")
    registry = contain(installed_components())
    options = {"distance": distance, "similarity": similarity, "embed": embed or None}
    settings = parse(AuditSettings, {k: v for k, v in options.items() if v is not None}, "audit")
    session = Session(where.environment(jobs=1), registry)
    console = make_console()
    with display(console) as shown:
        ref = dataset_of(name, set_, registry)
        images, audited = session.audited(ref, settings, report=shown.report)
    pairs = _ranked(audited, images)
    _print_counts(audited, images, console)
    for change in images.changes:
        say(console, f"note: {change}")
    _print_parts(audited, images, console)
    _print_pairs(pairs, images, console)
    path = audit_path(session.environment.results, audited)
    say(console, f"written: {path}")
    if pairs:
        target = picture or path.with_suffix(".png")
        _draw(pairs[:MAX_PICTURED], images, target)
        say(console, f"written: {target}")
    if pairs or undecided(audited.suspects, images):
        target = page or path.with_suffix(".html")
        _write_page(audited, pairs, images, target)
        say(console, f"written: {target}")
    elif page is not None or picture is not None:
        say(console, "no pairs, so there is nothing to show")


class _Pair(NamedTuple):
    """A duplicate with the positions of its images."""

    first: int
    second: int
    duplicate: Duplicate


def _ranked(audited: Audit, images: Images) -> list[_Pair]:
    """Pairs across classes first, then those across groups; within each, the most similar first."""
    positions = {id_: i for i, id_ in enumerate(images.ids)}
    pairs = [_Pair(positions[d.first], positions[d.second], d) for d in audited.duplicates]

    def rank(pair: _Pair) -> tuple[bool, bool, float, str]:
        same_class = bool(images.labels[pair.first] == images.labels[pair.second])
        same_group = images.groups[pair.first] == images.groups[pair.second]
        return same_class, same_group, -pair.duplicate.similarity, pair.duplicate.first

    return sorted(pairs, key=rank)


def _print_counts(audited: Audit, images: Images, console: Console) -> None:
    from rich.table import Table as Grid

    from bench.data.audit.audit import audit_counts

    grid = Grid(title=f"{audited.dataset}: audit {audited.hash[:8]}", title_justify="left", box=None)
    grid.show_header = False
    grid.add_column()
    grid.add_column(justify="right")
    for what, count in audit_counts(audited, images).items():
        grid.add_row(what, str(count))
    console.print(grid)
    for probe in audited.probes:
        text = f"{probe.text}; balanced {probe.balanced:.3f}, {probe.images} images"
        console.print(text, markup=False, style="bold red" if probe.beats else None)
    if images.passed_over:
        say(console, f"passed over: {by_kind(images.passed_over)}")
    for note in audited.notes:
        console.print(f"note: {note}", markup=False)


def _print_parts(audited: Audit, images: Images, console: Console) -> None:
    """What the split that comes with the data set leaks, if it has one."""
    from bench.data.audit.verdict import judge

    if all(images.parts):
        verdict = judge(audited, images, images.parts)
        console.print(
            f"the split that comes with it: {verdict.text}",
            markup=False,
            style="bold red" if verdict.leaks else None,
        )
        for example in verdict.examples:
            console.print(f"  {example}", markup=False)


def _print_pairs(pairs: Sequence[_Pair], images: Images, console: Console) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    if not pairs:
        return
    left = f" (and {len(pairs) - MAX_LISTED} more)" if len(pairs) > MAX_LISTED else ""
    grid = Grid(title=f"worst pairs{left}", title_justify="left")
    for head in ("image", "label", "is also", "label", "similarity", "hash bits"):
        grid.add_column(
            head, justify="right" if head in ("similarity", "hash bits") else "left", overflow="fold"
        )
    for first, second, duplicate in pairs[:MAX_LISTED]:
        labels = [images.classes[images.labels[i]] for i in (first, second)]
        style = "" if labels[0] == labels[1] else "red"
        similarity = "equal" if duplicate.exact else f"{duplicate.similarity:.2f}"
        cells = (duplicate.first, labels[0], duplicate.second, labels[1], similarity, str(duplicate.bits))
        grid.add_row(*map(Text, cells), style=style)
    console.print(grid)


def _draw(pairs: Sequence[_Pair], images: Images, target: Path) -> None:
    from bench.data.audit.picture import PicturedImage, PicturedPair, draw_pairs
    from bench.data.audit.search import SHORT
    from bench.errors import StoreError

    view = images.view(SHORT)

    def pictured(i: int) -> PicturedImage:
        return PicturedImage(view[i], images.ids[i], images.classes[images.labels[i]])

    pictured_pairs = [
        PicturedPair(
            pictured(first),
            pictured(second),
            f"similarity {duplicate.similarity:.2f}, {duplicate.bits} hash bits"
            + (", equal" * duplicate.exact),
        )
        for first, second, duplicate in pairs
    ]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draw_pairs(pictured_pairs).save(target)
    except (OSError, ValueError) as error:
        raise StoreError(f"{target}: cannot be written ({error}); give a .png file with --picture") from None


def _write_page(audited: Audit, pairs: Sequence[_Pair], images: Images, target: Path) -> None:
    """The page with suspects, then duplicates, the worst first."""
    from bench.cli.pages import write_whole
    from bench.data.audit.decided import undecided
    from bench.data.audit.page import PageImage, PagePair, PageSection, pairs_page
    from bench.data.audit.search import SHORT, hashes_of

    positions = {id_: i for i, id_ in enumerate(images.ids)}
    suspected = undecided(audited.suspects, images)
    suspects = [(positions[s.first], positions[s.second], s) for s in suspected[:MAX_ON_PAGE]]
    shown = {i for first, second, _ in (*suspects, *pairs[:MAX_ON_PAGE]) for i in (first, second)}
    view = images.view(SHORT)
    hashes = hashes_of(view, sorted(shown))
    sizes = Counter(images.groups)

    def on_page(i: int) -> PageImage:
        group = images.groups[i] if sizes[images.groups[i]] > 1 else ""
        return PageImage(view[i], images.ids[i], images.classes[images.labels[i]], group, hashes[i])

    sections = [
        PageSection(
            "Suspected pairs",
            "Alike, but not enough for a duplicate: perhaps neighbouring frames of one lesion, perhaps two "
            "patients. They are not kept together in a split until a person has decided.",
            [
                PagePair(on_page(a), on_page(b), f"{s.similarity:.2f} alike, {s.points} points")
                for a, b, s in suspects
            ],
        ),
        PageSection(
            "Duplicates",
            "Kept together in a split, whatever is decided here: an image that should not be there can be "
            "left out. Those across classes come first, then those across groups.",
            [
                PagePair(on_page(a), on_page(b), f"{d.similarity:.2f} alike, {d.points} points")
                for a, b, d in pairs[:MAX_ON_PAGE]
            ],
        ),
    ]
    about = (
        f"{len(suspected)} suspected pairs to decide and {len(audited.duplicates)} duplicates among "
        f"{audited.images} images; at most {MAX_ON_PAGE} of each are shown. The pictures are for your own "
        "eyes: the data set's licence says whether they may be passed on.",
        f"Save the decisions, then give the file to bench: --set dataset.{images.dataset}.groups=FILE.csv. "
        "It has the decisions of before too, and enters the identity of the split; images of one group are "
        "kept together, images left out are in no part.",
    )
    kept = [image for file in images.reviewed for image in file.images]
    text = pairs_page(audited.dataset, audited.hash, about, [s for s in sections if s.pairs], kept)
    write_whole(target, text, "--page")
