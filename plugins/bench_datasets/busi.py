"""BUSI: breast ultrasound images, in the layout of their download.

    Dataset_BUSI_with_GT/{benign,malignant,normal}/benign (1).png, benign (1)_mask.png, benign (1)_mask_1.png

Masks are no images: each belongs to the image that it is named after, whose lesion it outlines. Those of
normal images are black. No patient is named, so every image stands alone.
"""

from pathlib import Path

from bench import Archive, DataNotFound, Dataset, Index, NoParams, Sample, masks_of
from bench_datasets.listing import find_home, in_order, passed_over, still_packed

FOLDER = "Dataset_BUSI_with_GT"
CLASSES = ("benign", "malignant", "normal")
HOME = "https://scholar.cu.edu.eg/?q=afahmy/pages/dataset"
FETCH = f"download Dataset_BUSI.zip from {HOME} and unpack it in the data root"


def index(root: Path, params: NoParams) -> Index:
    """The images of the three class folders, found at `root` or one of the usual places below it.

    Raises DataNotFound if a class folder is missing or has no image.
    """
    home = _find(root)
    samples = tuple(sample for name in CLASSES for sample in _samples(home, name))
    if empty := [name for name in CLASSES if not any(s.label == name for s in samples)]:
        packed = still_packed([home, *(home / name for name in empty)])
        raise DataNotFound(
            f"{home}: no images (*.png) in {', '.join(empty)}; the copy is not whole: {packed}{FETCH}"
        )
    folders = [home / name for name in CLASSES]
    return Index(
        classes=CLASSES,
        samples=samples,
        passed_over=passed_over(folders, (s.path for s in samples if s.path)),
    )


def _samples(home: Path, name: str) -> list[Sample]:
    """The images of one class, with their masks."""
    files = in_order((p for p in (home / name).glob("*.png") if not p.name.startswith(".")), home)
    images = [path for path in files if "_mask" not in path.stem]
    masks = masks_of(images, (path for path in files if "_mask" in path.stem))
    return [
        Sample(id=f"{name}/{path.stem}", label=name, path=path, masks=masks.get(path, ())) for path in images
    ]


def _find(root: Path) -> Path:
    named = [root / FOLDER, root / "busi" / FOLDER, root / "BUSI" / FOLDER]
    return find_home(
        f"busi: no folder with {', '.join(CLASSES)}",
        [root, *named, root / "busi", root / "BUSI"],
        lambda place: all((place / name).is_dir() for name in CLASSES),
        ("*busi*.zip",),
        FETCH,
    )


REFERENCES = """
@article{aldhabyani2020busi,
  author = {Al-Dhabyani, Walid and Gomaa, Mohammed and Khaled, Hussien and Fahmy, Aly},
  title = {Dataset of breast ultrasound images},
  journal = {Data in Brief},
  volume = {28},
  pages = {104863},
  year = {2020},
  doi = {10.1016/j.dib.2019.104863}
}
"""

DATASET = Dataset(
    name="busi",
    about="Breast ultrasound: benign and malignant lesions and normal tissue, 780 images",
    index=index,
    expected={"benign": 437, "malignant": 210, "normal": 133},
    home=HOME,
    fetch=FETCH,
    # Nobody publishes a checksum of it; the first download records one.
    archives=lambda params: (
        Archive(name="Dataset_BUSI.zip", urls=("https://scholar.cu.edu.eg/Dataset_BUSI.zip",)),
    ),
    citation=(
        "Al-Dhabyani W, Gomaa M, Khaled H, Fahmy A. Dataset of breast ultrasound images. "
        "Data in Brief 28:104863, 2020. doi:10.1016/j.dib.2019.104863"
    ),
    bibtex=REFERENCES,
    reviewed=Path(__file__).with_name("busi_reviewed.csv"),
    licence="no licence is stated; the authors ask for citation",  # so nothing permits to pass images on
)
