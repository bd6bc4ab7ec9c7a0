"""What several tests of faults share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import install

from benchmarks.attacks import misdeeds


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that PYTHONPATH makes the plugin `misdeeds`."""
    folder = install(tmp_path_factory.mktemp("site"), Path(__file__).with_name("misdeeds.py"))
    shutil.copy(misdeeds.__file__, folder / "attack.py")
    return folder
