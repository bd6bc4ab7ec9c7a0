"""The checks of a published table as a reader sees them: a table for each data set, and what follows from
it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from bench.cli.screen import say
from bench.text import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from bench.comparison.published_claims import CheckedDataset, CheckedRow, Claim, Granularity

LEAST = 0.0001  # of a probability that is shown as a number


def show(
    console: Console, checked: Sequence[CheckedDataset], congruence: float | None, results: Path
) -> None:
    """Print everything; `congruence` is the one that was asked for, `results` where ours were looked for."""
    for each in checked:
        console.print(Text(_title(each), style="italic"))
        console.print(_grid(each))
        for remark in _remarks(each, congruence, results):
            say(console, one_line(remark))
        console.print()
    for note in _notes(checked):
        say(console, note)


# --- the table ---------------------------------------------------------------------------------------


def _title(checked: CheckedDataset) -> str:
    count = len(checked.rows)
    text = f"{one_line(checked.dataset)}: {count} row{'s' * (count != 1)}"
    if checked.images:
        rounds = f"{checked.rounds} rounds of " if checked.rounds > 1 else ""
        text += f", {rounds}{checked.images} test images"
        if checked.compared and count > 1:
            text += f"; {one_line(checked.compared.model)} against the others"
    return text


def _grid(checked: CheckedDataset) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column("method", overflow="fold")
    grid.add_column("accuracy", justify="right", overflow="fold")
    if checked.images:
        grid.add_column("points\nbehind", justify="right", overflow="fold")
        grid.add_column("both\nright", justify="right", overflow="fold")
        grid.add_column("claim\nfalse", justify="right", overflow="fold")
        grid.add_column("at any\ncongruence", justify="right", overflow="fold")
        grid.add_column(f"k of\n{checked.images * checked.rounds}", overflow="fold")
    grid.add_column("F1 to\nharmonic\nmean", overflow="fold")
    for row in checked.rows:
        accuracy = row.row.accuracy
        cells: list[Text | str] = [
            Text(one_line(row.row.model)),
            "-" if accuracy is None else f"{accuracy:f}",
        ]
        if checked.images:
            cells += [*_claim(row.claim), _granularity(row.granularity, row)]
        grid.add_row(*cells, ", ".join(row.f1.values()) or "-")
    return grid


def _claim(claim: Claim | None) -> tuple[str, str, str, str]:
    if claim is None:
        return "", "", "", ""
    low, high = map(probability, claim.any_congruence)
    return (
        f"{claim.points:.2f}",
        f"{claim.congruence:.4f}{'*' * claim.moved}",
        probability(claim.false),
        low if low == high else f"{low.removesuffix(' %')} to {high}",
    )


def probability(value: float) -> str:
    """0.43 as "43 %"; more digits for a small one, none for one below 0.01 %."""
    if value < LEAST:
        return f"<{100 * LEAST:g} %"
    return f"{100 * value:.0f} %" if value >= 0.1 else f"{100 * value:.2g} %"


def _granularity(found: Granularity | None, row: CheckedRow) -> str:
    """The number of images that gives the accuracy, or "no" and the nearest one, with as many digits."""
    if found is None or row.row.accuracy is None:
        return "-"
    if found.attainable:
        return str(found.hits)
    digits = len(f"{row.row.accuracy:f}".partition(".")[2])
    return f"no ({found.hits}: {found.hits / found.images:.{digits}f})"


# --- what follows ------------------------------------------------------------------------------------


def _remarks(checked: CheckedDataset, congruence: float | None, results: Path) -> Iterator[str]:
    if checked.images is None:
        yield "No --n-test for this data set: only F1 is checked."
    else:
        yield from _claims(checked)
        yield from _attainable(checked)
    yield from _harmonic(checked)
    if checked.images and any(row.claim for row in checked.rows):
        yield _congruence(checked, congruence, results)


def _claims(checked: CheckedDataset) -> Iterator[str]:
    others = [(row.row.model, row.claim) for row in checked.rows if row.claim]
    if not others or checked.compared is None:
        yield "No two rows with an accuracy: nothing is compared."
        return
    if all(claim.points >= 0 for _, claim in others):
        model, claim = others[0]
        yield (
            f"{checked.compared.model} over the runner-up {model}: {claim.points:.2f} points; probability "
            f"that this is false, by image sampling alone: {probability(claim.false)}."
        )
    unsettled = [model for model, claim in others if claim.false > 0.05]
    yield (
        f"Probability of a false claim above 5 %: against {', '.join(unsettled)}."
        if unsettled
        else "Probability of a false claim above 5 %: against no row."
    )


def _attainable(checked: CheckedDataset) -> Iterator[str]:
    found = [row.granularity for row in checked.rows if row.granularity]
    if not found:
        return
    count, images = sum(each.attainable for each in found), found[0].images
    text = f"Attainable with {images} test images: {count} of {len(found)} accuracies."
    if count < len(found):
        each = " a round" if checked.rounds > 1 else ""
        fewest = f"{checked.smallest:,}" if checked.smallest else "more than 10,000"
        text += f" The fewest test images{each} with which all of them are: {fewest}."
    yield text


def _harmonic(checked: CheckedDataset) -> Iterator[str]:
    for relation, text in (
        ("equal", "F1 is the harmonic mean of precision and recall, as far as the digits go: {}."),
        ("above", "F1 is above the harmonic mean of precision and recall, by more than rounding: {}."),
    ):
        if named := [row.row.model for row in checked.rows if relation in row.f1.values()]:
            yield text.format(", ".join(named))


def _congruence(checked: CheckedDataset, congruence: float | None, results: Path) -> str:
    if congruence is not None:
        text = f"Both right: {congruence:g} by --congruence"
        if any(row.claim.moved for row in checked.rows if row.claim):
            text += "; * not possible for these two accuracies, the nearest possible share"
        return f"{text}."
    if (found := checked.measured) is None:
        return (
            "Both right: assumed, halfway between independent errors and the most that the two accuracies "
            f"allow; {results} has no two finished runs of this data set on the same test images."
        )
    return (
        f"Both right: from {found.pairs} pair{'s' * (found.pairs != 1)} of {found.runs} runs of "
        f"{found.rounds} round{'s' * (found.rounds != 1)} in {results}, which are both right on "
        f"{found.congruence.low:.2f} to {found.congruence.high:.2f} of the images (median "
        f"{found.median_congruence:.2f}). Their overlap, 0 for independent errors and 1 for the most that "
        f"their accuracies allow, is {found.overlap.low:.2f} to {found.overlap.high:.2f}; its median "
        f"{found.median_overlap:.2f} is taken to the published accuracies."
    )


def _notes(checked: Sequence[CheckedDataset]) -> Iterator[str]:
    """What the numbers are, and what they are not."""
    if any(row.claim for each in checked for row in each.rows):
        yield (
            "Claim false: probability that the method with the higher accuracy is truly no better than the "
            "other (arXiv 2505.04720). A lower bound at that congruence: it knows the sampling of test "
            "images alone, as if they were independent; training varies too, and picking the best of many "
            "rows favours lucky ones."
        )
    if any(row.granularity for each in checked for row in each.rows):
        yield (
            "k of n: whether a whole number k of n images, rounded to the printed digits, is the printed "
            "accuracy. A mean over rounds, or another number of images, has other values (--rounds, "
            "--n-test)."
        )
    if any("above" in row.f1.values() for each in checked for row in each.rows):
        yield (
            "F1 above the harmonic mean is no mean of per-class F1 over the classes, weights and rounds of "
            "that precision and recall, which is never above it (Opitz and Burst 2019, arXiv 1911.03347)."
        )
