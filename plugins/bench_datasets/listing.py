"""Finding a data set's folder, and the images in a folder, in the order a person would list them."""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from bench import DataNotFound

_PILLOW = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
SUFFIXES = frozenset(_PILLOW | {".dcm", ".dicom", ".nii"})  # and .nii.gz: see `is_image`
HIDDEN = (".", "__MACOSX")  # how names begin that are passed over


def natural(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts "benign (2)" before "benign (10)"; the text itself decides between equals."""
    pieces = re.findall(r"[0-9]+|[^0-9]+", text)
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p.casefold()) for p in pieces], text


def is_image(path: Path) -> bool:
    """Whether it is an image by its suffix, or DICOM without one. Hidden files are not: macOS leaves
    "._x.png" in archives."""
    name = path.name.lower()
    if name.startswith(".") or not path.is_file():
        return False
    return path.suffix.lower() in SUFFIXES or name.endswith(".nii.gz") or _is_bare_dicom(path)


def is_dicom(path: Path) -> bool:
    """Whether a file that `is_image` is DICOM."""
    return path.suffix.lower() in (".dcm", ".dicom") or _is_bare_dicom(path)


def _is_bare_dicom(path: Path) -> bool:
    """Whether it is DICOM as scanners and archives name it: "IM0001", or by a number such as 1.2.840.10008.5.
    A DICOMDIR lists such files and holds no image."""
    if not re.fullmatch(r"(\.[0-9]+)?", path.suffix) or path.name.upper() == "DICOMDIR":
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:  # not ours to read, and not known to be an image
        return False


def folders_in(root: Path) -> list[Path]:
    """The folders directly in `root`, without hidden ones and the remains of macOS archives."""
    return in_order((p for p in root.iterdir() if p.is_dir() and not p.name.startswith(HIDDEN)), root)


def images_below(folder: Path) -> list[Path]:
    """All images in `folder` and its subfolders, without hidden ones."""
    images = (p for p in folder.rglob("*") if is_image(p))
    shown = (p for p in images if not any(n.startswith(HIDDEN) for n in p.relative_to(folder).parts))
    return in_order(shown, folder)


def in_order(paths: Iterable[Path], root: Path) -> list[Path]:
    """The paths, all below `root`, in their natural order."""
    return sorted(paths, key=lambda p: natural(p.relative_to(root).as_posix()))


def native_images(folder: Path, suffix: str) -> tuple[list[Path], list[Path]]:
    """Images directly in `folder` with the suffix of the download, and all others in or below it."""
    images = images_below(folder)
    native = {p for p in images if p.parent == folder and p.suffix.lower() == suffix}
    return [p for p in images if p in native], [p for p in images if p not in native]


def unexpected_folders(home: Path, classes: Iterable[Path]) -> list[str]:
    """Names of folders in `home` that hold images and are not among `classes`."""
    known = set(classes)
    return [f.name for f in folders_in(home) if f not in known and any(is_image(p) for p in f.rglob("*"))]


def first_few(names: Iterable[object], limit: int = 5) -> str:
    """A list for a message, cut short."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:limit]) + (f" and {len(listed) - limit} more" if len(listed) > limit else "")


def still_packed(folders: Iterable[Path], patterns: Sequence[str] = ("*.zip",)) -> str:
    """What to do about archives that lie in `folders`, a clause for a message; "" if there are none."""
    archives = [
        path
        for folder in folders
        if folder.is_dir()
        for path in in_order(folder.iterdir(), folder)
        if path.is_file() and any(fnmatch(path.name.lower(), pattern) for pattern in patterns)
    ]
    return f"{first_few(archives)} is still packed: unpack it where it lies; " if archives else ""


def find_home(
    wanted: str, places: Sequence[Path], fits: Callable[[Path], bool], packed: Sequence[str], fetch: str
) -> Path:
    """The first of `places` that `fits`. Raises DataNotFound, which names archives not yet unpacked."""
    for place in places:
        if place.is_dir() and fits(place):
            return place
    raise DataNotFound(
        f"{wanted} at {' or '.join(map(str, places[:3]))}; {still_packed(places, packed)}{fetch}, "
        "or give the data root with --data"
    )
