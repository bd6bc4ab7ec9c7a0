"""What a unit works with: images, split, network, and the training of each stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import ConfigError, StoreError, checked, describe
from bench.identity import derive_seed
from bench.interfaces.executor import Report, silent
from bench.interfaces.model import Context, Encoder, Model, within
from bench.interfaces.strategy import Strategy
from bench.results import store
from bench.results.kept import ENCODER as ENCODER
from bench.study.spec import PretrainSpec, RunSpec

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import nn

    from bench.data.images.images import Images
    from bench.data.images.view import View
    from bench.data.splits.split import Split
    from bench.engine.input_pipeline import InputPipeline
    from bench.engine.job import Budget
    from bench.execution.session import Session


@dataclass(frozen=True)
class Setup:
    """Everything that one unit works with.

    Attributes:
        images: of the data set, with a view at every short side that the unit needs.
        split: which images are for training, validation and test in this round.
        model: the component that the network is an instance of.
        strategy: where the network's weights come from.
        context: classes, size and normalisation that the network was built for.
        net: the network, randomly initialised, on `device`.
        device: what the unit runs on.
    """

    images: Images
    split: Split
    model: Model
    strategy: Strategy
    context: Context
    net: nn.Module
    device: torch.device


@dataclass(frozen=True)
class Training:
    """What the training loop needs for one stage.

    Attributes:
        module: its forward gives the loss; what it holds is trained.
        inputs: batches of every epoch, for the device.
        budget: epochs, batch size, learning rate and the like.
        stage: "pretrain" or "fine-tune".
    """

    module: nn.Module
    inputs: InputPipeline
    budget: Budget
    stage: str


def prepare(spec: PretrainSpec | RunSpec, session: Session, report: Report = silent) -> Setup:
    """Open the images and the split, and build the network.

    Raises BenchError where the data, the split or the network cannot be had.
    """
    import torch
    from torch import nn

    from bench.data.splits.manifest import load_split

    registry = session.registry
    device = session.configure_device(spec)
    images = session.images(spec.dataset, short_sides(spec), report)
    split = load_split(session.environment.results, images, spec.split)
    model = registry.models.get(spec.model.name)
    params = registry.models.params(spec.model)
    context = Context(classes=images.classes, size=spec.size, normalization=model.normalization(params))
    # The same initial weights for every strategy of a round: only what the strategy does sets rows apart.
    torch.manual_seed(derive_seed(spec.seed, spec.dataset.name, spec.round, "weights"))
    owner = registry.models.entry(spec.model.name).plugin
    net = checked(model.build(params, context), nn.Module, f"model {model.name!r}: build", owner)
    torch.manual_seed(derive_seed(spec.seed, spec.dataset.name, spec.round, "classifier"))
    reset_classifier(net, model.classifier(net))
    net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    strategy = registry.strategies.get(spec.strategy.name)
    return Setup(images, split, model, strategy, context, net, device)


def reset_classifier(net: nn.Module, prefixes: tuple[str, ...]) -> None:
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


def short_sides(spec: PretrainSpec | RunSpec) -> tuple[int, ...]:
    """Short sides at which a unit needs the images, pixels."""
    if isinstance(spec, PretrainSpec):
        return (spec.pretrain.resize,)
    return (spec.finetune.resize, spec.size)


def training_of(spec: PretrainSpec | RunSpec, setup: Setup, session: Session) -> Training:
    """What the loop needs for this unit. Also used to measure its speed."""
    if isinstance(spec, PretrainSpec):
        return pretraining(spec, setup, session)
    return finetuning(spec, setup, session)


def pretraining(spec: PretrainSpec, setup: Setup, session: Session) -> Training:
    """The objective, the batches and the budget of a pretraining."""
    from torch import nn

    from bench.engine import input_pipeline
    from bench.engine.batches import steps_per_epoch
    from bench.engine.job import Budget

    assert setup.strategy.objective
    settings = spec.pretrain
    params = session.registry.strategies.params(spec.strategy)
    owner = session.registry.strategies.entry(spec.strategy.name).plugin
    encoder = as_encoder(setup.model, setup.net, setup.context.size, setup.device)
    objective = setup.strategy.objective(encoder, params, setup.context)
    module = checked(objective, nn.Module, f"strategy {spec.strategy.name!r}: objective", owner).to(
        setup.device
    )
    view, indices = pretraining_inputs(spec, setup.images, setup.split, session)
    budget = Budget(
        epochs=settings.epochs,
        steps=steps_per_epoch(len(indices), settings.batch),
        learning_rate=settings.learning_rate * settings.batch / 256,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        warmup=settings.warmup,
    )
    inputs = input_pipeline.pretraining(
        view,
        indices,
        batch=settings.batch,
        size=spec.size,
        scale=settings.scale,
        flip=settings.flip,
        device_store=session.device_store,
    )
    return Training(module, inputs, budget, "pretrain")


def finetuning(spec: RunSpec, setup: Setup, session: Session) -> Training:
    """The classifier, the batches and the budget of a fine-tuning."""
    from bench.data.splits.labelled import labelled_images
    from bench.engine import input_pipeline
    from bench.engine.batches import steps_per_epoch
    from bench.engine.job import Budget
    from bench.engine.loop import Classifier

    settings = spec.finetune
    indices = labelled_images(setup.split, settings.share, spec.seed)
    budget = Budget(
        epochs=settings.epochs,
        steps=steps_per_epoch(len(indices), settings.batch),
        learning_rate=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        warmup=settings.warmup,
    )
    inputs = input_pipeline.finetuning(
        setup.images.view(settings.resize),
        setup.images.labels,
        indices,
        batch=settings.batch,
        size=spec.size,
        flip=settings.flip,
        device_store=session.device_store,
    )
    return Training(Classifier(setup.net, setup.context.normalize), inputs, budget, "fine-tune")


def as_encoder(model: Model, net: nn.Module, size: int, device: torch.device) -> Encoder:
    """The network as strategies see it; its stride and width are found by trying. Raises ConfigError."""
    import torch

    features = model.features
    assert features, "a strategy that pretrains needs the trait 'dense', which promises features"
    net.eval()
    with torch.no_grad():
        maps = features(net, torch.zeros(1, 3, size, size, device=device))
    _, width, height, across = maps.shape
    if height != across or size % height:
        raise ConfigError(
            f"{model.name} gives {height}x{across} features for protocol.size {size}, which do not "
            f"divide it; choose a multiple of the network's stride"
        )
    return Encoder(net=net, features=features, stride=size // height, width=width)


def pretraining_images(split: Split, data: str) -> NDArray[np.int64]:
    """Positions of the images that pretraining sees, for a value of `protocol.pretrain.data`."""
    import numpy as np

    parts = {"train": ["train"], "train+val": ["train", "val"], "all": ["train", "val", "test"]}[data]
    return np.sort(np.concatenate([split.indices(part) for part in parts]))


def pretraining_inputs(
    spec: PretrainSpec, images: Images, split: Split, session: Session
) -> tuple[View, NDArray[np.int64]]:
    """The images that a pretraining sees, and their positions, those of a pool included."""
    from bench.execution.pools import with_pool

    rows = pretraining_images(split, spec.pretrain.data)
    if spec.pretrain.pool:
        return with_pool(spec, rows, session)
    return images.view(spec.pretrain.resize), rows


def load_initial_weights(spec: RunSpec, setup: Setup, session: Session) -> str:
    """Give the network the weights its strategy names; returns where they came from."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    registry = session.registry
    if spec.start is None:
        assert setup.strategy.initialize
        params = registry.strategies.params(spec.strategy)
        model_params = registry.models.params(spec.model)
        origin = setup.strategy.initialize(setup.net, setup.model, model_params, params)
        owner = registry.strategies.entry(spec.strategy.name).plugin
        return checked(origin, str, f"strategy {spec.strategy.name!r}: initialize", owner)
    folder = store.path_of(session.environment.results, spec.start)
    try:
        encoder = load_file(str(folder / ENCODER), device=str(setup.device))
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"{folder / ENCODER}: cannot be read ({describe(error)}); delete {folder} and repeat the command"
        ) from error
    outcome = setup.net.load_state_dict(encoder, strict=False)
    classifier = setup.model.classifier(setup.net)
    lost = [n for n in outcome.missing_keys if not within(n, classifier)] + outcome.unexpected_keys
    if lost:
        raise StoreError(
            f"{folder / ENCODER} does not fit {spec.model.name}: {', '.join(lost[:3])}; delete {folder}"
        )
    return f"pretraining {spec.start.key}"
