"""What a unit works with: images, split, network, and the training of each stage, all laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import plugins, store
from bench.errors import ConfigError, StoreError
from bench.spec import PretrainSpec, Ref, RunSpec, derive_seed, key
from bench.types import Context, Encoder, Model, Report, Strategy, Workplace

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import nn

    from bench.data.audit import Audit
    from bench.data.images import Images
    from bench.data.splits import Split
    from bench.engine.feeds import Feed
    from bench.engine.loop import Budget
    from bench.spec import AuditSettings
    from bench.study import Study

ENCODER = "encoder.safetensors"


@dataclass(frozen=True)
class Workbench:
    """Everything laid out for one unit."""

    images: Images
    split: Split
    model: Model
    strategy: Strategy
    context: Context
    net: nn.Module
    device: torch.device


@dataclass(frozen=True)
class Training:
    """What the loop needs for one stage."""

    module: nn.Module
    feed: Feed
    budget: Budget
    stage: str


def set_up(spec: PretrainSpec | RunSpec, workplace: Workplace) -> Workbench:
    """Open the images and the split, and build the network on its device, randomly initialised.

    Raises BenchError where the data, the split or the network cannot be had.
    """
    import torch

    from bench.data import splits
    from bench.engine.device import configure

    catalog = plugins.catalog()
    device = configure(workplace.device, workplace.threads)
    images = open_images(spec.dataset, workplace.data, workplace.results, shorts(spec))
    split = splits.load(workplace.results, images, spec.split)
    model: Model = catalog.get("models", spec.model.name)
    params = catalog.params("models", spec.model)
    context = Context(images.classes, spec.size, model.normalization(params))
    # The same initial weights for every strategy of a round: only what the strategy does sets rows apart.
    torch.manual_seed(derive_seed(spec.seed, spec.dataset.name, spec.round, "weights"))
    net = model.build(params, context)
    torch.manual_seed(derive_seed(spec.seed, spec.dataset.name, spec.round, "classifier"))
    fresh_classifier(net, model.classifier(net))
    net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    strategy: Strategy = catalog.get("strategies", spec.strategy.name)
    return Workbench(images, split, model, strategy, context, net, device)


@lru_cache(maxsize=4)
def open_images(dataset: Ref, data: Path, results: Path, shorts: tuple[int, ...]) -> Images:
    """The image store of a data set, opened once a process. Decodes, silently, what is not there yet."""
    from bench.data.images import prepare

    catalog = plugins.catalog()
    offer = catalog.get("datasets", dataset.name)
    place = Workplace(data, results)
    return prepare(offer, catalog.params("datasets", dataset), place, shorts, lambda progress: None)


def fresh_classifier(net: nn.Module, prefixes: tuple[str, ...]) -> None:
    """Start the classifier at weights N(0, 0.01^2) cut at two deviations, and zero bias.

    Part of the common protocol, because networks differ in this and small sets feel it: timm's EfficientNets
    draw a 3-class classifier so large that fine-tuning begins at a loss of 6 instead of ln 3.
    """
    from torch import nn

    for name, module in net.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and within(f"{name}.", prefixes):
            nn.init.trunc_normal_(module.weight, std=0.01, a=-0.02, b=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def prepare_data(
    study: Study, workplace: Workplace, report: Report, *, given: Sequence[Path] = (), strict: bool = False
) -> dict[tuple[Ref, int], Split]:
    """Decode and audit every data set of a study, once, and freeze the split of each round.

    `given` are manifests made elsewhere: where there are any for a data set, they are its splits. With
    `strict`, a split that leaks is refused.
    """
    from bench.data import splits

    protocol = study.protocol
    manifests = _by_dataset(given, study)
    found = {}
    for ref in study.datasets:
        images, audit = audited(ref, protocol.audit, workplace, report, study.shorts)
        theirs = manifests.get(ref.name, {})
        for round_ in range(protocol.rounds):
            if theirs:
                split = splits.adopt(workplace.results, theirs[round_], images, audit)
            else:
                split = splits.frozen(workplace.results, images, protocol.split, round_, protocol.seed, audit)
            if strict:
                splits.require_sound(split)
            found[ref, round_] = split
    return found


def audited(
    ref: Ref, settings: AuditSettings, workplace: Workplace, report: Report, shorts: Sequence[int] = ()
) -> tuple[Images, Audit]:
    """The images of a data set and their audit, made now unless it is stored."""
    from bench.data.audit import audit
    from bench.data.duplicates import SIDE
    from bench.data.images import prepare

    catalog = plugins.catalog()
    offer, params = catalog.get("datasets", ref.name), catalog.params("datasets", ref)
    images = prepare(offer, params, workplace, (*shorts, SIDE), report)
    propose = partial(_embedded_neighbours, images, settings, workplace) if settings.embed else None
    return images, audit(workplace.results, images, settings, workplace.threads, propose, report)


def _embedded_neighbours(images: Images, settings: AuditSettings, workplace: Workplace) -> NDArray[np.int64]:
    """Pairs that the model `settings.embed`, with its own ImageNet weights, finds alike."""
    from bench.data.duplicates import SIDE
    from bench.engine.device import configure
    from bench.engine.embedding import INPUT, nearest

    model: Model = plugins.catalog().get("models", settings.embed)
    params = model.params()
    source = model.pretrained_source(params)
    if model.features is None or model.pretrained is None or not source:
        raise ConfigError(
            f"audit.embed {settings.embed}: this model has no dense features or no ImageNet weights on this "
            "machine; name another one"
        )
    context = Context(images.classes, INPUT, model.normalization(params))
    net = model.build(params, context)
    fresh = model.classifier(net)
    state = model.translate(net, model.pretrained(net, params, source).state)
    net.load_state_dict({name: v for name, v in state.items() if not within(name, fresh)}, strict=False)
    device = configure(workplace.device, workplace.threads)
    net.to(device).eval()
    return nearest(images.view(SIDE), partial(model.features, net), context, device)


def _by_dataset(given: Sequence[Path], study: Study) -> dict[str, dict[int, Path]]:
    """Manifests by data set and round. Raises ConfigError where a round has none or two, or where one is
    for a data set that the study does not name."""
    from bench.data.splits import read

    found: dict[str, dict[int, Path]] = {}
    for path in given:
        split = read(path)
        if split.dataset not in [ref.name for ref in study.datasets]:
            raise ConfigError(f"--split {path}: is for {split.dataset}, which this study does not name")
        other = found.setdefault(split.dataset, {}).setdefault(split.round, path)
        if other != path:
            raise ConfigError(f"--split {path}: {other} is for round {split.round} too; give one a round")
    for name, by_round in found.items():
        if lacking := sorted(set(range(study.protocol.rounds)) - set(by_round)):
            raise ConfigError(
                f"--split: no manifest of {name} for round {', '.join(map(str, lacking))}; "
                f"give one for each round, or lower --rounds (now {study.protocol.rounds})"
            )
    return found


def shorts(spec: PretrainSpec | RunSpec) -> tuple[int, ...]:
    """Short sides at which a unit needs the images."""
    if isinstance(spec, PretrainSpec):
        return (spec.pretrain.resize,)
    return (spec.finetune.resize, spec.size)


def pretraining(spec: PretrainSpec, desk: Workbench) -> Training:
    """The objective, the batches and the budget of a pretraining. Also used to probe its speed."""
    from bench.engine import feeds
    from bench.engine.batches import steps_per_epoch
    from bench.engine.loop import Budget

    assert desk.strategy.objective
    settings = spec.pretrain
    encoder = as_encoder(desk)
    params = plugins.catalog().params("strategies", spec.strategy)
    module = desk.strategy.objective(encoder, params, desk.context).to(desk.device)
    indices = pretraining_images(desk.split, settings.data)
    view = desk.images.view(settings.resize)
    budget = Budget(
        settings.epochs,
        steps_per_epoch(len(indices), settings.batch),
        settings.learning_rate * settings.batch / 256,
        settings.betas,
        settings.weight_decay,
        settings.warmup,
    )

    feed = feeds.pretraining(
        view,
        indices,
        desk.device,
        batch=settings.batch,
        size=spec.size,
        scale=settings.scale,
        flip=settings.flip,
    )
    return Training(module, feed, budget, "pretrain")


def finetuning(spec: RunSpec, desk: Workbench) -> Training:
    """The classifier, the batches and the budget of a fine-tuning. Also used to probe its speed."""
    from bench.engine import feeds
    from bench.engine.batches import steps_per_epoch
    from bench.engine.loop import Budget, Classifier

    settings = spec.finetune
    indices = desk.split.indices("train")
    view = desk.images.view(settings.resize)
    budget = Budget(
        settings.epochs,
        steps_per_epoch(len(indices), settings.batch),
        settings.learning_rate,
        settings.betas,
        settings.weight_decay,
        settings.warmup,
    )

    feed = feeds.finetuning(
        view,
        desk.images.labels,
        indices,
        desk.device,
        batch=settings.batch,
        size=spec.size,
        flip=settings.flip,
    )
    module = Classifier(desk.net, desk.context.normalize)
    return Training(module, feed, budget, "fine-tune")


def as_encoder(desk: Workbench) -> Encoder:
    """The network as strategies see it; its stride and width are found by trying. Raises ConfigError."""
    import torch

    features, size = desk.model.features, desk.context.size
    assert features, "a strategy that pretrains needs the trait 'dense', which promises features"
    desk.net.eval()
    with torch.no_grad():
        found = features(desk.net, torch.zeros(1, 3, size, size, device=desk.device))
    _, width, height, across = found.shape
    if height != across or size % height:
        raise ConfigError(
            f"{desk.model.name} gives {height}x{across} features for protocol.size {size}, which do not "
            f"divide it; choose a multiple of the network's stride"
        )
    return Encoder(desk.net, features, size // height, width)


def pretraining_images(split: Split, data: str) -> NDArray[np.int64]:
    import numpy as np

    parts = {"train": ["train"], "train+val": ["train", "val"], "all": ["train", "val", "test"]}[data]
    return np.sort(np.concatenate([split.indices(part) for part in parts]))


def initial_weights(spec: RunSpec, desk: Workbench, workplace: Workplace) -> str:
    """Give the network the weights its strategy names; returns where they came from."""
    from safetensors.torch import load_file

    catalog = plugins.catalog()
    if spec.start is None:
        assert desk.strategy.initialize
        params = catalog.params("strategies", spec.strategy)
        model_params = catalog.params("models", spec.model)
        return desk.strategy.initialize(desk.net, desk.model, model_params, params)
    folder = store.path_of(workplace.results, spec.start)
    encoder = load_file(str(folder / ENCODER), device=str(desk.device))
    outcome = desk.net.load_state_dict(encoder, strict=False)
    fresh = desk.model.classifier(desk.net)
    lost = [n for n in outcome.missing_keys if not within(n, fresh)] + outcome.unexpected_keys
    if lost:
        raise StoreError(
            f"{folder / ENCODER} does not fit {spec.model.name}: {', '.join(lost[:3])}; delete {folder}"
        )
    return f"pretraining {key(spec.start)}"


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a state-dict name belongs to one of the modules called `prefixes`."""
    return any(name.startswith(prefix.removesuffix(".") + ".") for prefix in prefixes)
