"""A kept model in the format of another program, compared with the original before it is there.

An export takes what the network takes: normalised pixels, float32 (B, 3, S, S), any B. It gives logits. How
to get from an image to that is in the file's metadata (`facts`).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bench.errors import BenchError, ConfigError, StoreError, describe
from bench.files import cannot_write, sync_directory, temporary_beside
from bench.kept import hub, onnx_file, torch_file
from bench.kept.load import Network

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

TOLERANCE = 1e-4  # largest difference of a probability; float32 in another order differs by about 1e-6


class Write(Protocol):
    """Writes a network, and texts about it, to a path. It may raise whatever its libraries raise."""

    def __call__(self, network: Network, path: Path, about: Mapping[str, str], card: str) -> None: ...


class Run(Protocol):
    """Logits (N, K) of normalised images (N, 3, S, S), by what was written to a path."""

    def __call__(self, path: Path, images: torch.Tensor) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Form:
    """A format.

    Attributes:
        name: what --to calls it.
        suffix: of its file; "" for a folder.
        write: see `Write`.
        run: see `Run`.
    """

    name: str
    suffix: str
    write: Write
    run: Run


FORMS: Mapping[str, Form] = {
    form.name: form
    for form in (
        Form("onnx", ".onnx", onnx_file.write, onnx_file.run),
        Form("pt2", ".pt2", torch_file.write, torch_file.run),
        Form("hub", "", hub.write, hub.run),
    )
}


class Exported(NamedTuple):
    """How an export compares with the original.

    Attributes:
        path: where it is.
        bytes: its size.
        difference: the largest of a probability.
        images: how many were compared.
    """

    path: Path
    bytes: int
    difference: float
    images: int


def export(network: Network, form: Form, path: Path, images: torch.Tensor, card: str) -> Exported:
    """Write a network to `path` as `form`, if what is written gives the network's probabilities for `images`,
    uint8 (N, 3, S, S), to within TOLERANCE; else nothing is left.

    Raises ConfigError for a network that the format has no way to write, and where an extra is missing;
    StoreError for one that differs, and where the disk refuses.
    """
    import torch

    network.net.to(memory_format=torch.contiguous_format)
    normalised = network.context.normalize(images)
    temporary = temporary_beside(path)
    temporary = temporary.with_name(temporary.name + form.suffix)  # a host's name may have dots
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        _write(network, form, temporary, card)
        difference = _difference(network, form, temporary, normalised)
        if not difference <= TOLERANCE:
            raise StoreError(
                f"{network.kept.label} as {form.name} differs from the original by {difference:.2g} in "
                f"a probability of {len(images)} images, and {TOLERANCE:g} is allowed; nothing was written; "
                "try another format"
            )
        size = _synced(temporary)
        temporary.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        _remove(temporary)
    return Exported(path, size, difference, len(images))


def facts(network: Network) -> dict[str, str]:
    """What who uses an export must know, as texts."""
    from bench import __version__

    kept, size = network.kept, network.context.size
    return {
        "made_by": f"bench {__version__}",
        "unit": f"{kept.dataset}/{kept.label}",
        "key": kept.key,
        "model": kept.model.name,
        "strategy": kept.strategy.name,
        "classes": json.dumps(kept.classes, ensure_ascii=False),
        "input": f"images: float32 (batch, 3, {size}, {size}), red, green and blue, normalised",
        "preprocessing": (
            f"short side resized to {size} pixels (bilinear, antialiased, 8 bits), centre of {size} by "
            f"{size} cut, values scaled to 0..1, mean subtracted, divided by std; grey images as three equal "
            "channels"
        ),
        "mean": json.dumps(network.context.normalization.mean),
        "std": json.dumps(network.context.normalization.std),
        "bits": f"16-bit grey files: 0 is black, {2**kept.bits - 1} white",
        "output": "logits: float32 (batch, classes); softmax gives probabilities",
        "predictions_sha256": kept.result,
        "use": "research only; not a medical device",
    }


def _write(network: Network, form: Form, path: Path, card: str) -> None:
    try:
        with warnings.catch_warnings(action="ignore"):  # of how exporters do it
            form.write(network, path, facts(network), card)
    except (BenchError, OSError):
        raise
    except Exception as error:  # exporters raise nearly anything for an operator that they do not know
        raise _no_way(network, form, "exported", error) from error


def _run(network: Network, form: Form, path: Path, images: torch.Tensor) -> NDArray[np.float32]:
    try:
        with warnings.catch_warnings(action="ignore"):
            return form.run(path, images)
    except (BenchError, OSError):
        raise
    except Exception as error:  # what was written may hold an operator that cannot be computed here
        raise _no_way(network, form, "run", error) from error


def _no_way(network: Network, form: Form, what: str, error: Exception) -> ConfigError:
    others = " or ".join(name for name in FORMS if name != form.name)
    return ConfigError(
        f"{network.kept.model.name} cannot be {what} as {form.name} ({describe(error)[:300]}); "
        f"try --to {others}"
    )


def _difference(network: Network, form: Form, path: Path, images: torch.Tensor) -> float:
    """The largest difference of a probability: of the first image alone, then of all others at once."""
    import torch

    largest = 0.0
    for part in (images[:1], images[1:]):
        if not len(part):
            continue
        with torch.inference_mode():
            ours = network.net(part).double().softmax(1)
        theirs = torch.from_numpy(_run(network, form, path, part)).double().softmax(1)
        largest = max(largest, float((ours - theirs).abs().max()))
    return largest


def _synced(path: Path) -> int:
    """Sync a file, or the files of a folder; returns their size."""
    import os

    size = 0
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
            size += file.stat().st_size
    return size


def _remove(path: Path) -> None:
    import shutil

    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
