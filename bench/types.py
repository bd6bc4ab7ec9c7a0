"""What plugins offer, and what flows between the parts of the core.

An offer is a value that holds functions: cheap to make, so that a plugin's top module imports nothing
heavy. Whatever needs torch is imported inside the function that needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from bench.spec import UnitSpec

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class NoParams:
    """The parameters of an offer that has none."""


@dataclass(frozen=True, kw_only=True)
class LocalWeights:
    """To be inherited by the parameters of a model whose ImageNet weights may come from a local file.

    `weights` is that file, for strategies that start from ImageNet weights: `--set model.NAME.weights=FILE`.
    Such a strategy puts the file's checksum into its own parameters (`Strategy.freeze`): the path is in no
    key, and runs of strategies that do not load the file are the same with and without it.
    """

    weights: str = field(default="", metadata={"identity": False})


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What every offer has.

    `params` is a frozen dataclass whose fields all have defaults; its annotations (with `annotated_types`
    bounds) validate what a user sets. A field with `metadata={"identity": False}` cannot alter predictions
    (a path, say) and stays out of the key. `revision` is raised when the same inputs would now give
    something else, so that old results are not taken for new ones. A `stand_in` is meant to be replaced (a
    reconstruction, until the authors publish): it gives way to an offer of the same name from elsewhere.
    """

    name: str
    about: str
    caution: str = ""  # what a table must say wherever this offer was used
    revision: int = 1
    params: type[Any] = NoParams
    citation: str = ""
    licence: str = ""
    stand_in: bool = False


