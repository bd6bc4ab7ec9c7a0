"""Kvasir: frames of gastrointestinal endoscopies, in the layout of their download.

    kvasir-dataset-v2/{dyed-lifted-polyps,...,ulcerative-colitis}/<uuid>.jpg      8 classes of 1,000
    kvasir-dataset/...                                                            version 1, 8 classes of 500

No split is published, and neither patients nor videos are named, although many frames are neighbours in one
video. So the index has no groups; the near-duplicates that an audit finds serve instead.
"""

from collections import Counter
from pathlib import Path

from bench import Archive, DataNotFound, Dataset, Index, NoParams, Sample
from bench_datasets.listing import (
    find_home,
    first_few,
    native_images,
    passed_over,
    still_packed,
    unexpected_folders,
)

CLASSES = (
    "dyed-lifted-polyps",
    "dyed-resection-margins",
    "esophagitis",
    "normal-cecum",
    "normal-pylorus",
    "normal-z-line",
    "polyps",
    "ulcerative-colitis",
)
VERSIONS = {"v2": 1000, "v1": 500}  # images per class
HOME = "https://datasets.simula.no/kvasir/"
FETCH = f"download kvasir-dataset-v2.zip from {HOME} and unpack it in the data root"


def index(root: Path, params: NoParams) -> Index:
    """The images of the eight class folders, found at `root` or one of the usual places below it.

    Raises DataNotFound if a class folder is missing or has no image.
    """
    home = _find(root)
    by_class = {name: native_images(home / name, ".jpg") for name in CLASSES}
    if empty := [name for name, (images, _) in by_class.items() if not images]:
        packed = still_packed([home, *(home / name for name in empty)])
        raise DataNotFound(
            f"{home}: no images (*.jpg) in {', '.join(empty)}; the copy is not whole: {packed}{FETCH}"
        )
    samples = tuple(
        Sample(id=f"{name}/{path.stem}", label=name, path=path)
        for name, (images, _) in by_class.items()
        for path in images
    )
    version, expected = _version(Counter(s.label for s in samples))
    extra = [path.relative_to(home).as_posix() for _, others in by_class.values() for path in others]
    folders = [home / name for name in CLASSES]
    return Index(
        classes=CLASSES,
        samples=samples,
        version=version,
        expected=expected,
        notes=tuple(_notes(home, extra)),
        passed_over=passed_over(folders, (s.path for s in samples if s.path)),
    )


def _find(root: Path) -> Path:
    folders = (
        "kvasir-dataset-v2",
        "kvasir/kvasir-dataset-v2",
        "kvasir",
        "kvasir-dataset",
        "kvasir/kvasir-dataset",
    )
    return find_home(
        f"kvasir: no folder with {', '.join(CLASSES)}",
        [root, *(root / folder for folder in folders)],
        lambda place: all((place / name).is_dir() for name in CLASSES),
        ("*kvasir*.zip",),
        FETCH,
    )


def _version(counts: Counter[str]) -> tuple[str, dict[str, int]]:
    """What a copy with these counts is called, and what it should count."""
    for version, images in VERSIONS.items():
        expected = dict.fromkeys(CLASSES, images)
        if counts == expected:
            return f"Kvasir {version}", expected
    listed = ", ".join(f"{images:,} images per class in {version}" for version, images in VERSIONS.items())
    return f"unknown: {counts.total():,} images ({listed})", dict.fromkeys(CLASSES, VERSIONS["v2"])


def _notes(home: Path, extra: list[str]) -> list[str]:
    notes = ["no patient or video is named, so the index has no groups; frames of one video look alike"]
    if extra:
        notes.append(f"images that are not of the download, passed over: {first_few(extra)}")
    for name in unexpected_folders(home, [home / name for name in CLASSES]):
        notes.append(f"folder {name} is not a class of Kvasir and was passed over")
    return notes


REFERENCES = """
@inproceedings{pogorelov2017kvasir,
  author = {Pogorelov, Konstantin and Randel, Kristin Ranheim and Griwodz, Carsten and Eskeland, Sigrun Losada and de Lange, Thomas and Johansen, Dag and Spampinato, Concetto and Dang-Nguyen, Duc-Tien and Lux, Mathias and Schmidt, Peter Thelin and Riegler, Michael and Halvorsen, P{\\aa}l},
  title = {{KVASIR}: A Multi-Class Image Dataset for Computer Aided Gastrointestinal Disease Detection},
  booktitle = {Proceedings of the 8th ACM on Multimedia Systems Conference},
  pages = {164--169},
  year = {2017},
  doi = {10.1145/3083187.3083212}
}
"""  # noqa: E501

DATASET = Dataset(
    name="kvasir",
    about="Gastrointestinal endoscopy: landmarks, findings and polyp removal, 8 classes of 1,000 images",
    caution="no patient or video is named: only near-duplicate clusters keep frames of one video together",
    index=index,
    expected=dict.fromkeys(CLASSES, VERSIONS["v2"]),
    home=HOME,
    fetch=FETCH,
    # Nobody publishes a checksum; the size is what the server said in 2023.
    archives=lambda params: (
        Archive(
            name="kvasir-dataset-v2.zip",
            urls=(
                "https://datasets.simula.no/downloads/kvasir/kvasir-dataset-v2.zip",
                "https://datasets.simula.no/kvasir/data/kvasir-dataset-v2.zip",
            ),
            size=2_489_312_085,
        ),
    ),
    citation=(
        "Pogorelov K, Randel KR, Griwodz C et al. KVASIR: A Multi-Class Image Dataset for Computer Aided "
        "Gastrointestinal Disease Detection. MMSys 2017, 164-169. doi:10.1145/3083187.3083212"
    ),
    bibtex=REFERENCES,
    # Use is permitted, and nothing is said of passing images on.
    licence="free for research and education; the authors ask for citation",
)
