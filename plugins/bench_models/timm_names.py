"""The names of timm's networks, read from its source: for completion, which cannot wait for torch.

Importing timm takes seconds. Its sources register an architecture by a decorated function, and list the tags
of its weights as keys of a dictionary:

    default_cfgs = generate_default_cfgs({'resnet18.a1_in1k': _cfg(...), 'resnet18.tv_in1k': _cfg(...)})

    @register_model
    def resnet18(pretrained: bool = False, **kwargs) -> ResNet:

Tags of keys that are computed (the quickgelu variants of CLIP) are not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")  # architecture, or architecture.tag


REGISTERED = b"\n@register_model\ndef "


def complete(prefix: str) -> list[str]:
    """The names that begin with `prefix`, sorted: architectures, or once it has a dot, those with a tag.

    Equal to `timm.list_models()` without a dot, so a few bare encoders are among them, which `find` refuses.
    """
    if re.search(r"[^a-z0-9_.]", prefix):
        return []
    architecture, dot, tag = prefix.partition(".")
    return _tagged(architecture, tag) if dot else _architectures(prefix)


def _architectures(prefix: str) -> list[str]:
    names = (
        function.partition(b"(")[0].decode()
        for source in _sources(REGISTERED + prefix.encode())
        for function in source.split(REGISTERED)[1:]
    )
    return sorted(name for name in names if name.startswith(prefix))


def _tagged(architecture: str, tag: str) -> list[str]:
    # A key on a line of its own: a commented-out one is none.
    pattern = re.compile(
        rf"""^\s*["']({architecture}\.{re.escape(tag)}\w*)\*?["']\s*:""".encode(), re.MULTILINE
    )
    registered = REGISTERED + f"{architecture}(".encode()
    return sorted({name.decode() for source in _sources(registered) for name in pattern.findall(source)})


def _sources(text: bytes) -> Iterator[bytes]:
    """The sources of timm's networks that hold `text`; none where timm is not installed as files."""
    package = find_spec("timm")
    for folder in package.submodule_search_locations or () if package else ():
        for path in sorted((Path(folder) / "models").glob("[!_]*.py")):
            source = path.read_bytes()
            if text in source:
                yield source
