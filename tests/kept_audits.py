"""Audits of the generated data set, made once in a run of the tests: making one takes a process seconds.

Audits are files that name the images and settings they were made for, so one that does not fit is not used.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

KEPT = Path(os.environ["XDG_CACHE_HOME"]) / "audits" / "phantom"  # tests/conftest.py: of this run alone


def with_audits(folder: Path) -> Path:
    """Put the audits that were made so far where `bench` looks for them in `folder`. Gives the folder."""
    if KEPT.is_dir():
        shutil.copytree(KEPT, folder / "results" / "audits" / "phantom", dirs_exist_ok=True)
    return folder


def keep_audits(folder: Path) -> None:
    """Keep the audits that a command has made in `folder` for tests to come."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("results/audits/phantom/*.json"):
        if not (KEPT / path.name).exists():
            copy = KEPT.parent / uuid.uuid4().hex  # whole before another worker sees it
            shutil.copy(path, copy)
            copy.replace(KEPT / path.name)
