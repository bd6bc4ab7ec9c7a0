"""Data sets in their official layouts, any tree or csv of images, and a generated one."""

from bench import Dataset, hookimpl
from bench_datasets import busi, folder, phantom


@hookimpl
def register_datasets() -> list[Dataset]:
    return [busi.DATASET, folder.DATASET, phantom.DATASET]
