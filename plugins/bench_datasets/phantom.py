"""Phantom: generated images that resemble breast ultrasound. They need no download and are always the same.

Three classes with BUSI's imbalance, several views of most patients, and features that overlap between the
classes (see `speckle`), so that a classifier does better than chance and worse than perfect.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Interval

from bench import Dataset, Index, Sample

SHARES = {"no_lesion": 0.17, "smooth": 0.56, "irregular": 0.27}  # of patients, as in BUSI


@dataclass(frozen=True)
class Params:
    """Parameters of the data set `phantom`.

    Attributes:
        patients: how many patients to generate, each with one to four images, which form a group.
        size: side of the square images, pixels.
        seed: another seed generates other patients.
    """

    patients: Annotated[int, Interval(ge=20, le=20_000)] = 132
    size: Annotated[int, Interval(ge=32, le=512)] = 128
    seed: Annotated[int, Ge(0)] = 0


def index(root: Path, params: Params) -> Index:
    """Generate the images; `root` is not looked at."""
    from bench_datasets import speckle

    samples = []
    for number, label in enumerate(_labels(params.patients)):
        patient = f"p{number:04d}"
        for view, array in enumerate(speckle.patient(label, params.size, (params.seed, number))):
            samples.append(Sample(id=f"{label}/{patient}-{view}", label=label, group=patient, array=array))
    return Index(classes=tuple(SHARES), samples=tuple(samples))


def _labels(patients: int) -> list[str]:
    few = {name: round(share * patients) for name, share in SHARES.items() if name != "smooth"}
    counts = {name: few.get(name, patients - sum(few.values())) for name in SHARES}
    return [name for name, count in counts.items() for _ in range(count)]


DATASET = Dataset(
    name="phantom",
    about="Generated ultrasound-like speckle: no lesion, smooth-edged or irregular lesion; needs no download",
    params=Params,
    index=index,
    expected={"no_lesion": 61, "smooth": 181, "irregular": 88},  # with the default parameters
    fetch="nothing to fetch: the images are generated",
    licence="MIT, as bench itself",
    redistribution="bench generates them, and its licence, MIT, permits it",
)
