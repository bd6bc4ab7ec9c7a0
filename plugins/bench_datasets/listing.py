"""Finding a data set's folder, the images in a folder in the order a person would list them, and counting by
kind the files that are passed over."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from bench import DataError, DataNotFound, is_dicom_file, is_image_file, names_mask

HIDDEN = (".", "__MACOSX")  # how names begin that are passed over
SYSTEM = frozenset({"thumbs.db", "desktop.ini"})  # hidden by Windows
MASK_FOLDERS = ("mask", "masks")
NIFTI = (".nii", ".nii.gz")


def natural(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts "benign (2)" before "benign (10)"; the text itself decides between equals."""
    pieces = re.findall(r"[0-9]+|[^0-9]+", text)
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p.casefold()) for p in pieces], text


def folders_in(root: Path) -> list[Path]:
    """The folders directly in `root`, without hidden ones and the remains of macOS archives."""
    return in_order((p for p in root.iterdir() if p.is_dir() and not p.name.startswith(HIDDEN)), root)


def files_below(folder: Path) -> Iterator[Path]:
    """All files in `folder` and its subfolders, in no order, without hidden ones. A link to a folder is given
    as it is, not what lies in it: it may lead back. Raises DataError for a folder that cannot be read."""
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(HIDDEN)]
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        yield from (Path(place, name) for name in (*filter(_is_shown, names), *links))


def files_in(folder: Path) -> Iterator[Path]:
    """As `files_below`, without those of subfolders."""
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders.clear()
        yield from (Path(place, name) for name in filter(_is_shown, names))


def _is_shown(name: str) -> bool:
    return not name.startswith(HIDDEN) and name.lower() not in SYSTEM


def _refuse(error: OSError) -> None:
    raise DataError(
        f"{error.filename}: this folder cannot be read ({error.strerror}); change its mode, or move it away"
    ) from None


def images_below(folder: Path) -> list[Path]:
    """All images in `folder` and its subfolders, without hidden ones. Raises as `files_below` does."""
    return in_order((p for p in files_below(folder) if is_image_file(p)), folder)


def passed_over(folders: Iterable[Path], taken: Iterable[Path]) -> dict[str, int]:
    """How many files in and below `folders`, of which none lies in another (but by a link among `taken`), are
    not among `taken`: kind (see `kind_of`) -> number. Hidden ones are not counted. Raises as `files_below`
    does."""
    known = set(taken)
    return counted(path for folder in folders for path in files_below(folder) if path not in known)


def counted(paths: Iterable[Path]) -> dict[str, int]:
    """Kind -> number of files, for `Index.passed_over`."""
    return dict(sorted(Counter(map(kind_of, paths)).items()))


def kind_of(path: Path) -> str:
    """What a file that is passed over is counted as: a plural, say "masks"."""
    name, suffix = path.name.lower(), path.suffix.lower()
    if not path.exists():
        return "dangling links"
    if path.is_dir():
        return "links to folders"
    if is_image_file(path):
        if names_mask(path) or path.parent.name.lower() in MASK_FOLDERS:
            return "masks"
        if is_dicom_file(path):
            return "DICOM files"
        return "NIfTI files" if name.endswith(NIFTI) else "other images"
    if name == "dicomdir":
        return "DICOMDIR files"
    if path.is_file() and not path.stat().st_size:
        return "empty files"
    if not suffix:
        return "files without suffix"
    return f"{suffix} files" if re.fullmatch(r"\.(?=.*[a-z])[a-z0-9]{1,8}", suffix) else "other files"


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
    return [
        f.name for f in folders_in(home) if f not in known and any(is_image_file(p) for p in f.rglob("*"))
    ]


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