# --- data sets ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """One labelled image: a file to decode, or an array already in memory.

    `group` names what must stay on one side of a split (patient, lesion, near-duplicate cluster); empty
    means the image stands alone. `part` is "train", "val" or "test" where the data set fixes its split.
    """

    id: str
    label: str
    group: str = ""
    path: Path | None = None
    array: NDArray[np.uint8] | None = None  # (H, W) or (H, W, 3); may be a row of a memory map
    part: str = ""
    source: str = ""  # what identifies an array without hashing it, say a file's checksum and the row


@dataclass(frozen=True)
class Index:
    """All samples of a data set. If every sample has a part, that is the split; otherwise one is drawn.

    `version` names which published version this copy is, where versions differ, and `expected` counts the
    images a class of that version (empty: the offer's own `expected`). `notes` says what a user should know
    about this copy: files passed over, rows without an image. `bench data verify` shows all three.
    """

    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    version: str = ""
    expected: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Archive:
    """One file of a data set's official download.

    `urls` are tried in order, the official one first. `checksum` is "sha256:HEX" or "md5:HEX" of the file
    where somebody states it; where nobody does it is recorded at the first download and compared later.
    `rebuilt` says that the server builds the file anew for every download, so that only the checksum of
    its contents can be compared. `unpack` is the folder, below the data set's own, where its members go
    ("" for that folder itself); None leaves the file packed, under its name.
    """

    name: str
    urls: tuple[str, ...]
    checksum: str = ""
    size: int = 0  # bytes; 0 if not known
    rebuilt: bool = False
    unpack: str | None = ""


@dataclass(frozen=True, kw_only=True)
class Dataset(Offer):
    """Labelled images in the layout of their official download.

    `index(root, params)` lists them without opening any; it raises `DataNotFound` saying what was looked
    for, where, and how to get it. The core decodes the pixels, once. `expected` counts images a class.

    `bench data fetch` shows licence and citation, asks for consent, and brings what `archives(params)`
    lists into `root/<name>/`, where `index` must find it. `download(folder, params)` does so for what no
    plain address has (a client with an account); it raises DataNotFound with the steps by hand.
    """

    index: Callable[[Path, Any], Index]
    expected: Mapping[str, int] = field(default_factory=dict)
    home: str = ""
    fetch: str = ""  # how to get it by hand, in words a user can follow
    archives: Callable[[Any], Sequence[Archive]] = lambda params: ()
    download: Callable[[Path, Any], None] | None = None


# --- models and strategies ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Normalization:
    """Per-channel mean and standard deviation of pixels scaled to 0..1."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True)
class Context:
    """What a network or a pretraining objective is built for."""

    classes: tuple[str, ...]
    size: int  # side of the square input, pixels
    normalization: Normalization = Normalization()

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 images (B, 3, H, W) to float32 with this context's mean and std."""
        import torch

        mean, std = _moments(self.normalization, images.device)
        return images.to(torch.float32).sub(mean).div(std)


@lru_cache(maxsize=16)
def _moments(normalization: Normalization, device: Any) -> tuple[Tensor, Tensor]:
    """Mean and std of 8-bit levels, (1, 3, 1, 1), on `device` once: a copy a batch would stall a GPU."""
    import torch

    with torch.inference_mode(False):  # the first to ask may be an evaluation, the next a training
        mean = torch.tensor(normalization.mean, dtype=torch.float32, device=device)
        std = torch.tensor(normalization.std, dtype=torch.float32, device=device)
        return mean.mul(255).view(1, 3, 1, 1), std.mul(255).view(1, 3, 1, 1)


@dataclass(frozen=True)
class Weights:
    """Pretrained weights and where they came from; `source` identifies them and enters the record."""

    state: Mapping[str, Tensor]
    source: str


@dataclass(frozen=True, kw_only=True)
class Model(Offer):
    """A network with a classifier head and dense features.

    - `build(params, context)`: a randomly initialised network; forward maps normalised images
      (B, 3, S, S) to logits (B, classes).
    - `check_size(params, size)`: raises SizeError for a size that `build` would refuse, without building, so
      that a plan can show the cell as n/a.
    - `features(net, images)`: dense features (B, C, h, w), differentiable; needed if "dense" is a trait.
    - `classifier(net)`: names of the modules of the final classifier, which pretraining never sets.
    - `normalization(params)`: what the network's pretrained configuration names.
    - `pretrained_source(params)`: identity of the ImageNet weights that `pretrained` would give on this
      machine ("" if it has none); enters the key, so the same study does not silently mix two files.
    - `pretrained(net, params, source)`: the ImageNet weights called `source`, in `net`'s names. Raises
      `WeightsError`.
    - `translate(net, state)`: a checkpoint in its authors' names, or for another image size, in `net`'s
      names and shapes; what it does not know stays as it is. Raises `WeightsError`.
    - `traits`: what strategies can rely on, e.g. "dense"; "baseline" makes it a row of `--baselines all`.
    - `published_as`: what published tables (`results/reported`) call it, if they have it.
    """

    build: Callable[[Any, Context], nn.Module]
    check_size: Callable[[Any, int], None] = lambda params, size: None
    features: Callable[[nn.Module, Tensor], Tensor] | None = None
    classifier: Callable[[nn.Module], tuple[str, ...]]
    normalization: Callable[[Any], Normalization] = lambda params: Normalization()
    pretrained_source: Callable[[Any], str] = lambda params: ""
    pretrained: Callable[[nn.Module, Any, str], Weights] | None = None
    translate: Callable[[nn.Module, Mapping[str, Tensor]], Mapping[str, Tensor]] = lambda net, state: state
    traits: frozenset[str] = frozenset()
    published_as: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelFamily(Offer):
    """Many models by their own names (all of timm, say), made when one is asked for.

    `find(name)` returns the model, or None if the family has no such name. `names()` lists them for
    suggestions and completion; it may be slow.
    """

    find: Callable[[str], Model | None]
    names: Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Encoder:
    """A network under pretraining, as a strategy sees it."""

    net: nn.Module
    features: Callable[[nn.Module, Tensor], Tensor]
    stride: int  # input pixels per feature cell
    width: int  # feature channels


@dataclass(frozen=True, kw_only=True)
class Strategy(Offer):
    """A way to come by the weights from which fine-tuning starts. Exactly one of two functions is set.

    - `initialize(net, model, model_params, params)`: sets weights in place and returns a line for the
      record that says where they came from.
    - `objective(encoder, params, context)`: a torch module that owns `encoder.net` as a submodule and
      whose `forward(images) -> loss` takes augmented uint8 images (B, 3, S, S). The engine trains it with
      the protocol's budget, the same for all, and keeps the encoder.

    `needs` lists traits the model must have; a cell whose model lacks one is shown as n/a.
    `freeze(params, model, model_params)` fills in, before the key is taken, what identifies outside
    material (the checksum of a weights file).
    """

    needs: frozenset[str] = frozenset()
    initialize: Callable[[nn.Module, Model, Any, Any], str] | None = None
    objective: Callable[[Encoder, Any, Context], nn.Module] | None = None
    freeze: Callable[[Any, Model, Any], Any] = lambda params, model, model_params: params

    def __post_init__(self) -> None:
        if (self.initialize is None) == (self.objective is None):
            raise ValueError(f"strategy {self.name!r} must set exactly one of initialize and objective")


# --- predictions, ensembles, metrics -----------------------------------------------------------------


@dataclass(frozen=True)
class Predictions:
    """What a finished run says about one part of a split. N images, K classes."""

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    labels: NDArray[np.int64]  # (N,) indices into classes
    probabilities: NDArray[np.float64]  # (N, K), rows sum to 1


Combine = Callable[[list["NDArray[np.float64]"]], "NDArray[np.float64]"]


@dataclass(frozen=True, kw_only=True)
class Ensemble(Offer):
    """`fit(val, params)` sees the members' validation predictions, never test labels, and returns a
    function from the members' probabilities [(N, K), ...] to the ensemble's (N, K)."""

    fit: Callable[[list[Predictions], Any], Combine]


@dataclass(frozen=True, kw_only=True)
class Metric(Offer):
    """`score(predictions)` is one number, or nan where the metric is not defined."""

    score: Callable[[Predictions], float]
    title: str  # column heading
    higher_is_better: bool = True
    default: bool = True  # a column of `bench table` unless --metrics names others


# --- running -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workplace:
    """Where units run. Nothing here can alter what they predict beyond rounding."""

    data: Path  # root under which data sets are looked for
    results: Path
    device: str = "cpu"
    threads: int = 1
    asked: Mapping[str, Any] = field(default_factory=dict)  # the command's protocol and rounds, for records
    compile: bool = False  # torch.compile what is trained
    jobs: int = 1  # units at work at once, where the executor can
    shared: bool = False  # other units are at work on this device now

    @property
    def scratch(self) -> Path:
        """Checkpoints and caches; may be deleted at any time."""
        return self.results / ".scratch"


@dataclass(frozen=True)
class Progress:
    """One line of news from a unit at work."""

    unit: str  # label of the unit
    stage: str  # "decode", "audit", "pretrain", "fine-tune", "predict", "download"
    done: int = 0  # steps done in this stage
    total: int = 0  # steps of this stage; 0 if not known
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    images_per_s: float | None = None
    resumed: bool = False
    in_bytes: bool = False  # `done` and `total` count bytes


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Outcome:
    """How a unit ended."""

    spec: UnitSpec
    status: Literal["done", "failed", "blocked"]
    reason: str = ""
    seconds: float = 0.0


Execute = Callable[["UnitSpec", Workplace, Report], Outcome]


@dataclass(frozen=True, kw_only=True)
class Executor(Offer):
    """`map(execute, units, workplace, report)` yields one outcome a unit, in any order that respects each
    unit's `needs`: a unit starts only after all it needs have ended."""

    map: Callable[[Execute, list[Any], Workplace, Report], Iterator[Outcome]]


# --- tables ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """One metric of a table."""

    name: str
    title: str
    higher_is_better: bool


@dataclass(frozen=True)
class Estimate:
    """Mean over rounds and sample standard deviation (None for a single value)."""

    mean: float
    spread: float | None = None


@dataclass(frozen=True)
class Row:
    """One method under one protocol. `kind` "reported" rows are a paper's and carry no spread."""

    kind: Literal["run", "ensemble", "reported"]
    model: str
    method: str
    rounds_done: int = 0
    rounds_asked: int = 0
    gmacs: float | None = None  # fvcore, billions of multiply-adds at the protocol's image size
    mparams: float | None = None  # millions
    values: Mapping[str, Estimate] = field(default_factory=dict)  # by Column.name
    note: str = ""  # why rounds are missing, or what sets this row apart


@dataclass(frozen=True)
class Table:
    """Rows that may be compared: one data set, one protocol, the same splits."""

    title: str
    protocol: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footer: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reporter(Offer):
    """`render(tables)` gives the text that `bench table --format NAME` prints or writes."""

    render: Callable[[list[Table]], str]
