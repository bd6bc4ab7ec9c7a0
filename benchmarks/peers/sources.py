"""Where the scripts of others come from: a file or folder that is named, or a pinned download."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

SCRIPT = "train.py"
TIMEOUT = 30  # seconds that a server may be silent


class Missing(Exception):
    """A peer that is not here; says why, and what to do."""


@dataclass(frozen=True)
class Pinned:
    """Files of one commit.

    Attributes:
        option: the option that names them instead.
        version: of which release or commit they are, for readers.
        address: of the folder they are in.
        files: sha256 by name.
    """

    option: str
    version: str
    address: str
    files: Mapping[str, str]


TIMM = Pinned(
    option="--timm-train FILE",
    version="v1.0.28",
    address=(
        "https://raw.githubusercontent.com/huggingface/pytorch-image-models/"
        "8ef73809f622e0031bd7f4940265734aef8b9978"
    ),
    files={"train.py": "1fb02d26fe16536bc7de2c987980644353117c2b2b8046532261464093cd1ac6"},
)
TORCHVISION = Pinned(
    option="--torchvision-reference FOLDER",
    version="of 5 February 2025",
    address=(
        "https://raw.githubusercontent.com/pytorch/vision/"
        "d4a1e3d66ab710981aa33f3e6e6003e4b504b56b/references/classification"
    ),
    files={
        "presets.py": "99e2fcea703726c31d3621806b895a56010d1501bc312b56a05401b0cc177a4e",
        "sampler.py": "2f1a5540a2b4c44ae45f1c0cd3a52c101e79d51a5b7b25f37b388f6b8cea4d24",
        "train.py": "50e351e18f825fe8c87ba1cf0182c93b66f7351dab4588d20acdd5962a1076b9",
        "transforms.py": "8827fd2ca0d1222018f4590e0fa51a8c156b27a1703094fa80c74d147a309233",
        "utils.py": "8f891cd8e2b948c484cb45764a4a517bb1b103470f10b7646330824fd8ef279f",
    },
)


def find(pinned: Pinned, given: Path | None, cache: Path) -> tuple[Path, str]:
    """The script train.py, and which version it is: the one that is `given` or lies in the folder that is, or
    that of the pinned commit, from `cache` or downloaded into it. Raises Missing."""
    if given is None:
        for name, sha in pinned.files.items():
            _fetch(f"{pinned.address}/{name}", cache / name, sha, pinned.option)
        return cache / SCRIPT, pinned.version
    named = {name: given.resolve() / name for name in pinned.files}
    if given.is_file():
        named = {SCRIPT: given.resolve()}
    if absent := [name for name, path in named.items() if not path.is_file()]:
        raise Missing(f"{', '.join(absent)} missing in the folder that {pinned.option} names")
    same = all(digest(path) == pinned.files[name] for name, path in named.items())
    return named[SCRIPT], pinned.version if same else "of another version than the pinned one"


def need(package: str) -> None:
    """Raises Missing if a package is not installed."""
    if find_spec(package) is None:
        raise Missing(f"{package} is not installed; pip install 'medbench[peers]'")


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _fetch(url: str, target: Path, sha: str, option: str) -> None:
    if target.is_file() and digest(target) == sha:
        return
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            content: bytes = response.read()
    except OSError as error:
        raise Missing(f"{url} cannot be read ({error}); name it by {option}") from None
    if hashlib.sha256(content).hexdigest() != sha:
        raise Missing(f"{url} is not the file whose sha256 is {sha}; name one by {option}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
