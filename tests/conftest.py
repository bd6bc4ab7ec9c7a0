"""What many tests share."""

from __future__ import annotations

import warnings

import pytest

# Third-party packages that warn when they are imported, whatever we do.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import fvcore.nn  # noqa: F401


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests run side by side; more threads than cores would only slow them down."""
    import torch

    torch.set_num_threads(1)
