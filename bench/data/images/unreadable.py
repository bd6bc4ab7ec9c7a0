"""Images that cannot be decoded, which are left out where that was asked for (`Environment.on_bad_image`).

    scratch/images/<data set>/.unreadable/<listing key>.json    {"unreadable": {id: why}} of these files

So the processes of a command, and the next one, leave out the same images without decoding all of them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bench.data.images.content import BATCH, DecodeTask, listing_key
from bench.data.images.decode import check_array, decode
from bench.data.images.index import first_few
from bench.data.images.parallel import each, in_order
from bench.data.images.ranges import WHOLE, Ranges
from bench.errors import DataError
from bench.files import read_json, write_json
from bench.interfaces.dataset import Index, Sample

MOST = 0.05  # share of all images that may be left out
KIND = "images that could not be read"  # in what is passed over
FRAMES = "further pages, frames or slices"  # likewise


class Look(NamedTuple):
    """What decoding an image shows."""

    fault: str  # why it cannot be decoded; "" if it can
    frames: int  # pages, frames or slices of its file


def look_at(sample: Sample, ranges: Ranges = WHOLE) -> Look:
    """Decode an image for its faults alone. A value beyond `ranges` is one, but no reason to leave an image
    out: it can be read, and the range is wrong, so `ranges` is not given where that is asked.

    Raises ConfigError where what reads its format is not installed: that is no fault of the image.
    """
    try:
        if sample.path is not None:
            return Look("", decode(sample.path, ranges).frames)
        if sample.array is not None:
            check_array(sample.array, sample.id)
    except DataError as error:
        return Look(str(error), 1)
    return Look("", 1)


def remembered_unreadable(task: DecodeTask, scratch: Path) -> dict[str, str]:
    """Id -> why, of the images of these very files that could not be decoded when they were looked at, if
    they still cannot; else nothing. Raises DataError for a file that is gone."""
    known = (read_json(_memory(task, scratch)) or {}).get("unreadable")
    samples = [sample for sample in task.samples if isinstance(known, dict) and sample.id in known]
    looks = [look_at(sample) for sample in samples]
    if not all(look.fault for look in looks):  # another version of a decoder, say: look at all anew
        return {}
    return {sample.id: look.fault for sample, look in zip(samples, looks, strict=True)}


def find_unreadable(task: DecodeTask, scratch: Path) -> dict[str, str]:
    """Id -> why, of the images that cannot be decoded. All are decoded; what is found is remembered."""
    stage = "look for unreadable files"
    task.report_progress(stage, 0)
    found = {}
    looks = in_order(each(look_at), task.samples, BATCH, task.threads)
    for done, (sample, look) in enumerate(zip(task.samples, looks, strict=True), 1):
        if look.fault:
            found[sample.id] = look.fault
        task.report_progress(stage, done)
    with suppress(OSError):  # the store, which is written next, says what is wrong there
        write_json(_memory(task, scratch), {"unreadable": found})
    return found


def _memory(task: DecodeTask, scratch: Path) -> Path:
    return scratch / "images" / task.dataset / ".unreadable" / f"{listing_key(task)}.json"


def may_be_left_out(dataset: str, samples: Sequence[Sample], unreadable: Mapping[str, str]) -> str:
    """Why these images are too many to be left out, as a sentence with the remedy; "" if they are not."""
    remedy = (
        f"{first_few(list(unreadable))}; `bench data verify {dataset}` says what is wrong with each: replace "
        "these files with intact copies"
    )
    if len(unreadable) > MOST * len(samples):
        share = f"{len(unreadable)} of {len(samples)} images ({len(unreadable) / len(samples):.1%})"
        return (
            f"{dataset}: {share} cannot be decoded, and --on-bad-image skip leaves out at most {MOST:.0%}: "
            f"{remedy}, or move them away"
        )
    left = {sample.label for sample in samples if sample.id not in unreadable}
    if emptied := sorted({sample.label for sample in samples} - left):
        return (
            f"{dataset}: no image of class {', '.join(emptied)} can be decoded, so that --on-bad-image skip "
            f"would leave the class empty: {remedy}"
        )
    return ""


def with_passed_over(index: Index, frames: Iterable[int], left_out: int) -> dict[str, int]:
    """What an index passed over, what of the files with these `frames` is not read, and how many images could
    not be read: kind -> number."""
    further = sum(count - 1 for count in frames)
    return {
        **index.passed_over,
        **({FRAMES: further} if further else {}),
        **({KIND: left_out} if left_out else {}),
    }
