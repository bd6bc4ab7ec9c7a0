"""What can be known to fail before any image is opened."""

from __future__ import annotations

from bench.errors import ConfigError, SizeError
from bench.execution.pools import check_pool, pretrains
from bench.execution.session import Session
from bench.interfaces.model import Context
from bench.study.expand import check_cells
from bench.study.study import Study


def check_study(study: Study, session: Session) -> None:
    """Raise ConfigError where a study's values do not go together, whatever its images are."""
    check_cells(study, session.registry)
    if pretrains(study, session):
        check_pool(study.protocol.pretrain)
    if study.protocol.audit.embed:
        session.registry.models.get(study.protocol.audit.embed)
    _check_single_images(study, session)


def _check_single_images(study: Study, session: Session) -> None:
    """Refuse batches of one image for networks with batch norm: the statistics of one image are no estimate
    of those that evaluation uses, and over a map of one pixel PyTorch refuses them."""
    registry, protocol = session.registry, study.protocol
    pretrains = any(registry.strategies.get(ref.name).objective for ref in study.strategies)
    stages = {"finetune": protocol.finetune.batch, "pretrain": protocol.pretrain.batch if pretrains else 0}
    single = [stage for stage, batch in stages.items() if batch == 1]
    if not single:
        return
    from torch.nn.modules.batchnorm import _BatchNorm  # all of its kinds; PyTorch has no public name

    context = Context(classes=("a", "b"), size=protocol.size)
    for ref in study.models:
        model = registry.models.get(ref.name)
        try:
            net = model.build(registry.models.params(ref), context)
        except SizeError:  # shown as n/a
            continue
        if any(isinstance(module, _BatchNorm) for module in net.modules()):
            raise ConfigError(
                f"protocol.{single[0]}.batch = 1: {ref.name} has batch norm, which cannot be trained on "
                "single images; choose 2 or more"
            )
