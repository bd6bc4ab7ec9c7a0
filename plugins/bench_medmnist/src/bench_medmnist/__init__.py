"""The 2D data sets of MedMNIST+ for bench.

`bench list` imports this module, so numpy and medmnist are imported inside the functions of `datasets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import Dataset, hookimpl
from bench_medmnist.datasets import DATASETS

if TYPE_CHECKING:
    from bench_medmnist.datasets import Params


@hookimpl
def register_datasets() -> tuple[Dataset[Params], ...]:
    """One data set for each of MedMNIST+."""
    return DATASETS
