"""What was learnt of timm's networks, kept in files.

Importing timm takes four seconds; making a plan needs it for a few facts alone, and they are the same until
other versions are installed. So the process that plans, starts others and makes tables loads neither.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache, wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote


def remembered(learn: Callable[..., Any]) -> Callable[..., Any]:
    """`learn`, a function of names and numbers that gives a JSON value, without asking it twice.

    Its answers are files in the platform's folder for a user's caches, which may be deleted. Where none can
    be read or written there, `learn` is asked.
    """

    @cache
    @wraps(learn)
    def known(*arguments: str | int) -> Any:
        file = _folder() / f"{learn.__name__} {quote(' '.join(map(str, arguments)), safe=' ')}.json"
        with suppress(OSError, ValueError):
            return json.loads(file.read_text(encoding="utf-8"))
        learnt = learn(*arguments)
        with suppress(OSError):
            _write(file, json.dumps(learnt))
        return learnt

    return known


@cache
def _folder() -> Path:
    """Of the versions that are installed: another one may answer otherwise."""
    from platformdirs import user_cache_path

    versions = (f"{name}-{version(name)}" for name in ("medbench", "timm", "torch"))
    return user_cache_path("bench") / "networks" / "_".join(versions)


def _write(file: Path, text: str) -> None:
    """Whole or not at all, whoever else writes it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{os.getpid()}.{file.name}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)
