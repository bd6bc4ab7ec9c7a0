"""The modules of the benchmarks, which are run from the root of the sources and not installed."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest


def module_of(name: str) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent.parent))
        return importlib.import_module(name)
