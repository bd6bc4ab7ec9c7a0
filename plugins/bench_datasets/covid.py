"""COVID-19 Radiography Database: chest X-rays, in the layouts of its releases on Kaggle.

    COVID-19_Radiography_Dataset/{COVID,Normal,Lung_Opacity,Viral Pneumonia}/{images,masks}/COVID-1.png
    COVID-19_Radiography_Dataset/COVID/COVID-1.png                        without subfolders
    COVID-19 Radiography Database/{COVID,NORMAL,Viral Pneumonia}/...      first update, no Lung_Opacity
    COVID-19 Radiography Database/{COVID-19,NORMAL,Viral Pneumonia}/...   first release

`*.metadata.xlsx` beside the folders names files and sources, neither patients nor labels: it is read for
`bench subgroups --by source` alone. Masks are left out. No split is published. A release is recognised by its
class folders and counts, which are those of its README.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bench import DataError, DataNotFound, Dataset, Index, NoParams, Sample
from bench_datasets.listing import (
    find_home,
    first_few,
    folders_in,
    native_images,
    passed_over,
    still_packed,
    unexpected_folders,
)

RELEASES: Mapping[str, Mapping[str, int]] = {
    "second update": {"COVID": 3616, "Normal": 10192, "Lung_Opacity": 6012, "Viral Pneumonia": 1345},
    "first update": {"COVID": 1200, "Normal": 1341, "Viral Pneumonia": 1345},
    "first release": {"COVID": 219, "Normal": 1341, "Viral Pneumonia": 1345},
}
LATEST = RELEASES["second update"]
FOLDERS = {"covid-19": "COVID"} | {name.lower(): name for name in LATEST}
HANDLE = "tawsifurrahman/covid19-radiography-database"
DOWNLOADED = HANDLE.rpartition("/")[2]  # kagglehub wants a folder of its own
HOME = f"https://www.kaggle.com/datasets/{HANDLE}"
FETCH = f"download it from {HOME} (an account is needed), and unpack it in the folder covid of the data root"


def index(root: Path, params: NoParams) -> Index:
    """The images of the class folders, found at `root` or one of the usual places below it.

    Raises DataNotFound if a class folder other than Lung_Opacity is missing, or one has no image; DataError
    if two folders are of one class.
    """
    home = _find(root)
    classes = _classes(home)
    places = {name: f / "images" if (f / "images").is_dir() else f for name, f in classes.items()}
    by_class = {name: native_images(place, ".png") for name, place in places.items()}
    if empty := [name for name, (images, _) in by_class.items() if not images]:
        packed = still_packed([home, *classes.values(), *(places[name] for name in empty)])
        where = ", ".join(places[name].relative_to(home).as_posix() for name in empty)
        raise DataNotFound(f"{home}: no images (*.png) in {where}; the copy is not whole: {packed}{FETCH}")
    samples = tuple(
        Sample(id=f"{name}/{path.stem}", label=name, path=path)
        for name, (images, _) in by_class.items()
        for path in images
    )
    version, expected = _version(Counter(s.label for s in samples))
    nested = [places[name] != folder for name, folder in classes.items()]
    layout = (
        "subfolders images/" if all(nested) else "some subfolders images/" if any(nested) else "no subfolders"
    )
    extra = [path for _, others in by_class.values() for path in others]
    extra += [p for n, f in classes.items() if places[n] != f for p in native_images(f, ".png")[0]]
    return Index(
        classes=tuple(by_class),
        samples=samples,
        version=f"{version}, {layout}",
        expected=expected,
        notes=tuple(_notes(home, [path.relative_to(home).as_posix() for path in extra])),
        passed_over=passed_over(classes.values(), (s.path for s in samples if s.path)),
    )


def _find(root: Path) -> Path:
    folders = (
        "COVID-19_Radiography_Dataset",
        "COVID-19 Radiography Database",
        "COVID-19-Radiography-Database",
    )
    parents = [root / "covid", root, root / "covid" / DOWNLOADED, root / DOWNLOADED]
    return find_home(
        "covid: no folder with COVID, Normal and Viral Pneumonia",
        [root, *(parent / folder for parent in parents for folder in folders), *parents],
        lambda place: set(RELEASES["first release"]) <= {_class_of(f) for f in folders_in(place)},
        ("*radiography*.zip", "archive.zip"),
        FETCH,
    )


def _classes(home: Path) -> dict[str, Path]:
    """Class folders by class, in the order of the latest release."""
    folders: dict[str, Path] = {}
    for folder in folders_in(home):
        if name := _class_of(folder):
            if name in folders:
                raise DataError(f"covid: {folders[name]} and {folder} are both of class {name}; remove one")
            folders[name] = folder
    return {name: folders[name] for name in LATEST if name in folders}


def _class_of(folder: Path) -> str:
    return FOLDERS.get(folder.name.lower(), "")


def _version(counts: Counter[str]) -> tuple[str, dict[str, int]]:
    """What a copy with these counts is called, and what it should count."""
    for release, expected in RELEASES.items():
        if counts == expected:
            return f"{release} ({counts.total():,} images)", dict(expected)
    listed = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return f"unknown: {listed}", {name: LATEST[name] for name in counts}


def _notes(home: Path, extra: list[str]) -> list[str]:
    notes = ["no patient is named, so the index has no groups"]
    if "Lung_Opacity" not in _classes(home):
        notes.append(
            f"no class Lung_Opacity, of which the second update has {LATEST['Lung_Opacity']:,} images"
        )
    if sheets := sorted(path.name for path in home.glob("*.xlsx") if not path.name.startswith((".", "~"))):
        notes.append(f"spreadsheets, which name sources but neither patients nor labels: {first_few(sheets)}")
    if extra:
        notes.append(f"images that are not of the download, passed over: {first_few(extra)}")
    for name in unexpected_folders(home, _classes(home).values()):
        notes.append(f"folder {name} is not a class of the database and was passed over")
    return notes


def sources(root: Path, params: NoParams) -> dict[str, str]:
    """The address that the spreadsheets give for each image, without scheme and fragment, by id; empty where
    there are no spreadsheets.

    Raises DataNotFound if openpyxl (extra "kaggle") is not installed, DataError for one that cannot be read.
    """
    home = _find(root)
    addresses = {
        name.casefold(): address
        for path in sorted(home.glob("*.metadata.xlsx"))
        if not path.name.startswith((".", "~"))
        for name, address in _addresses(path)
    }
    ids = (sample.id for sample in index(root, params).samples)
    named = ((id_, addresses.get(id_.rpartition("/")[2].casefold(), "")) for id_ in ids)
    return {id_: address for id_, address in named if address}


def _addresses(path: Path) -> list[tuple[str, str]]:
    """(file without suffix, where it is from) of each row of a spreadsheet."""
    import pandas as pd

    try:
        sheet = pd.read_excel(path, dtype=str, usecols=["FILE NAME", "URL"], keep_default_na=False)
    except ImportError:
        raise DataNotFound(
            f"{path}: openpyxl, which reads it, is not installed: pip install 'medbench[kaggle]'"
        ) from None
    except Exception as error:  # what is wrong with a spreadsheet has no common class
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(
            f"{path}: cannot be read ({reason}); it needs the columns FILE NAME and URL: download it again"
        ) from error
    return [(name.strip(), _shown(url.strip())) for name, url in sheet[["FILE NAME", "URL"]].to_numpy()]


def _shown(url: str) -> str:
    return url.partition("#")[0].partition("://")[2] or url


def download(folder: Path, params: NoParams) -> None:
    """Download the latest release into `folder` by kagglehub (extra "kaggle"); raises DataNotFound."""
    try:
        import kagglehub
    except ImportError:
        raise DataNotFound(
            f"covid: kagglehub is not installed: pip install 'medbench[kaggle]', or {FETCH}"
        ) from None
    target = str(folder / DOWNLOADED)
    try:
        try:
            kept = Path(kagglehub.dataset_download(HANDLE, output_dir=target))
        except FileExistsError:  # what an interrupted download left
            kept = Path(kagglehub.dataset_download(HANDLE, output_dir=target, force_download=True))
    except Exception as error:  # the client's errors have no common class; downloading by hand helps with all
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataNotFound(
            f"covid: kagglehub failed ({reason}); if it wants an account, call kagglehub.login() in Python "
            f"first; or {FETCH}"
        ) from error
    if not kept.is_relative_to(folder):  # Colab and Kaggle notebooks keep it elsewhere
        raise DataNotFound(
            f"covid: kagglehub keeps the images at {kept}; give that as the data root with --data"
        )


REFERENCES = """
@article{chowdhury2020covid,
  author = {Chowdhury, M. E. H. and Rahman, T. and Khandakar, A. and Mazhar, R. and Kadir, M. A. and Mahbub, Z. B. and Islam, K. R. and Khan, M. S. and Iqbal, A. and Al Emadi, N. and Reaz, M. B. I. and Islam, M. T.},
  title = {Can {AI} Help in Screening Viral and {COVID-19} Pneumonia?},
  journal = {IEEE Access},
  volume = {8},
  pages = {132665--132676},
  year = {2020},
  doi = {10.1109/ACCESS.2020.3010287}
}

