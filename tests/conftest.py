"""What many tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
import warnings

import pytest

# A parent that ignores SIGINT (nohup, a background job of a script) passes that on to what tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Caches of this run of the tests, which its workers share: what earlier code left in the user's own would
# hide what this one does.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="bench-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

# Third-party packages that warn when they are imported, whatever we do.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import fvcore.nn  # noqa: F401


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests run side by side; more threads than cores would only slow them down."""
    import torch

    torch.set_num_threads(1)
