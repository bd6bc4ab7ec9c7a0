"""The image files that a user names: files, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.data.images.image_files import is_image_file, without_masks
from bench.errors import ConfigError
from bench.parsing import PATH_SHOWN, brief


class ImagePaths(NamedTuple):
    """Files to predict, each once, in the order in which they were named.

    Attributes:
        files: their paths, as they were given.
        masks: files in folders that are masks of images beside them, and so are none of `files`.
        others: files in folders that are no images.
    """

    files: list[Path]
    masks: int
    others: int


def image_paths(texts: Iterable[str]) -> ImagePaths:
    """The files that these texts name: a file, all images below a folder, or a pattern such as "scans/*.png"
    that the shell left alone ("**" stands for any folders).

    Raises ConfigError for a text that names nothing, and where there is no image in all.
    """
    found: dict[Path, None] = {}
    masks = others = 0
    texts = list(texts)
    for text in texts:
        for path in _named(text):
            if not path.is_dir():
                found[path] = None
                continue
            files = list(_files_below(path))
            apart = without_masks([file for file in files if is_image_file(file)])
            found.update(dict.fromkeys(apart.images))
            masks += len(apart.masks)
            others += len(files) - len(apart.images) - len(apart.masks)
    if not found:
        places = ", ".join(brief(text, PATH_SHOWN) for text in texts)
        raise ConfigError(f"IMAGES {places}: holds no image; give files, folders or patterns of images")
    return ImagePaths(list(found), masks, others)


def _named(text: str) -> list[Path]:
    """The file or folder of this name, or those that the pattern fits. Raises ConfigError for none."""
    if os.path.exists(text):
        return [Path(text)]
    matches = sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) else []
    if not matches:
        raise ConfigError(f"IMAGES {brief(text, PATH_SHOWN)}: no such file or folder, and no pattern of any")
    return [Path(match) for match in matches]


def _files_below(folder: Path) -> Iterator[Path]:
    """Files in a folder and those below it, by name, without hidden ones."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))
