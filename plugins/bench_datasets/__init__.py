"""Data sets in their official layouts, any tree or csv of images, and a generated one."""

from bench import Dataset, hookimpl
from bench_datasets import busi, covid, folder, isic2018, kvasir, phantom


@hookimpl
def register_datasets() -> list[Dataset]:
    return [module.DATASET for module in (busi, covid, folder, isic2018, kvasir, phantom)]