@article{rahman2021enhancement,
  author = {Rahman, T. and Khandakar, A. and Qiblawey, Y. and Tahir, A. and Kiranyaz, S. and Kashem, S. B. A. and Islam, M. T. and Al Maadeed, S. and Zughaier, S. M. and Khan, M. S. and Chowdhury, M. E. H.},
  title = {Exploring the effect of image enhancement techniques on {COVID-19} detection using chest {X-ray} images},
  journal = {Computers in Biology and Medicine},
  volume = {132},
  pages = {104319},
  year = {2021},
  doi = {10.1016/j.compbiomed.2021.104319}
}
"""  # noqa: E501

DATASET = Dataset(
    name="covid",
    about="Chest X-rays: COVID-19, normal, lung opacity and viral pneumonia, 21,165 images",
    caution="classes come from different hospitals, and no patient is named: a network can learn the source",
    index=index,
    expected=LATEST,
    home=HOME,
    fetch=FETCH,
    sources=sources,
    download=download,
    citation=(
        "Chowdhury MEH, Rahman T, Khandakar A et al. Can AI help in screening viral and COVID-19 pneumonia? "
        "IEEE Access 8:132665-132676, 2020. doi:10.1109/ACCESS.2020.3010287; Rahman T, Khandakar A, Qiblawey "
        "Y et al. Exploring the effect of image enhancement techniques on COVID-19 detection using chest "
        "X-ray images. Computers in Biology and Medicine 132:104319, 2021. "
        "doi:10.1016/j.compbiomed.2021.104319"
    ),
    bibtex=REFERENCES,
    # Its sources have licences of their own, some without the right to pass images on.
    licence="no licence is stated by the authors' README, which asks for citation of both papers",
)
